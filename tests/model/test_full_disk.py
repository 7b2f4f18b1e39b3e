"""A disk that is full stops a stage of the model with one line; what was whole stays, and the next run ends alike."""

import contextlib
import errno
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.errors import run_cli
from features.paths import Paths
from features.store import files, swap
from model.__main__ import app
from model.experiments.cell import Bench
from model.experiments.results import Results
from model.experiments.run import run as run_cells
from tests.conftest import set_params
from tests.model.experiments.tiny import matrix
from tests.model.small import SMALL

BRIEF = {**SMALL, "epochs": 2}


def contents(*folders: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def outputs(root: Path) -> dict[str, bytes]:
    paths = Paths(root)
    return contents(paths.model, paths.results, *map(paths.table, (
        "predictions", "attributions", "attention", "faithfulness", "fact_effects")))


def leftovers(root: Path) -> list[str]:
    """Drafts of files and tables."""
    return [str(path) for path in Paths(root).data.rglob(".*") if path.name.endswith((".tmp", ".new", ".old"))]


@contextlib.contextmanager
def full_at(number: int) -> Iterator[list[Path]]:
    """What is written, until the `number`th file meets a full disk, and what comes after it, too."""
    written: list[Path] = []

    def failing(path: Path) -> None:
        if path.is_file():
            written.append(path)
            if 0 < number <= len(written):
                raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.MonkeyPatch.context() as patch:
        for module in (files, swap):
            patch.setattr(module, "sync", failing)
        yield written


def run(*arguments: str) -> None:
    run_cli(lambda: app(list(arguments), standalone_mode=False))


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line with which a command ends that cannot go on."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run(*arguments, "--quiet")
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_train_at_each_of_its_writes(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(project, tmp_path / "p"))
    set_params(root, train=BRIEF)
    with full_at(0) as written:
        run("train", "--root", str(root))
    expected = outputs(root)
    states = [number for number, path in enumerate(written) if ".pt." in path.name]
    assert len(written) >= 6
    assert len(states) == 2
    for number in range(len(written)):
        (Paths(root).model / "learning_curve.csv").write_text("of an older model")
        older = contents(Paths(root).model)
        with full_at(number + 1):
            assert "No space left on device" in stopped(capsys, "train", "--root", str(root))
        assert leftovers(root) == []
        kept = list(Paths(root).training.glob("*"))
        assert len(kept) == (0 if number == states[0] else 1)
        assert contents(Paths(root).model) == older
        run("train", "--root", str(root))
        assert outputs(root) == expected
        assert list(Paths(root).training.glob("*")) == []


@pytest.mark.parametrize("stage", ["evaluate", "explain"])
def test_what_was_published_stays(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                  stage: str) -> None:
    """At the first write, in the midst of the tables, and at the last one."""
    root = Path(shutil.copytree(trained, tmp_path / "p"))
    with full_at(0) as written:
        run(stage, "--root", str(root))
    expected = outputs(root)
    last = sum("catalog" not in path.name for path in written)  # of a catalog that cannot be renewed there is a warning
    assert not any("catalog" in path.name for path in written[:last])
    for number in (1, last // 2, last) if stage == "evaluate" else (last // 2,):
        with full_at(number):
            assert "No space left on device" in stopped(capsys, stage, "--root", str(root))
        assert leftovers(root) == []
        assert outputs(root) == expected


def test_cells_of_experiments_that_are_finished_stay(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "p"))
    bench, only = Bench(root, matrix(), "abc"), ["arm=ridge_words", "control=none"]
    results = Results(root)
    with full_at(0) as written:
        run_cells(bench, only=only)
    expected = [one.digest for one in results.all()]
    assert len(expected) == 5
    assert len(written) == 6
    for number in (1, 2, 4):
        shutil.rmtree(results.folder)
        with full_at(number), pytest.raises(OSError, match="No space left on device"):
            run_cells(bench, only=only)
        assert leftovers(root) == []
        assert len(results.all()) == max(0, number - 2)
        assert run_cells(bench, only=only).finished == 5 - max(0, number - 2)
        assert [one.digest for one in results.all()] == expected


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Whoever writes more into a file is refused by the system, as on a full disk: C and Rust are, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_the_systems_own_refusal(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                 share: float) -> None:
    """Of a state, which torch serialises, in its first bytes, its midst and its last ones."""
    root = Path(shutil.copytree(project, tmp_path / "p"))
    set_params(root, train=BRIEF)
    with full_at(4):  # after both states
        assert stopped(capsys, "train", "--root", str(root))
    (state,) = Paths(root).training.iterdir()
    size = state.stat().st_size
    state.unlink()
    with largest_file(int(share * size)), pytest.raises(OSError, match="File too large"):
        app(["train", "--root", str(root)], standalone_mode=False)
    assert leftovers(root) == []
    assert list(Paths(root).training.iterdir()) == []
