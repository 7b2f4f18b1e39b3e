"""Published versions: what readers read, whatever happens in the work tree."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from features import catalog
from features.errors import UserError
from features.paths import Paths
from features.store import tables, versions
from features.store.versions import Manifest

SCHEMA = pa.schema([("material_id", pa.string()), ("number", pa.int64())])


def make(root: Path, number: int, *names: str) -> None:
    """Tables of the work tree, all of one number."""
    for name in names:
        rows = pa.table({"material_id": ["a", "b"], "number": [number] * 2}, SCHEMA)
        tables.publish(Paths(root).table(name), SCHEMA, ("material_id",), iter([rows]), iter([{"parts": 1}]))


def numbers(root: Path) -> set[int]:
    found = catalog.query(root, "select number from one union select number from two").column("number")
    return set(found.to_pylist())


def test_readers_see_the_published_version_until_the_next_is_whole(tmp_path: Path) -> None:
    make(tmp_path, 1, "one", "two")
    assert (versions.current(tmp_path), numbers(tmp_path)) == (tmp_path, {1})  # nothing was published yet
    versions.publish(tmp_path)
    make(tmp_path, 2, "one")
    assert numbers(tmp_path) == {1}
    shutil.rmtree(Paths(tmp_path).features)  # as DVC does before a stage
    assert numbers(tmp_path) == {1}
    make(tmp_path, 2, "one", "two")
    version, is_new = versions.publish(tmp_path)
    assert is_new
    assert numbers(tmp_path) == {2}
    assert versions.publish(tmp_path) == (version, False)


def test_a_version_is_named_by_what_it_holds(tmp_path: Path) -> None:
    ids = []
    for name in ("here", "there"):
        make(tmp_path / name, 1, "one", "two")
        ids.append(versions.publish(tmp_path / name)[0])
    assert ids[0] == ids[1]
    assert [Paths(tmp_path / name).published.read_bytes() for name in ("here",)] == [
        Paths(tmp_path / "there").published.read_bytes()]


def test_the_version_before_the_last_one_stays_for_those_who_read_it(tmp_path: Path) -> None:
    ids = []
    for number in range(4):
        make(tmp_path, number, "one")
        ids.append(versions.publish(tmp_path)[0])
    assert {folder.name for folder in versions.newest_first(tmp_path)} == set(ids[-2:])


def test_a_version_stays_while_another_process_reads_it(tmp_path: Path) -> None:
    make(tmp_path, 0, "one")
    read, _ = versions.publish(tmp_path)
    script = ("import sys, pathlib; from features.store import versions; "
              "print(versions.current(pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert Path(reader.stdout.readline().strip()).name == read
        for number in (1, 2, 3):
            make(tmp_path, number, "one")
            versions.publish(tmp_path)
        assert Paths(tmp_path).version(read).is_dir()
        reader.communicate("")
    make(tmp_path, 4, "one")
    versions.publish(tmp_path)
    assert not Paths(tmp_path).version(read).is_dir()


def test_without_the_version_that_is_named_the_work_tree_is_kept_if_it_is_that(tmp_path: Path) -> None:
    """As in a clone with `dvc pull`, or after `dvc checkout`, which bring the name and the tables."""
    make(tmp_path, 1, "one", "two")
    version, _ = versions.publish(tmp_path)
    shutil.rmtree(Paths(tmp_path).versions)
    assert versions.current(tmp_path).name == version  # the first reader keeps it
    make(tmp_path, 2, "one")
    assert numbers(tmp_path) == {1}
    shutil.rmtree(Paths(tmp_path).versions)
    versions.adopt(tmp_path)  # too late: that version is gone
    with pytest.raises(UserError, match=f"version {version}.* is not on this machine, and the tables .* are others"):
        numbers(tmp_path)  # and no mixture
    make(tmp_path, 1, "one")
    assert numbers(tmp_path) == {1}


def test_a_part_of_the_version_can_be_read(tmp_path: Path) -> None:
    """As after `dvc pull` of some tables."""
    make(tmp_path, 1, "one", "two")
    versions.publish(tmp_path)
    shutil.rmtree(Paths(tmp_path).versions)
    shutil.rmtree(Paths(tmp_path).table("two"))
    assert versions.current(tmp_path) == tmp_path
    assert catalog.query(tmp_path, "select count(*) n from one").to_pylist() == [{"n": 2}]


def test_an_output_that_is_missing_is_not_published_away(tmp_path: Path) -> None:
    make(tmp_path, 1, "one", "two")
    versions.publish(tmp_path)
    make(tmp_path, 2, "one")
    shutil.rmtree(Paths(tmp_path).table("two"))
    with pytest.raises(UserError, match=r"data/features/two is missing \(1 of 2 outputs are\)"):
        versions.publish(tmp_path)
    assert numbers(tmp_path) == {1}


def test_what_no_stage_makes_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: a, outs: [data/features/one, data/model: {cache: true}], "
                                       "metrics: [data/results/metrics.json: {cache: false}]}, "
                                       "publish: {cmd: b, outs: [data/published.json: {persist: true}]}}")
    make(tmp_path, 1, "one", "two")
    with pytest.raises(UserError, match="data/model is missing"):
        versions.publish(tmp_path)
    Paths(tmp_path).model.mkdir()
    Paths(tmp_path).results.mkdir()
    for path in (Paths(tmp_path).model / "a", Paths(tmp_path).results / "metrics.json", Paths(tmp_path).results / "b"):
        path.write_text("{}")
    versions.publish(tmp_path)
    manifest = versions.read_manifest(tmp_path)
    assert manifest is not None
    assert list(manifest.outputs) == ["data/features/one", "data/model", "data/results/metrics.json"]


def test_a_session_keeps_its_version_whatever_its_process_asks_later(tmp_path: Path) -> None:
    make(tmp_path, 0, "one")
    versions.publish(tmp_path)
    with catalog.connect(tmp_path) as session:
        for number in (1, 2, 3):
            make(tmp_path, number, "one")
            versions.publish(tmp_path)
            assert catalog.query(tmp_path, "select distinct number n from one").to_pylist() == [{"n": number}]
        assert session.execute("select distinct number from one").fetchall() == [(0,)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"version": "../../etc"}', b'{"version": 3}', b"\xff",
                                     b"[" * 100_000, "flipped", "a folder"])
def test_a_damaged_name_is_one_line(tmp_path: Path, content: bytes | str) -> None:
    make(tmp_path, 1, "one", "two")
    versions.publish(tmp_path)
    path = Paths(tmp_path).published
    good = path.read_bytes()
    path.unlink()
    if content == "a folder":
        path.mkdir()
    else:
        path.write_bytes(content if isinstance(content, bytes) else good.replace(b'": "', b'": "f', 1))
    with pytest.raises(UserError, match=r"published\.json is damaged; `python -m pipelines repair` mends it"):
        versions.current(tmp_path)
    if path.is_dir():
        path.rmdir()
    assert versions.put_name_back(tmp_path)
    assert Paths(tmp_path).published.read_bytes() == good


def test_the_catalog_file_names_the_published_version(tmp_path: Path) -> None:
    make(tmp_path, 1, "one")
    version, _ = versions.publish(tmp_path)
    make(tmp_path, 2, "one")
    catalog.refresh(tmp_path)
    import duckdb

    with duckdb.connect(str(Paths(tmp_path).catalog), read_only=True) as connection:
        assert connection.execute("select distinct number from one").fetchall() == [(1,)]
        assert version in str(connection.execute("select sql from duckdb_views() where view_name = 'one'").fetchall())


def test_tables_apart_are_those_of_the_work_tree(tmp_path: Path) -> None:
    """Experiments are no stage: a version neither holds them back nor is named by them."""
    make(tmp_path, 1, "one")
    version, _ = versions.publish(tmp_path)
    for number in (3, 4):
        make(tmp_path, number, "experiments")
        versions.show_apart(tmp_path)
        rows = catalog.query(tmp_path, "select distinct number from experiments").to_pylist()
        assert rows == [{"number": number}]
    assert versions.publish(tmp_path) == (version, False)
    assert tables.names(versions.current(tmp_path)) == ["experiments", "one"]
    assert Manifest.of(versions.digests(versions.current(tmp_path))).version == version


def test_drafts_and_hidden_files_are_not_published(tmp_path: Path) -> None:
    make(tmp_path, 1, "one")
    (Paths(tmp_path).features / ".one.new").mkdir()
    (Paths(tmp_path).table("one") / ".part-00000.parquet.ab.tmp").write_bytes(b"half")
    versions.publish(tmp_path)
    outputs = json.loads(Paths(tmp_path).published.read_text())["outputs"]
    assert list(outputs) == ["data/features/one"]
    names = {path.name for path in Paths(versions.current(tmp_path)).table("one").iterdir()}
    assert "part-00000.parquet" in names
    assert not any(name.startswith(".") for name in names)
