"""What decides a cell: what was asked for, the tables that it reads, the code that runs. One digest for each.

A cell whose fingerprint is that of today is never run again. `python -m model.experiments accept` takes cells over that
differ in tables or code alone, once it has run one of them again and found the same bytes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import model
from features.registry import view_of
from features.store import tables
from model.experiments.folds import Population
from model.experiments.matrix import OWN, Arm, Cell, Matrix
from model.identity import Identity, table_identity
from model.params import TreesParams

PACKAGE = Path(model.__file__).parent
NETWORK_CODE = ("nets", "input", "training/fit.py", "training/boosting.py", "training/trees.py", "forward.py",
                "params.py", "experiments/folds.py", "experiments/controls.py", "experiments/vectors.py",
                "experiments/networks.py", "experiments/cell.py")
BASELINE_CODE = ("training/boosting.py", "experiments/folds.py", "experiments/controls.py", "experiments/baselines.py",
                 "experiments/vectors.py", "experiments/words.py", "experiments/cell.py")
"""Files and folders below `model/` that make a prediction."""
LENGTH = 12


@dataclass(frozen=True)
class Fingerprint:
    """Of one cell."""

    asked: str
    """The cell and its parameters."""
    tables: str
    """The identity of the tables that it reads."""
    code: str
    """The code that trains and predicts, and the versions of what it computes with."""

    def __str__(self) -> str:
        return f"{self.asked}.{self.tables}.{self.code}"

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """The inverse of `str`."""
        return cls(*text.split("."))


def of(root: Path, matrix: Matrix, cell: Cell, population: Population) -> Fingerprint:
    """The fingerprint of a cell as things are now; `root` is the project of its data set."""
    arm = matrix.arms[cell.arm]
    if arm.kind in OWN:
        params = matrix.train_params(cell)
        reads = "tokenize" if params.text == "words" else "embed"
        identity = _network_tables(root, params.encoder, reads if params.with_text else None)
    else:
        identity = _tables(root, ("ingest", "split", "tensorize", *(["describe"] if arm.reads_text else [])))
    return Fingerprint(asked(matrix, cell), _digest([identity, population.digest]), code_of(arm))


def asked(matrix: Matrix, cell: Cell) -> str:
    """The digest of what a matrix asks for, which needs no tables."""
    arm, control = matrix.arms[cell.arm], matrix.seen_by(cell.arm).control(cell.control)
    content: dict[str, Any] = {
        "dataset": cell.dataset, "target": cell.target, "transform": matrix.targets[cell.target].transform,
        "seed": cell.seed, "fold": cell.fold, "validation": matrix.validation, "kind": arm.kind, "texts": control.texts,
    }
    if (crystals := matrix.datasets[cell.dataset].crystals) is not None:
        content["crystals"] = crystals
    if arm.kind in OWN:
        params = matrix.train_params(cell)
        runtime = set(type(params).model_fields) - set(params.deciding())
        # a default is part of the code: a new parameter leaves the cells that do not name it as they are
        content["train"] = params.model_dump(mode="json", exclude_defaults=True, exclude=runtime)
    else:
        content |= {"facts": arm.facts, "trees": TreesParams().model_dump() if arm.kind == "boosting" else None}
    return _digest(content)


@functools.lru_cache
def _network_tables(root: Path, encoder: str, text: str | None) -> str:
    stages = ("ingest", "split", "tensorize", *(["chgnet"] if encoder == "chgnet" else []),
              *(["describe", text] if text else []))
    return _tables(root, stages)


@functools.lru_cache
def _tables(root: Path, stages: tuple[str, ...]) -> str:
    writers = tables.read(root, "descriptions", ["source"])["source"].unique().to_pylist() \
        if "describe" in stages else []
    identity = Identity({stage: table_identity(root, view_of(stage).name) for stage in stages},
                        tuple(sorted(filter(None, writers)))).to_dict()
    for table in identity["tables"].values():
        del table["commit"]  # where weights are found, and nothing of what they are
    return _digest(identity)


def forget() -> None:
    """Read the tables anew: for a process that has seen them change."""
    _network_tables.cache_clear()
    _tables.cache_clear()


def code_of(arm: Arm) -> str:
    """Digest of the code of a kind of arm and of its libraries' versions; comments and docstrings change nothing."""
    return _code(arm.kind in OWN)


@functools.cache
def _code(network: bool) -> str:
    libraries = ("scikit-learn", "numpy", *(("torch",) if network else ("matminer", "pymatgen-core")))
    files = {path.relative_to(PACKAGE).as_posix(): _meaning(path)
             for name in (NETWORK_CODE if network else BASELINE_CODE) for path in _files(PACKAGE / name)}
    return _digest([files, {library: version(library) for library in libraries}])


def _files(path: Path) -> Iterator[Path]:
    yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


@functools.cache
def _meaning(path: Path) -> str:
    """A source file without comments, docstrings and layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_docstring(one)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:LENGTH]
