"""Where stock Robocrystallographer stops with an error, the text goes on without what fails, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import robocrys.condense.condenser
from pymatgen.core import Lattice, Structure

from benchmarks.describe import stock_text
from features.describer import engine
from features.describer.describer import Describer
from features.describer.pieces import Pieces
from features.errors import RowError
from features.view import ENVIRONMENT
from features.views import descriptions
from features.views.descriptions import DescribeParams
from tests.features.describer.layers import tilted_sheets
from tests.features.describer.stock import canonical


@pytest.fixture(scope="module")
def anatase() -> Any:
    return canonical(Structure.from_spacegroup(
        "I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]]))


@pytest.fixture(scope="module")
def oxyselenide() -> Any:
    """BiCuSeO: sheets of BiO and of CuSe."""
    return canonical(Structure.from_spacegroup(
        "P4/nmm", Lattice.tetragonal(3.93, 8.93), ["Bi", "Cu", "Se", "O"],
        [[0, 0.5, 0.139], [0, 0, 0.5], [0, 0.5, 0.673], [0, 0, 0]]))


def describe(structure: Any) -> descriptions.Description:
    return descriptions.describe(structure, DescribeParams())


def spoilt(structure: Any, spoil: Any) -> tuple[str, list[str]]:
    """The text after `spoil` has changed the condensed structure, and what it misses."""
    condensed = engine.Condenser().condense_structure(structure)
    spoil(condensed)
    return descriptions.repair(Describer(describe_oxidation_states=False).describe(condensed)), \
        condensed["pieces"].left_out


def site(condensed: dict[str, Any], element: str) -> int:
    return next(index for index, one in condensed["sites"].items() if one["element"] == element)


@pytest.mark.slow
def test_layers_that_stock_takes_for_not_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = canonical(tilted_sheets())
    found = describe(structure)
    planes = {tuple(part["orientation"]) for part in found.condensed["components"].values()}
    assert planes <= {(1, 0, -1), (-1, 0, 1)}  # the sign is the linear algebra library's
    assert found.flags == (["stock_fails"] if len(planes) == 2 else [])
    monkeypatch.setattr(robocrys.condense.condenser, "components_are_vdw_heterostructure", lambda _: False)
    assert found.text == stock_text(structure, DescribeParams())
    assert "consists of one B3C2N3 sheet oriented in the" in found.text


def test_orientations_that_differ_cost_no_word(oxyselenide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = describe(oxyselenide)
    assert whole.flags == []

    def turned(*given: Any, **named: Any) -> Any:
        components = stock(*given, **named)
        return [*components[:-1], components[-1] | {"orientation": (0, 0, -1)}]

    stock = engine.get_structure_components
    monkeypatch.setattr(engine, "get_structure_components", turned)
    found = describe(oxyselenide)
    assert found.text.replace("(0, 0, -1)", "(0, 0, 1)") == whole.text != found.text
    assert found.flags == ["stock_fails"]


@pytest.mark.parametrize(("broken", "missing"), [
    ("get_structure_components", "The structure is two-dimensional and consists of one BiO sheet oriented in the "
                                 "(0, 0, 1) direction and one CuSe sheet oriented in the (0, 0, 1) direction. "),
    ("get_structure_inequiv_components", ""),
])
def test_what_the_condenser_cannot_find_out(oxyselenide: Any, broken: str, missing: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Without orientations the components are not summed up; components are compared by symmetry if not by shape."""
    whole = describe(oxyselenide).text
    assert missing in whole
    stock = getattr(engine, broken)

    def fails(*given: Any, **named: Any) -> Any:
        if named.get("inc_orientation", True):
            raise ValueError("SVD did not converge")
        return stock(*given, **named)

    monkeypatch.setattr(engine, broken, fails)
    found = describe(oxyselenide)
    assert found.text == whole.replace(missing, "")
    assert found.flags == ["stock_fails", *(["sentence_left_out"] if missing else [])]


