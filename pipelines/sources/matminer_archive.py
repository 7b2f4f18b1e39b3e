"""The embedded data set: Materials Project crystals in the archived source distribution of matminer 0.4.0 on PyPI.

The archive is fetched with pip, which checks its sha256, and read as it is; it is never installed or unpacked.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.paths import Paths
from features.progress import say
from pipelines.params import IngestParams
from pipelines.sources import Entry

ARCHIVE = "matminer-0.4.0.tar.gz"
SHA256 = "1a6bdfb198b36d836bab4fbcdffb2dc4fda8a740c3dc08cbb21ea43b817fec86"
LICENSE = "CC-BY-4.0"
MOST = 200 * 10**6
"""Bytes of a data set, unpacked: ten times that of the largest."""
NO_SERVER = ("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError",
             "ProxyError", "SSLError", "Connection refused", "Network is unreachable", "Temporary failure in name")
"""Of what pip writes when nobody answers."""
MP_DOI = "10.1063/1.4812323"


@dataclass(frozen=True)
class Dataset:
    """One CSV of the archive. Its card is `pipelines/sources/cards/<name>.md`."""

    file: str
    doi: str
    columns: dict[str, str]
    """Column of the CSV → name of the property."""


DATASETS = {
    "elastic": Dataset("elastic_tensor.csv", "10.1038/sdata.2015.9", {
        "K_Voigt": "k_voigt", "K_Reuss": "k_reuss", "K_VRH": "k_vrh", "G_Voigt": "g_voigt", "G_Reuss": "g_reuss",
        "G_VRH": "g_vrh", "poisson_ratio": "homogeneous_poisson", "elastic_anisotropy": "universal_anisotropy"}),
    "dielectric": Dataset("dielectric_constant.csv", "10.1038/sdata.2016.134", {
        "band_gap": "band_gap", "n": "n", "poly_electronic": "e_electronic", "poly_total": "e_total"}),
    "piezoelectric": Dataset("piezoelectric_tensor.csv", "10.1038/sdata.2015.53", {"eij_max": "e_ij_max"}),
    "formation_energy": Dataset("flla_2015.csv", "10.1002/qua.24917", {
        "formation_energy_per_atom": "formation_energy_per_atom", "e_above_hull": "energy_above_hull"}),
}


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of one data set, or of all four merged by id: the first set that has a crystal gives its structure."""
    archive = fetch(root)
    names = list(DATASETS) if params.dataset == "union" else [params.dataset]
    merged: dict[str, Entry] = {}
    for name in names:
        for entry in read_dataset(archive, DATASETS[name]):
            first = merged.get(entry.material_id)
            if first is None:
                merged[entry.material_id] = entry
            else:
                citation = " ".join(dict.fromkeys([*first.citation.split(), *entry.citation.split()]))
                merged[entry.material_id] = Entry(**{**vars(first), "citation": citation,
                                                     "properties": {**entry.properties, **first.properties}})
    yield from merged.values()


def read_dataset(archive: Path, dataset: Dataset) -> Iterator[Entry]:
    """Entries of one CSV, read inside the archive.

    pandas copes with what other readers trip over in these files: comment lines, `#` inside quotes, cells of many
    lines, and in two of them a first column without a name.
    """
    import pandas as pd

    with tarfile.open(archive) as tar:
        named = f"matminer-0.4.0/matminer/datasets/{dataset.file}"
        member = next((one for one in tar if one.name == named), None)
        content = tar.extractfile(member) if member is not None and member.isreg() and member.size <= MOST else None
        if content is None:
            raise UserError(f"{archive} holds no file {dataset.file} of at most {MOST // 10**6} MB; delete it to fetch "
                            "it again")
        frame = pd.read_csv(content, comment="#")
    wanted = [name for name in ("material_id", "poscar", "structure", *dataset.columns) if name in frame]
    for row in frame[wanted].to_dict("records"):
        structure, form = (row["poscar"], "poscar") if "poscar" in row else (_as_json(row["structure"]), "json")
        yield Entry(
            material_id=row["material_id"],
            structure=structure,
            format=form,
            source="matminer_archive",
            source_version=f"matminer 0.4.0 {dataset.file} sha256:{SHA256[:12]}",
            license=LICENSE,
            citation=f"{dataset.doi} {MP_DOI}",
            properties={name: float(row[column]) for column, name in dataset.columns.items()
                        if not math.isnan(row[column])},
        )


def _as_json(text: str) -> str:
    """A pymatgen dict that was written with Python's repr, as JSON. Literals only: nothing is evaluated."""
    content: dict[str, Any] = ast.literal_eval(text)
    for site in content["sites"]:
        site["properties"] = {}
    return json.dumps(content, sort_keys=True)


def _whole(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == SHA256


def ready(_params: IngestParams, root: Path) -> bool:
    """Whether the archive is here."""
    return _whole(Paths(root).downloads / ARCHIVE)


def fetch(root: Path) -> Path:
    """Path of the archive, fetched once per project."""
    folder = Paths(root).downloads
    target = folder / ARCHIVE
    if _whole(target):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    say(f"ingest: fetching {ARCHIVE} (8 MB) from PyPI")
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        requirement = Path(draft) / "requirements.txt"
        requirement.write_text(f"matminer==0.4.0 --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                   "--require-hashes", "--dest", draft, "--requirement", str(requirement)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UserError(_why_not(done.stderr, target))
        shutil.move(Path(draft) / ARCHIVE, target)
    return target


def _why_not(said: str, target: Path) -> str:
    """Why pip has not fetched the archive, and what to do. Where no server answers, pip's last line is that no version
    was found, as if there were none."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any(sign in said for sign in NO_SERVER) or "No matching distribution" in said:
        return (f"no network, or no package registry that has matminer 0.4.0: pip could not fetch {ARCHIVE}. Connect, "
                "or name a registry that answers (PIP_INDEX_URL), and run again; or copy the archive from another "
                f"machine to {target}")
    errors = [line for line in lines if line.startswith("ERROR")]
    return f"pip could not fetch {ARCHIVE} from PyPI: {(errors or lines or ['it says nothing'])[-1]}"
