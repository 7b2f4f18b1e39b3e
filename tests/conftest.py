"""Real crystals and small projects for the tests."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from features import progress

CRYSTALS = Path(__file__).parent / "crystals"

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("PREFECT_API_URL", None)


LONGEST_FIRST = ("test_end_to_end.py", "test_renew.py", "test_train.py", "test_stages.py", "test_results.py",
                 "test_engine.py", "test_ray.py", "test_dask.py", "test_same_bytes.py", "test_executors.py",
                 "test_errors_of_the_machine.py", "test_sample.py", "test_kills.py", "test_user_mistakes.py",
                 "test_attacks.py")
"""A file runs in one process from its first test to its last, so what takes minutes must not begin last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process is left alone with one at the end."""
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True)
def _usual_lines() -> Iterator[None]:
    """What a command was told of `--quiet` holds for its process; the next test is another one."""
    yield
    progress.show()


@pytest.fixture(scope="session")
def structures() -> dict[str, Any]:
    """The crystals of `tests/crystals` as pymatgen structures, by id."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {path.stem: Structure.from_file(path) for path in sorted(CRYSTALS.glob("*.cif"))}


@pytest.fixture(scope="session")
def low_dimensional() -> dict[str, Any]:
    """Molecules, chains and isolated atoms, by id."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {path.stem: Structure.from_file(path) for path in sorted((CRYSTALS / "low_dimensional").glob("*.cif"))}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project whose source is a folder with all test crystals."""
    return make_project(tmp_path)


def make_project(root: Path, only: list[str] | None = None, **sections: Any) -> Path:
    """A project below `root` with the test crystals in `data/input` and the given sections of `params.yaml`."""
    folder = root / "data" / "input"
    folder.mkdir(parents=True)
    for path in CRYSTALS.glob("*.cif"):
        if only is None or path.stem in only:
            shutil.copy(path, folder)
    shutil.copy(CRYSTALS / "properties.csv", folder)
    if only is not None:
        lines = (CRYSTALS / "properties.csv").read_text().splitlines()
        chosen = [line for line in lines if line.split(",")[0] in {"material_id", *only}]
        (folder / "properties.csv").write_text("\n".join(chosen) + "\n")
    content = {"ingest": {"source": "folder"}, **sections}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


def set_params(root: Path, **sections: Any) -> None:
    """Change sections of a project's `params.yaml`."""
    path = root / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}
    path.write_text(yaml.safe_dump(content))
