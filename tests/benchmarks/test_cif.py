"""A sample of `benchmarks/cif`: mutated real CIFs, and settings of the space-group tables."""

import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.cif import fuzz, reading, sweep
from benchmarks.cif.fuzz import Mutant, Original
from benchmarks.cif.mutations import CHANGE, MUTATIONS, SAME
from benchmarks.cif.operations import is_group, parse_operation
from benchmarks.cif.oracle import confirm
from tests.conftest import CRYSTALS

SAMPLE = ("mp-149", "mp-169", "mp-20928", "mp-7088")


@pytest.fixture(scope="module")
def originals() -> list[Original]:
    plain = {name: (CRYSTALS / f"{name}.cif").read_bytes() for name in SAMPLE}
    found, lines = fuzz.load_originals(
        plain | {f"{name}+symmetry": fuzz.with_symmetry(text) for name, text in plain.items()}, serial=True)
    assert lines == []
    assert all(original.understood for original in found)
    return found


def test_a_mutated_file_is_a_confirmed_row_or_a_reject_with_a_reason(originals: list[Original]) -> None:
    counts, lines = fuzz.fuzz(originals, len(MUTATIONS), 14, serial=True)
    assert lines == []
    ends: Counter[str] = sum(counts.values(), Counter())
    assert ends["confirmed"] > len(MUTATIONS) / 2  # a reader that rejects everything is not right either
    assert ends["reject"] > len(MUTATIONS) / 4


def test_settings_by_every_way_of_giving_them() -> None:
    counts, lines = sweep.sweep(53, serial=True)
    assert lines == []
    assert set(counts) == {"operations", "Hall symbol", "name", "name spelt otherwise", "number"}
    assert all(found["right"] > found["rejected"] for found in counts.values())


def silicon(originals: list[Original]) -> Original:
    return next(original for original in originals if original.name == "mp-149+symmetry")


def spoilt(original: Original, **changes: Any) -> reading.Outcome:
    """The original's outcome with another crystal."""
    assert original.outcome.crystal is not None
    return replace(original.outcome, crystal=replace(original.outcome.crystal, **changes))


@pytest.mark.parametrize("kind", [SAME, CHANGE])
def test_a_wrong_row_is_noticed(originals: list[Original], kind: str) -> None:
    original = silicon(originals)
    mutation = next(mutation for mutation in MUTATIONS if mutation.allows == kind)
    mutant = Mutant(original, mutation, 0, original.text)
    crystal = original.outcome.crystal
    assert crystal is not None
    moved = crystal.fractions.copy()
    moved[0] += 0.02  # 0.2 Å
    assert fuzz.judge(mutant, original.outcome) == ("confirmed", "")
    for wrong in (spoilt(original, fractions=moved), spoilt(original, elements=("C", *crystal.elements[1:])),
                  spoilt(original, elements=crystal.elements[1:], fractions=crystal.fractions[1:]),
                  spoilt(original, lattice=crystal.lattice * 1.01),
                  replace(original.outcome, row=original.outcome.row | {"density": 2.0}),
                  replace(original.outcome, row=original.outcome.row | {"nsites": 4})):
        end, why = fuzz.judge(mutant, wrong)
        assert end == "wrong"
        assert why


@pytest.mark.parametrize(("old", "new", "why"), [
    ("Si8", "'Si8 O2'", "the formula is"),
    ("_cell_formula_units_Z   8", "_cell_formula_units_Z   5", "Z is 5"),
    ("_cell_volume   ", "_cell_volume   9", "the file says 9"),
    ("_atom_site_fract_x", "_atom_site_fract_q", "no crystal"),
    ("_cell_length_a   5", "_cell_length_a   nan", "no cell length"),
])
def test_the_oracle_confirms_no_row_of_a_file_that_contradicts_it(originals: list[Original], old: str, new: str,
                                                                  why: str) -> None:
    original = silicon(originals)
    text = original.text.decode()
    assert old in text
    assert confirm(original.text, original.outcome) == ""
    assert why in confirm(text.replace(old, new).encode(), replace(original.outcome, flags={}))


def test_mutants_follow_from_the_seed(originals: list[Original]) -> None:
    first, again, other = (b"".join(mutant.text for mutant in fuzz.mutants(originals, 80, seed))
                           for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_what_is_a_group() -> None:
    mirror = [parse_operation(text) for text in ("x,y,z", "1/2+x, -y, Z+.5")]
    assert is_group(mirror)
    assert not is_group([mirror[0], parse_operation("x,-y,z+1/4")])
    assert not is_group(mirror[1:])


def test_distances_in_an_oblique_cell() -> None:
    lattice = reading.lattice_of(reading.metric_of((3.0, 3.0, 3.0), (60.0, 60.0, 60.0)))
    points = np.random.default_rng(1).random((40, 3))
    steps = points[:, None] - points[None]
    grid = np.stack(np.meshgrid(*[range(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    expected = np.linalg.norm((steps[:, :, None] + grid) @ lattice, axis=-1).min(axis=-1)
    np.testing.assert_allclose(reading.distances(points, points, lattice), expected, atol=1e-9)


@pytest.mark.skipif(sys.platform != "linux", reason="the child processes are forks, which have the stand-in")
def test_a_crash_a_hang_and_a_strange_error_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(text: bytes) -> None:
        if text == b"hang":
            time.sleep(60)
        if text == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {b"strange": KeyError("x"), b"full": OSError("full")}[text]

    monkeypatch.setattr("features.cif.read.read_cif", stand_in)
    monkeypatch.setattr(reading, "TIMEOUT_S", 1.0)
    outcomes = list(reading.read_all([b"strange", b"hang", b"die", b"full"]))
    assert [outcome.end for outcome in outcomes] == ["crash", "hang", "crash", "crash"]
    assert "KeyError" in outcomes[0].message
    assert "SIGKILL" in outcomes[2].message
