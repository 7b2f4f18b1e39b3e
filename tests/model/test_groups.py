"""Errors by kind of crystal: each crystal counts once in each way to group, and where it belongs."""

import numpy as np
import pytest

from model.cautions import FEW
from model.evaluation.groups import by_group
from model.params import EvaluateParams

PARAMS = EvaluateParams(bootstrap=200, confidence=0.9)
CRYSTALS = {name: {"elements": elements, "nsites": sites, "space_group": group, "crystal_system": system,
                   "mineral": mineral}
            for name, elements, sites, group, system, mineral in (
                ("a", ["O", "Ti"], 6, "P4_2/mnm", "tetragonal", "Rutile"),
                ("b", ["Fe"], 1, "Im-3m", "cubic", None),
                ("c", ["Al", "Ni"], 2, "Pm-3m", "cubic", None))}


def row(name: str, error: float) -> dict[str, object]:
    return {"material_id": name, "y_true": 2.0, "y_fused": 2.0 + error, "y_low": 1.8 + error, "y_high": 2.2 + error}


def test_groups_hold_what_belongs_to_them() -> None:
    found = by_group([row("a", 0.3), row("b", -0.1), row("c", 0.2)], CRYSTALS, PARAMS)
    (tetragonal, cubic) = found["crystal system"]
    assert (tetragonal["name"], cubic["name"]) == ("tetragonal", "cubic")  # by symmetry, not by number
    assert (cubic["crystals"], cubic["mae"], cubic["bias"]) == (2, pytest.approx(0.15), pytest.approx(0.05))
    assert (tetragonal["held"], cubic["held"]) == (0.0, 1.0)
    assert {one["name"]: one["crystals"] for one in found["element"]} == dict.fromkeys(("O", "Ti", "Fe", "Al", "Ni"), 1)
    assert [one["name"] for one in found["prototype"]] == ["none", "Rutile"]
    assert {one["name"]: one["crystals"] for one in found["size"]} == {"1-4": 2, "5-10": 1}
    assert [one["name"] for one in found["chemistry"]] == ["oxide", "intermetallic"]


def test_few_crystals_have_no_interval() -> None:
    errors = np.linspace(0.1, 0.5, FEW)
    (enough,) = by_group([row("b", error) for error in errors], CRYSTALS, PARAMS)["space group"]
    assert enough["mae"] == pytest.approx(0.3)
    assert 0.1 < enough["low"] < 0.3 < enough["high"] < 0.5
    (few,) = by_group([row("b", error) for error in errors[1:]], CRYSTALS, PARAMS)["space group"]
    assert (few["low"], few["high"]) == (None, None)
