"""What facts state, without numbers of sites, and their mean effects over crystals."""

import numpy as np
import pyarrow as pa
import pytest

from model.explanation.aggregates import SUPPORT, aggregate, labels
from model.explanation.facts import Unit
from model.records import FACT_EFFECTS
from tests.model.explanation.models import READ, words


def of_text(name: str) -> dict[str, list[str]]:
    """Words of each fact → its labels."""
    text = READ[name]
    return {text.text[one.start:one.end]: list(labels(one, text.text[one.start:one.end])) for one in text.parsed.facts}


def test_labels_of_a_perovskite() -> None:
    assert of_text("SrTiO3") == {
        "SrTiO3": ["formula with O", "formula with Sr", "formula with Ti"],
        "(Cubic) Perovskite": ["(Cubic) Perovskite"],
        "cubic": ["cubic"], "Pm-3m": ["Pm-3m"], "Sr(1)": ["Sr site"], "Ti(1)": ["Ti site"], "O(1)": ["O site"],
        "twelve equivalent O(1)": ["bonded to O"], "six equivalent O(1)": ["bonded to O"],
        "four equivalent Sr(1)": ["bonded to Sr"], "two equivalent Ti(1)": ["bonded to Ti"],
        "SrO12 cuboctahedra": ["cuboctahedron of Sr"], "TiO6 octahedra": ["octahedron of Ti"],
        "corners with twelve equivalent Sr(1)O12 cuboctahedra": ["corner-sharing cuboctahedron", "cuboctahedron of Sr"],
        "faces with six equivalent Sr(1)O12 cuboctahedra": ["face-sharing cuboctahedron", "cuboctahedron of Sr"],
        "faces with eight equivalent Ti(1)O6 octahedra": ["face-sharing octahedron", "octahedron of Ti"],
        "corners with six equivalent Ti(1)O6 octahedra": ["corner-sharing octahedron", "octahedron of Ti"],
        "faces with eight equivalent Sr(1)O12 cuboctahedra": ["face-sharing cuboctahedron", "cuboctahedron of Sr"],
        "Sr(1)-O(1) bond lengths are 2.79 Å": ["O–Sr bond"], "Ti(1)-O(1) bond lengths are 1.97 Å": ["O–Ti bond"],
        "corner-sharing octahedra are not tilted": ["octahedra not tilted"], "distorted linear": ["linear"]}


def test_labels_of_other_crystals() -> None:
    said = of_text("Ca5Sb3")
    assert said["mixture of distorted corner, edge, and face-sharing CaSb6 octahedra"] == [
        "corner-sharing octahedron", "edge-sharing octahedron", "face-sharing octahedron", "octahedron of Ca"]
    assert said["corner-sharing octahedral tilt angles are 36°"] == ["tilted octahedra"]
    assert said["5-coordinate"] == ["5-coordinate"]
    assert said["two inequivalent Ca"] == ["several inequivalent sites of an element"]
    said = of_text("MoS2")
    assert (said["two-dimensional"], said["two MoS2 sheets"]) == (["two-dimensional"], ["sheet"])
    assert said["distorted edge-sharing MoS6 pentagonal pyramids"] == [
        "edge-sharing pentagonal pyramid", "pentagonal pyramid of Mo"]
    assert said["distorted T-shaped"] == ["T-shaped"]
    said = of_text("Bi2O3")
    assert said["distorted trigonal non-coplanar"] == ["trigonal non-coplanar"]
    assert said["one shorter (2.33 Å) and one longer (2.80 Å) Bi(1)-O(1)"] == ["Bi–O bond"]
    said = of_text("many")
    assert said["edges with twenty-four Zn(1,1,1)Zn10Mo2 cuboctahedra"] == [
        "edge-sharing cuboctahedron", "cuboctahedron of Zn"]
    assert said["eight Zn(1,1,1,1,1,1,1,1)"] == ["bonded to Zn"]


@pytest.mark.parametrize("name", READ)
def test_labels_name_no_site(name: str) -> None:
    every = [one for some in of_text(name).values() for one in some]
    assert len(every) >= len(of_text(name)) - 3  # of texts without labels not all facts have one
    assert not [one for one in every if "(1" in one or "Å" in one or "equivalent O" in one]
    assert all(len(set(some)) == len(some) for some in of_text(name).values())


def crystals(count: int, effect: float = 0.5) -> list[tuple[str, list[Unit], np.ndarray]]:
    """Of one text in which each octahedron of Ti counts as said, and all else nothing."""
    text = words("TiO2 crystallizes in the tetragonal P4_2/mnm space group. Ti(1) is bonded to six equivalent O(1) "
                 "atoms to form TiO6 octahedra that share corners with eight equivalent Ti(1)O6 octahedra and edges "
                 "with two equivalent Ti(1)O6 octahedra.")
    said = np.array(["octahedron of Ti" in labels(one, text.text[one.start:one.end]) for one in text.parsed.facts])
    rng = np.random.default_rng(0)
    return [(text.text, text.parsed.facts, said * (effect + 0.1 * rng.normal(size=len(said)))) for _ in range(count)]


def test_effects_of_what_is_stated() -> None:
    """A crystal that states a thing three times counts once, with the sum."""
    several = crystals(40)
    rows = aggregate("replacement", True, several)
    assert pa.Table.from_pylist(rows, schema=FACT_EFFECTS).num_rows == len(rows)
    of = {(one["fact"], one["label"]): one for one in rows}
    assert len(of) == len(rows)
    connected = of["connectivity", "octahedron of Ti"]
    sums = np.array([sum(value for unit, value in zip(facts, values, strict=True) if unit.kind == "connectivity")
                     for _, facts, values in several])
    assert connected["effect"] == pytest.approx(sums.mean())
    assert connected["high"] - connected["low"] == pytest.approx(2 * 1.96 * sums.std() / np.sqrt(40), rel=0.15)
    assert connected["low"] < connected["effect"] < connected["high"]
    assert (connected["crystals"], connected["share_raised"]) == (40, 1.0)
    assert of["polyhedron", "octahedron of Ti"]["effect"] == pytest.approx(connected["effect"] / 2, rel=0.1)
    assert of["connectivity", "edge-sharing octahedron"]["effect"] == pytest.approx(0.5, abs=0.05)
    assert of["formula", "formula with O"]["effect"] == of["formula", "formula with O"]["share_raised"] == 0.0
    assert {(one["method"], one["faithful"]) for one in rows} == {("replacement", True)}


def test_the_surest_come_first() -> None:
    rows = aggregate("gradients", None, [*crystals(20, -0.5)])
    assert rows[0]["label"] == "octahedron of Ti"
    surely = [max(one["low"], -one["high"]) for one in rows]
    assert surely == sorted(surely, reverse=True)
    assert surely[0] > 0.8
    assert rows[0]["share_raised"] == 0.0


def test_too_few_crystals_are_no_row() -> None:
    assert aggregate("replacement", True, crystals(SUPPORT - 1)) == []
    rows = aggregate("replacement", True, crystals(SUPPORT))
    assert {one["crystals"] for one in rows} == {SUPPORT}
    assert aggregate("replacement", True, []) == []
    # of six other texts only what five of them state has a row
    read = [(one.text, one.parsed.facts, np.ones(len(one.parsed.facts))) for one in READ.values()]
    found = {one["label"]: one["crystals"] for one in aggregate("replacement", True, read)}
    assert "Pm-3m" not in found
    assert found == {label: count for label, count in found.items() if count >= SUPPORT}
    assert "several inequivalent sites of an element" not in found  # three of six
