"""A damaged row store costs its rows, never their truth: what a run publishes is what a whole store gives."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from features.errors import UserError
from features.paths import Paths
from features.store.rowstore import RowStore
from pipelines.engine.materialize import Report, materialize
from pipelines.engine.work import store_of, survey
from pipelines.executors import Serial
from tests.damage import flipped, seeded
from tests.pipelines.toy import ToyParams, toy_view, units

Harm = Callable[[bytes, random.Random], bytes]
ROWS = units([(f"m{k}", k, "bad" if k % 4 == 0 else "good") for k in range(40)])


def run(root: Path) -> Report:
    return materialize(toy_view(), ToyParams(), root, ROWS, Serial())


def contents(root: Path) -> dict[str, bytes]:
    folder = Paths(root).features
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def segments(root: Path, kind: str = "r*") -> list[Path]:
    return sorted(Paths(root).rowstore("toys").rglob(f"{kind}-*.parquet"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 8)
    run(tmp_path)
    assert len(segments(tmp_path, "rows")) == len(segments(tmp_path, "rejects")) == 5
    return tmp_path


def test_every_flipped_bit_of_a_segment_is_noticed(root: Path) -> None:
    rows, rejects = store_of(toy_view(), root).finished()
    generator = seeded(1)
    for _ in range(300):
        path = generator.choice(segments(root))
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, generator))
        store = store_of(toy_view(), root)
        kept, refused = store.finished()
        assert store.damaged == {path.name}
        assert len(kept) + len(refused) < len(rows) + len(rejects)
        assert set(kept.to_pylist()) <= set(rows.to_pylist())
        assert refused.items() <= rejects.items()
        path.write_bytes(whole)  # nobody removed it: only a run that holds the view does


def cut(content: bytes, _: random.Random) -> bytes:
    return content[:len(content) // 2]


def empty(_content: bytes, _: random.Random) -> bytes:
    return b""


@pytest.mark.parametrize("harm", [flipped, cut, empty])
@pytest.mark.parametrize("kind", ["rows", "rejects"])
def test_a_run_computes_again_what_is_damaged_and_says_so_once(root: Path, harm: Harm, kind: str,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    generator = seeded(2)
    paths = segments(root, kind)[:3]
    for path in paths:
        path.write_bytes(harm(path.read_bytes(), generator))
    planned = len(survey(toy_view(), ToyParams(), root, ROWS).missing(retry_rejected=False))
    report = run(root)
    assert 0 < report.tried == planned < len(ROWS)
    assert contents(root) == before
    assert not any(path.exists() and path.stat().st_size == 0 for path in paths)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert line.startswith(f"toys: 3 damaged segments are dropped from {Paths(root).rowstore('toys')}")
    assert f"among the {planned} to compute" in line
    assert run(root).computed == 0
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("harm", [flipped, cut, empty, None])
def test_damage_while_a_run_reads_costs_a_second_round(root: Path, harm: Harm | None,
                                                       monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    path = segments(root, "rows")[2]
    read = RowStore.read

    def met(store: RowStore, *arguments: object) -> object:
        monkeypatch.setattr(RowStore, "read", read)
        if harm is None:
            path.unlink()
        else:
            path.write_bytes(harm(path.read_bytes(), seeded(3)))
        return read(store, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RowStore, "read", met)
    report = run(root)
    assert 0 < report.computed < len(ROWS)
    assert contents(root) == before
    assert capsys.readouterr().err.count("1 damaged segment is dropped") == (harm is not None)
    assert not list(root.rglob("*.tmp"))


def test_a_disk_that_damages_everything_ends_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(root)
    read = RowStore.read

    def met(store: RowStore, *arguments: object) -> object:
        for path in segments(root, "rows"):
            path.write_bytes(b"x" * 100)
        return read(store, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RowStore, "read", met)
    with pytest.raises(UserError, match="damaged again and again"):
        run(root)
    assert contents(root) == before
    monkeypatch.undo()
    assert run(root).computed == 30
    assert contents(root) == before


def test_segments_of_the_last_version_are_read_and_named_anew(root: Path) -> None:
    before, names = contents(root), segments(root)
    for number, path in enumerate(names):
        path.rename(path.with_name(f"{path.name.rsplit('-', 1)[0]}-{number:032x}.parquet"))
    assert survey(toy_view(), ToyParams(), root, ROWS).missing(retry_rejected=False).tolist() == []
    assert run(root).computed == 0
    assert segments(root) == names
    shutil.rmtree(Paths(root).features)
    assert run(root).computed == 0
    assert contents(root) == before


def test_segments_that_say_the_same_are_merged_into_one_of_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while merging leaves the rows twice; the second merge must not remove what it has just written."""
    store = store_of(toy_view(), root)
    with store.locked():
        store._merge(store._segments("rows"))
        (merged,) = segments(root, "rows")
        name, content = merged.name, merged.read_bytes()
        store._merge([merged])
        assert [path.name for path in segments(root, "rows")] == [name]
        assert merged.read_bytes() == content
    assert run(root).computed == 0


@pytest.mark.parametrize("kind", ["rows", "rejects"])
def test_a_folder_in_place_of_a_segment_is_damage(root: Path, kind: str) -> None:
    before = contents(root)
    segment = segments(root, kind)[0]
    segment.unlink()
    (segment / "inside").mkdir(parents=True)
    assert run(root).tried > 0
    assert contents(root) == before
    assert not segment.is_dir()
