"""A small project with a past: three commits of two tables, all of them in DVC's cache and on a remote."""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from features.paths import Paths
from features.store import tables, versions
from features.view import Reject, column
from tests.conftest import CRYSTALS

MATERIALS = pa.schema([
    column("material_id", pa.string(), "identifier"), column("formula", pa.string(), "formula"),
    column("k_vrh", pa.float64(), "bulk modulus", "GPa"),
    column("other_properties", pa.map_(pa.string(), pa.float64()), "of the user's own"),
])
DESCRIPTIONS = pa.schema([
    column("material_id", pa.string(), "identifier"), column("text", pa.string(), "description"),
    column("vector", pa.list_(pa.float16()), "of the text"),
])
STAGES = {"ingest": ["data/features/materials", "data/features/rejects/materials.parquet"],
          "describe": ["data/features/descriptions"]}
LAST = "mp-9969"


def rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of all test crystals."""
    with (CRYSTALS / "properties.csv").open() as file:
        known = {row["material_id"]: row for row in csv.DictReader(file)}
    ids = sorted(path.stem for path in CRYSTALS.glob("*.cif"))
    materials = [{"material_id": name, "formula": name, "k_vrh": float(known.get(name, {}).get("k_vrh") or "nan"),
                  "other_properties": [("hardness", float(number))]} for number, name in enumerate(ids)]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8)).astype(np.float16)
    text = ("The crystal {} is built of atoms, which sit on sites that symmetry makes alike, and each of them is "
            "bonded to its neighbours.")
    texts = [{"material_id": name, "text": text.format(name), "vector": list(vector)}
             for name, vector in zip(ids, vectors, strict=True)]
    return materials, texts


def make(root: Path) -> None:
    """Commits `v1`, `v2` and the last one; `root/../remote` has the data of all of them."""
    from dvc.repo import Repo

    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    repo = Repo.init(str(root))
    (root / ".dvc" / "config").write_text(
        f'[core]\n    analytics = false\n    autostage = false\n    remote = store\n[\'remote "store"\']\n'
        f"    url = {root.parent / 'remote'}\n")
    (root / ".gitignore").write_text("/data/*\n")
    made = [out for outs in STAGES.values() for out in outs]
    stages: dict[str, Any] = {name: {"cmd": "true", "outs": outs} for name, outs in STAGES.items()}
    stages["publish"] = {"cmd": "true", "deps": made, "outs": [{"data/published.json": {"persist": True}}]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    repo.close()
    materials, texts = rows()
    for revision in ("v1", "v2", "v3"):
        if revision == "v2":
            materials[0]["k_vrh"] += 10.5
            materials[1]["other_properties"] = [("hardness", 99.0)]
            texts[0]["text"] = texts[0]["text"].replace("bonded", "linked")
            texts[2]["vector"][3] = np.float16(texts[2]["vector"][3] + 1)
        if revision == "v3":
            materials, texts = materials[:-1], texts[:-1]  # without `LAST`
        (root / "params.yaml").write_text(yaml.safe_dump({"ingest": {"path": f"data/{revision}"}}))
        put(root, "materials", MATERIALS, materials, [Reject("bad", "cif", f"not in {revision}")] * (revision == "v1"))
        put(root, "descriptions", DESCRIPTIONS, texts)
        repo = Repo(str(root))
        with contextlib.chdir(root):
            for stage in STAGES:  # as `dvc repro` does: the stage `publish` runs when the others stand in dvc.lock
                repo.commit(stage, force=True)
            versions.publish(root)
            repo.commit("publish", force=True)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", revision)
        git(root, "tag", revision)
        if revision == "v3":
            repo.push(all_commits=True)
        repo.close()


def put(root: Path, name: str, schema: pa.Schema, content: list[dict[str, Any]],
        rejects: list[Reject] | None = None) -> None:
    """Write a table of eight parts."""
    from features.store import placement

    where = placement.part_of([row["material_id"] for row in content], 8)
    parts = (pa.Table.from_pylist([row for row, part in zip(content, where, strict=True) if part == number], schema)
             for number in range(8))
    written = None if rejects is None else tables.Rejects(Paths(root).rejects(name), name, rejects)
    tables.publish(Paths(root).table(name), schema, ("material_id",), parts,
                   iter([{"view": name, "version": 1, "parts": 8}] * 8), written)


def git(root: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "T"), ("EMAIL", "t@example.org"))}
    done = subprocess.run(["/usr/bin/env", "git", *arguments], cwd=root, env={**os.environ, **who}, capture_output=True,
                          text=True, check=True)
    return done.stdout
