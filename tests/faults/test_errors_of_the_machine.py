"""What belongs to the machine or the set-up stops a run, wherever it happens, and is kept of no row."""

import errno
import functools
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features import reading
from features.crystal_files import read_text
from features.errors import RowError, UserError
from features.paths import Paths
from features.registry import view_of
from features.store import tables
from features.views import chgnet_atoms
from pipelines.engine import stages
from pipelines.sources import folder
from tests.conftest import CRYSTALS, make_project

MACHINE = [MemoryError("no more"), OSError(errno.ENOSPC, "No space left on device"), UserError("no such weights"),
           ImportError("no such package")]
SEAMS = {
    "parse": ("ingest", "features.cif.read", "only_structure"),
    "canonical_structure": ("ingest", "features.crystal", "canonical_structure"),
    "condenser": ("describe", "features.describer.engine", "Condenser.condense_structure"),
    "describer": ("describe", "robocrys", "StructureDescriber.describe"),
    "paraphrase": ("paraphrase", "features.paraphraser.rules", "paraphrase"),
    "encoder": ("embed", "features.text_encoder.encoder", "TextEncoder.encode"),
    "structures": ("tensorize", "features.views.structures", "neighbour_images"),
    "chgnet": ("chgnet", "tests.faults.test_errors_of_the_machine", "Network.predict_structure"),
}
"""What fails → the stage, and where the failure is put."""


class Network:
    """In CHGNet's place."""

    def predict_structure(self, structure: Any, **_: Any) -> dict[str, Any]:
        return {"atom_fea": np.ones((len(structure), chgnet_atoms.DIM))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-22862"], paraphrase={"variants": 1},
                        chgnet={"model": "0.3.0"})
    for stage in ("ingest", "describe", "paraphrase"):
        stages.run(stage, root, "serial")
    return root


@pytest.fixture(params=SEAMS)
def seam(request: pytest.FixtureRequest, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project in which a stage has not run, its name, and what has the next `times` calls at the seam fail."""
    stage, module, name = SEAMS[request.param]
    if stage == "chgnet":
        monkeypatch.setattr(chgnet_atoms, "_network", lambda _model: Network())
    root = Path(shutil.copytree(made, tmp_path / "project"))
    for place in (Paths(root).table(view_of(stage).name), Paths(root).rowstore(view_of(stage).name)):
        shutil.rmtree(place, ignore_errors=True)
    Paths(root).rejects(view_of(stage).name).unlink(missing_ok=True)
    *path, last = name.split(".")
    where = functools.reduce(getattr, path, importlib.import_module(module))
    real = getattr(where, last)

    def fail(error: Exception, times: int = 1) -> Callable[[], int]:
        """Returns what tells how often it has failed."""
        count = 0

        def failing(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if count < times:
                count += 1
                raise error
            return real(*arguments, **options)

        monkeypatch.setattr(where, last, failing)
        return lambda: count

    return root, stage, fail


@pytest.mark.parametrize("error", MACHINE, ids=lambda error: type(error).__name__)
def test_it_stops_the_run_and_nothing_is_kept(seam: Any, error: Exception) -> None:
    root, stage, fail = seam
    count = fail(error)
    name = view_of(stage).name
    with pytest.raises(type(error), match=str(error.args[-1])):
        stages.run(stage, root, "serial")
    assert count() == 1
    assert not list(Paths(root).rowstore(name).rglob("rejects-*"))
    assert not tables.exists(root, name)
    assert not Paths(root).rejects(name).exists()
    report = stages.run(stage, root, "serial")
    assert (report.rejected, report.reused + report.computed) == (0, report.wanted)


def test_any_other_is_one_reject(seam: Any) -> None:
    root, stage, fail = seam
    fail(ValueError("not this crystal"), 2 if stage == "embed" else 1)  # a batch of texts, and one of them
    report = stages.run(stage, root, "serial")
    assert (report.rejected, report.wanted) == (1, 4 if stage == "embed" else 2)
    assert stages.run(stage, root, "serial").rejected == 1


@pytest.mark.parametrize(("number", "of_the_file"), [
    (errno.ENOENT, True), (errno.EACCES, True), (errno.EISDIR, True),
    (errno.EIO, False), (errno.EMFILE, False), (errno.ENFILE, False), (errno.ENOMEM, False), (errno.ESTALE, False)])
def test_reading_a_file_tells_its_errors_from_those_of_the_machine(monkeypatch: pytest.MonkeyPatch, number: int,
                                                                   of_the_file: bool) -> None:
    def fails(path: Path) -> Any:
        raise OSError(number, "as the system says", str(path))

    monkeypatch.setattr(reading, "opened", fails)
    said = "there is no such file" if number == errno.ENOENT else "as the system says"
    with pytest.raises(RowError if of_the_file else OSError, match=said):
        read_text(CRYSTALS / "mp-30.cif")


def test_a_damaged_archive_is_the_files(tmp_path: Path) -> None:
    damaged = tmp_path / "a.cif.gz"
    damaged.write_bytes(b"nothing packed")
    with pytest.raises(RowError, match="Not a gzipped file"):
        read_text(damaged)


def test_too_many_open_files_reject_no_crystal_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, *_most: int) -> str:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    root = make_project(tmp_path, only=["mp-30"])
    monkeypatch.setattr(folder, "read_text", fails)
    with pytest.raises(OSError, match="Too many open files"):
        stages.run("ingest", root, "serial")
    assert not Paths(root).rejects("materials").exists()
