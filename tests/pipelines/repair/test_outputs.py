"""Tables and versions that killed processes or a damaged disk have left."""

import shutil
from pathlib import Path

import pytest

from features import catalog
from features.catalog import query
from features.errors import UserError
from features.paths import Paths
from features.store import versions
from pipelines.repair import repair
from tests.features.store.test_versions import make, numbers
from tests.pipelines.repair.test_dvc import dvc, made, root  # noqa: F401 (fixtures)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A project without DVC, whose two tables are published."""
    (tmp_path / "params.yaml").write_text("{}\n")
    make(tmp_path, 1, "one", "two")
    versions.publish(tmp_path)
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit in the middle, as a disk does: the file's time stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    with path.open("r+b") as file:
        file.write(content)


def test_what_a_killed_process_has_left_is_put_back_or_removed(plain: Path) -> None:
    features = Paths(plain).features
    Paths(plain).table("one").rename(features / ".one.old")
    (features / ".two.new").mkdir()
    (Paths(plain).results).mkdir()
    (Paths(plain).results / ".page.html.123.tmp").write_text("half")
    assert repair(plain) == [f"{features / 'one'} is back in its place"]
    assert sorted(path.name for path in features.iterdir() if path.name.startswith(".")) == []
    assert list(Paths(plain).results.iterdir()) == []
    assert repair(plain) == []


def test_a_damaged_name_of_the_version_is_mended(plain: Path) -> None:
    Paths(plain).published.write_text("")
    with pytest.raises(UserError, match="repair"):
        query(plain, "select * from one")
    assert "names the last published version again" in repair(plain, quick=True)[0]
    assert numbers(plain) == {1}


def test_a_damaged_table_that_nobody_else_has_is_removed(plain: Path) -> None:
    """The work tree and the version share the file: both are damaged."""
    flip(next(Paths(plain).table("one").glob("part-*")))
    lines = repair(plain)
    assert "data/features/one is removed, and `dvc repro` makes it again" in lines[0]
    assert "no other copy is left" in lines[1]
    assert not Paths(plain).table("one").exists()
    make(plain, 1, "one")
    versions.publish(plain)
    assert numbers(plain) == {1}


def test_a_damaged_version_is_published_again_from_a_sound_work_tree(plain: Path) -> None:
    part = next(Paths(versions.current(plain)).table("one").glob("part-*"))
    shutil.copy(part, part.with_suffix(".copy"))
    part.with_suffix(".copy").replace(part)  # no longer the work tree's file
    flip(part)
    assert "is published again from the work tree" in repair(plain)[0]
    assert numbers(plain) == {1}


def test_a_damaged_table_is_taken_from_the_cache_of_dvc(root: Path) -> None:  # noqa: F811
    part = max(Paths(root).table("materials").glob("part-*"), key=lambda path: path.stat().st_size)
    before = part.read_bytes()
    flip(part)
    assert "is taken from DVC's cache" in repair(root)[0]
    assert part.read_bytes() == before
    assert catalog.query(root, "select count(*) n from materials").to_pylist() == [{"n": 3}]
    assert dvc(root, "status", "--json").stdout.strip() == "{}"