def test_symmetry_that_is_not_found_within_an_angle(anatase: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = describe(anatase).text

    class ByLengthsOnly(engine.SpacegroupAnalyzer):  # type: ignore[misc]
        def __init__(self, structure: Any, symprec: float, angle_tolerance: float = 5) -> None:
            if angle_tolerance > 0:
                raise ValueError("Unable to determine symmetry")
            super().__init__(structure, symprec, angle_tolerance)

    monkeypatch.setattr(engine, "SpacegroupAnalyzer", ByLengthsOnly)
    found = describe(anatase)
    assert (found.text, found.flags) == (whole, ["stock_fails"])


def test_an_element_without_a_radius_has_no_bonds_to_describe() -> None:
    rutherfordium = canonical(Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Rf", "O"], [[0, 0, 0], [0.305, 0.305, 0]]))
    found = describe(rutherfordium)
    assert found.text == "O2Rf crystallizes in the tetragonal P4_2/mnm space group."
    assert found.flags == ["stock_fails", "sentence_left_out"]
    row = descriptions.facts.columns(found.condensed)
    assert (row["dimensionality"], row["sites"], row["components"], row["mineral"]) == (None, [], [], None)


def test_a_mineral_that_cannot_be_sought(anatase: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = describe(anatase).text
    assert whole.startswith("TiO2 is beta Vanadium nitride-like structured and crystallizes in the tetragonal")

    def fails(*_: object) -> None:
        raise RuntimeError("max cutoff exceeded")

    monkeypatch.setattr(engine.Condenser, "_condense_mineral", fails)
    found = describe(anatase)
    assert found.text == whole.replace("is beta Vanadium nitride-like structured and ", "")
    assert found.flags == ["stock_fails", "sentence_left_out"]


def test_a_tilt_or_a_bond_length_takes_nothing_else_with_it(anatase: Any) -> None:
    whole = describe(anatase).text

    def tilt(condensed: dict[str, Any]) -> None:
        condensed["angles"].clear()

    (sentence,) = (one for one in whole.split(". ") if "octahedral tilt" in one)
    assert spoilt(anatase, tilt) == (whole.replace(f"{sentence}. ", ""), ["tilt"])

    def lengths(condensed: dict[str, Any]) -> None:
        condensed["distances"][site(condensed, "Ti")].clear()

    (sentence,) = (one for one in whole.split(". ") if "Ti(1)-O(1) bond lengths" in one)
    text, missing = spoilt(anatase, lengths)
    assert (text, missing) == (whole.replace(f"{sentence}. ", ""), ["bond length"])


def test_a_site_takes_no_other_with_it(oxyselenide: Any) -> None:
    whole = describe(oxyselenide).text
    bismuth = whole[whole.index("Bi(1) is"):whole.index("O(1) is")]

    def first(condensed: dict[str, Any]) -> None:
        condensed["sites"][site(condensed, "Bi")]["geometry"] = None

    text, missing = spoilt(oxyselenide, first)
    assert missing == ["site"]
    assert text.startswith(whole[:whole.index("Bi(1) is")] + "O(1) is bonded")
    assert text.endswith(whole[whole.index("In the CuSe sheet"):])
    assert bismuth.split(". ")[0] not in text

    def both(condensed: dict[str, Any]) -> None:
        for element in ("Bi", "O"):
            condensed["sites"][site(condensed, element)]["geometry"] = None

    text, missing = spoilt(oxyselenide, both)
    assert missing == ["site", "site"]
    assert text == whole[:whole.index("In the BiO sheet")] + whole[whole.index("In the CuSe sheet"):]


def test_one_of_several_sites_of_an_element() -> None:
    structure = canonical(tilted_sheets())
    whole = describe(structure).text

    def boron(condensed: dict[str, Any]) -> None:
        for index, one in condensed["sites"].items():
            if one["element"] == "B":
                condensed["sites"][index]["geometry"] = None

    text, missing = spoilt(structure, boron)
    assert missing == ["site"] * 3
    assert "In the B3C2N3 sheet, there are three inequivalent B sites. There are two inequivalent C sites." in text
    assert whole.endswith(text[text.index("In the NC7 sheet"):])


@pytest.mark.parametrize("error", ENVIRONMENT)
def test_errors_of_the_machine_go_through(anatase: Any, error: type[Exception],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(engine.Condenser, "_layers", fails)
    with pytest.raises(error):
        describe(anatase)


def test_an_error_in_our_own_code_is_a_bug_whatever_its_kind() -> None:
    code = compile("def ours(facts):\n    return facts['no such fact']\n", "ours.py", "exec")
    space: dict[str, Any] = {"__name__": "features.describer.sites"}
    exec(code, space)  # noqa: S102 (a function of that module)
    with pytest.raises(KeyError):
        Pieces().unless_it_fails("site", lambda: space["ours"]({}), None)
    assert Pieces().unless_it_fails("site", lambda: int("elsewhere"), 7) == 7


def test_a_bug_of_ours_is_no_property_of_the_crystal(anatase: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "components_are_vdw_heterostructure", None)
    with pytest.raises(RowError, match="not callable") as error:
        describe(anatase)
    assert error.value.kind == "TypeError"
