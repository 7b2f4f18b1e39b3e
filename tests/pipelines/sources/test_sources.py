import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from features.errors import UserError
from pipelines.params import IngestParams
from pipelines.sources import Entry, matminer_archive, read_units


def rows(root: Path, **params: Any) -> dict[str, dict[str, Any]]:
    return {row["material_id"]: row for row in read_units(IngestParams(**params), root).to_pylist()}


@pytest.mark.parametrize(("params", "message"), [
    ({"source": "folder", "path": Path("nowhere")}, "is not a folder"),
    ({"source": "folder", "path": Path("empty")}, r"holds no crystal file \(\*\.cif"),
    ({"source": "table", "path": Path("nowhere.csv")}, "is not a file"),
    ({"source": "table", "path": Path("bare.csv")},
     "has no column cif, structure or poscar; its columns: material_id, k_vrh"),
    ({"source": "table", "path": Path("broken.parquet")}, "cannot be read"),
])
def test_a_source_that_is_not_there(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare.csv").write_text("material_id,k_vrh\na,1\n")
    (tmp_path / "broken.parquet").write_text("PAR1")
    with pytest.raises(UserError, match=message):
        read_units(IngestParams(**params), tmp_path)


def test_a_larger_limit_only_adds(project: Path) -> None:
    few, many = (set(rows(project, source="folder", limit=limit)) for limit in (5, 12))
    assert len(few) == 5
    assert len(many) == 12
    assert few < many


def archive(path: Path) -> Path:
    """An archive as matminer's, with one crystal known to two sets."""
    poscar = ("Na1 Cl1\n1.0\n0.0 2.85 2.85\n2.85 0.0 2.85\n2.85 2.85 0.0\nNa Cl\n1 1\ndirect\n0 0 0 Na\n"
              "0.5 0.5 0.5 Cl\n")
    structure = {"lattice": {"matrix": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]}, "sites": [
        {"species": [{"element": "Cu", "occu": 1}], "abc": [0.0, 0.0, 0.0], "properties": {"forces": [0, 0, 0]}}]}
    elastic = f'# ref: a, b\nidx,K_VRH,G_VRH,material_id,poscar\n0,25.0,,mp-1,"{poscar}"\n'
    # as in the real file, a first column without a name
    dielectric = f'# ref\nidx,band_gap,n,poly_electronic,poly_total,material_id,poscar\n0,0,0,2,3,4,mp-1,"{poscar}"\n'
    flla = f'# ref\nmaterial_id,structure,formation_energy_per_atom,e_above_hull\nmp-2,"{structure}",-1.5,0.0\n'
    empty = "# ref\nmaterial_id,poscar,eij_max\n"
    files = {"elastic_tensor": elastic, "dielectric_constant": dielectric, "flla_2015": flla,
             "piezoelectric_tensor": empty}
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"matminer-0.4.0/matminer/datasets/{name}.csv")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def small_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "matminer.tar.gz")
    columns = {"elastic": {"K_VRH": "k_vrh", "G_VRH": "g_vrh"}}
    monkeypatch.setattr(matminer_archive, "fetch", lambda _root: path)
    monkeypatch.setitem(matminer_archive.DATASETS, "elastic", matminer_archive.Dataset(
        "elastic_tensor.csv", "10.1038/sdata.2015.9", columns["elastic"]))


@pytest.mark.usefixtures("small_archive")
def test_the_union_merges_by_id_with_sparse_labels(tmp_path: Path) -> None:
    found: dict[str, Entry] = {e.material_id: e for e in matminer_archive.read(IngestParams(dataset="union"), tmp_path)}
    assert found["mp-1"].properties == {"k_vrh": 25.0, "band_gap": 0.0, "n": 2.0, "e_electronic": 3.0, "e_total": 4.0}
    assert found["mp-1"].citation.split() == ["10.1038/sdata.2015.9", matminer_archive.MP_DOI,
                                              "10.1038/sdata.2016.134"]
    assert found["mp-2"].properties == {"formation_energy_per_atom": -1.5, "energy_above_hull": 0.0}
    assert found["mp-2"].format == "json"


@pytest.mark.slow
def test_the_real_archive(tmp_path: Path) -> None:
    """Fetched from PyPI: the sets have the sizes on their cards, and the columns are the right ones."""
    sets = {name: {e.material_id: e for e in matminer_archive.read(IngestParams(dataset=name), tmp_path)}
            for name in ("elastic", "dielectric", "piezoelectric", "formation_energy", "union")}
    assert {name: len(found) for name, found in sets.items()} == {
        "elastic": 1181, "dielectric": 1056, "piezoelectric": 941, "formation_energy": 3938, "union": 6317}
    assert sets["elastic"]["mp-10003"].properties["k_vrh"] == pytest.approx(194.268884359)
    assert sets["dielectric"]["mp-441"].properties["band_gap"] == 1.88
    assert sets["piezoelectric"]["mp-22925"].properties == {"e_ij_max": 0.091464}
    assert sets["formation_energy"]["mp-10"].properties["energy_above_hull"] == pytest.approx(0.10740506)
    everything = [e for e in sets["union"].values() if {"k_vrh", "band_gap"} <= set(e.properties)]
    assert everything
    assert len({matminer_archive.DATASETS[name].doi for name in ("elastic", "dielectric")}
               & set(everything[0].citation.split())) == 2


@pytest.mark.usefixtures("small_archive")
def test_one_set_alone(tmp_path: Path) -> None:
    (entry,) = matminer_archive.read(IngestParams(), tmp_path)
    assert (entry.material_id, entry.properties, entry.license) == ("mp-1", {"k_vrh": 25.0}, "CC-BY-4.0")


def test_no_archive_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"no network, or no package registry .* matminer-0\.4\.0\.tar\.gz\. Connect"):
        matminer_archive.fetch(tmp_path)
    assert not list((tmp_path / "data" / ".downloads").iterdir())


def test_a_damaged_archive_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / ".downloads"
    folder.mkdir(parents=True)
    (folder / matminer_archive.ARCHIVE).write_bytes(b"truncated")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match="could not fetch"):
        matminer_archive.fetch(tmp_path)


def test_every_set_has_a_card() -> None:
    cards = Path(matminer_archive.__file__).parent / "cards"
    for name, dataset in matminer_archive.DATASETS.items():
        text = (cards / f"{name}.md").read_text()
        assert dataset.doi in text
        assert matminer_archive.LICENSE in text


@pytest.mark.parametrize("kind", ["link", "hard link", "elsewhere", "folder", "large", "missing"])
def test_an_archive_is_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Its digest is pinned, and yet no member leads anywhere, and none is unpacked beyond a bound."""
    dataset = matminer_archive.DATASETS["elastic"]
    name = f"matminer-0.4.0/matminer/datasets/{dataset.file}"
    member = tarfile.TarInfo(f"../../{name}" if kind == "elsewhere" else name)
    content = b"material_id,poscar\n"
    if kind in ("link", "hard link"):
        member.type, member.linkname = (tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE), "other"
    elif kind == "folder":
        member.type = tarfile.DIRTYPE
    member.size = 0 if member.type != tarfile.REGTYPE else len(content)
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        other = tarfile.TarInfo("other")
        other.size = len(content)
        tar.addfile(other, io.BytesIO(content))
        if kind != "missing":
            tar.addfile(member, io.BytesIO(content))
    if kind == "large":
        monkeypatch.setattr(matminer_archive, "MOST", len(content) - 1)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"holds no file {dataset.file} of at most"):
        list(matminer_archive.read_dataset(path, dataset))
    assert sorted(tmp_path.rglob("*")) == before
