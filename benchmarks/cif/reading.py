"""What the reader of CIFs makes of a text, in a process of its own where asked: a row, a reject, a crash or a hang."""

from __future__ import annotations

import concurrent.futures
import itertools
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.executors import available_cores

Floats = NDArray[np.float64]

TIMEOUT_S = 20.0
"""A crystal of the benchmark that takes longer hangs: most take some hundredths of a second."""
MEMORY = 8 * 2**30
"""Bytes of address space of a child process: a text that asks for more must not take the machine with it."""


@dataclass(frozen=True)
class Crystal:
    """Atoms in a cell."""

    lattice: Floats
    """Rows are the cell's edges, in Å."""
    elements: tuple[str, ...]
    fractions: Floats
    """`[n, 3]`, fractions of the edges."""

    @classmethod
    def of(cls, structure: Any) -> Crystal:
        """That of a pymatgen `Structure`; deuterium and tritium are hydrogen."""
        elements = tuple("H" if site.species_string.rstrip("0123456789+-") in ("D", "T") else
                         getattr(site.specie, "symbol", str(site.specie)) if site.is_ordered else site.species_string
                         for site in structure)
        return cls(np.array(structure.lattice.matrix), elements, np.array(structure.frac_coords).reshape(-1, 3))

    @property
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.lattice)))


@dataclass(frozen=True)
class Outcome:
    """What a text gave."""

    end: str
    """row, reject, crash or hang."""
    message: str = ""
    """The reason, if it is no row."""
    crystal: Crystal | None = None
    """As read, in the cell of the file."""
    row: dict[str, Any] = field(default_factory=dict)
    """The columns of `materials` that follow from the canonical crystal, if asked for."""
    flags: dict[str, str] = field(default_factory=dict)


def read(text: bytes, *, as_row: bool = True) -> Outcome:
    """Read a CIF the way `ingest` does, in this process. Any exception but a `RowError` is a crash.

    Args:
        text: the file's bytes.
        as_row: go on to the canonical crystal and the columns of `materials`; else only read.
    """
    from features.cif.read import read_cif
    from features.crystal import canonical_structure
    from features.errors import RowError
    from features.views.materials import material_row

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reading = read_cif(text)
            row = material_row(canonical_structure(reading.structure)) if as_row else {}
    except RowError as error:
        if not str(error).strip():
            return Outcome("crash", f"a reject of the kind '{error.kind}' without a reason")
        return Outcome("reject", f"{error.kind}: {error}")
    except Exception as error:  # whatever else it is, it would stop a run or tell the user nothing
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome("crash", f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")
    return Outcome("row", crystal=Crystal.of(reading.structure), row=row, flags=dict(reading.flags))


def read_all(texts: Iterable[bytes], *, as_row: bool = True, serial: bool = False) -> Iterator[Outcome]:
    """Outcomes in the order of the texts, from child processes that end what takes longer than `TIMEOUT_S`.

    `serial` reads in this process instead, without a limit of time.
    """
    if serial:
        yield from (read(text, as_row=as_row) for text in texts)
        return
    from pebble import ProcessExpired, ProcessPool

    width = available_cores()
    with ProcessPool(max_workers=width, initializer=_prepare) as pool:
        waiting: list[Any] = []
        rest = iter(texts)
        while True:
            waiting += [pool.schedule(read, args=[text], kwargs={"as_row": as_row}, timeout=TIMEOUT_S)
                        for text in itertools.islice(rest, 4 * width - len(waiting))]
            if not waiting:
                return
            try:
                yield waiting.pop(0).result()
            except concurrent.futures.TimeoutError:
                yield Outcome("hang", f"took longer than {TIMEOUT_S:g} s")
            except ProcessExpired as error:
                code = error.exitcode
                yield Outcome("crash", "the process died "
                              f"({signal.Signals(-code).name if code and code < 0 else f'exit code {code}'})")


def _prepare() -> None:
    """Once per child: the imports, which are no part of a text's time, and a limit of memory."""
    import features.cif.read
    import features.views.materials  # noqa: F401

    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def difference(first: Crystal, second: Crystal, tolerance: float) -> str:
    """How two crystals in one cell differ, in words; empty if each atom has its like within `tolerance` Å."""
    metric, expected = (crystal.lattice @ crystal.lattice.T for crystal in (first, second))
    if not np.allclose(metric, expected, rtol=1e-4, atol=1e-4 * expected.max()):
        return "the cells differ"
    if sorted(first.elements) != sorted(second.elements):
        return f"{_counted(first)} instead of {_counted(second)}"
    names = [np.array(crystal.elements) for crystal in (first, second)]
    for element in np.unique(names[0]):
        one, other = first.fractions[names[0] == element], second.fractions[names[1] == element]
        near = distances(one, other, second.lattice) <= tolerance
        if not (near.any(axis=0).all() and near.any(axis=1).all()):
            place = one[int(np.argmin(near.any(axis=1)))] % 1.0
            return f"{element} at {place[0]:.4f} {place[1]:.4f} {place[2]:.4f} has no counterpart"
    return ""


def distances(first: Floats, second: Floats, lattice: Floats) -> Floats:
    """Å between each of `[n, 3]` and the nearest image of each of `[m, 3]` fractions: `[n, m]`."""
    steps = first[:, None] - second[None]
    steps -= np.rint(steps)
    metric = lattice @ lattice.T
    # in an oblique cell the nearest image may be a neighbour's: |s + h|² = sGs + 2sGh + hGh
    products = steps @ metric
    squares = (products * steps).sum(axis=-1)
    change = np.full(squares.shape, np.inf)
    for shift in itertools.product((-1, 0, 1), repeat=3):
        step = np.array(shift, dtype=float)
        np.minimum(change, 2 * products @ step + step @ metric @ step, out=change)
    return np.asarray(np.sqrt(np.maximum(squares + change, 0.0)))


def lattice_of(metric: Floats) -> Floats:
    """Edges as rows, in Å, of a metric tensor in Å². Raises `numpy.linalg.LinAlgError` if there is no such cell."""
    return np.asarray(np.linalg.cholesky(metric))


def metric_of(lengths: Iterable[float], angles: Iterable[float]) -> Floats:
    """Metric tensor in Å² of edges in Å and angles in degrees."""
    edges = np.array(list(lengths))
    cosines = [round(float(np.cos(np.radians(angle))), 15) for angle in angles]
    alpha, beta, gamma = cosines
    return np.outer(edges, edges) * np.array([[1, gamma, beta], [gamma, 1, alpha], [beta, alpha, 1]])


def _counted(crystal: Crystal) -> str:
    names = sorted(set(crystal.elements))
    return " ".join(f"{name}{crystal.elements.count(name)}" for name in names)
