from typing import Any

import pytest

from features import crystal, descriptions
from features.descriptions import DescribeParams, repair
from features.errors import RowError


def test_numpy_integers_are_printed_as_integers() -> None:
    text = "sheets oriented in the (np.int64(0), np.int64(-1), np.int64(1)) direction."
    assert repair(text) == "sheets oriented in the (0, -1, 1) direction."


def test_sets_are_printed_in_a_fixed_order() -> None:
    for order in ("edge, face, and corner", "corner, edge, and face", "face, corner, and edge"):
        assert repair(f"a mixture of distorted {order}-sharing CaSb6 octahedra") == \
            "a mixture of distorted corner, edge, and face-sharing CaSb6 octahedra"
    assert repair("a mixture of edge and corner-sharing") == "a mixture of corner and edge-sharing"
    assert repair("oriented in the (1, 0, 0) and (0, 1, 0) directions") == \
        "oriented in the (0, 1, 0) and (1, 0, 0) directions"


def test_other_text_is_left_alone() -> None:
    text = "NaCl is Halite, Rock Salt structured and crystallizes in the cubic Fm-3m space group."
    assert repair(text) == text


@pytest.mark.slow
def test_a_real_crystal(structures: dict[str, Any]) -> None:
    cif = crystal.to_cif(crystal.canonical_structure(structures["mp-22862"]))
    batch = descriptions.compute.function({"material_id": "mp-22862", "cif": cif}, DescribeParams())
    assert batch["text"].startswith(
        "NaCl is Halite, Rock Salt structured and crystallizes in the cubic Fm-3m space group. Na(1) is bonded to six "
        "equivalent Cl(1) atoms to form a mixture of corner and edge-sharing NaCl6 octahedra. The corner-sharing "
        "octahedra are not tilted.")
    assert [tag["region"] for tag in batch["sentences"]] == [
        "global", "semiglobal", "semiglobal", "local", "semiglobal", "semiglobal"]


def test_failure_of_the_engine_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import robocrys

    def broken(*_: object) -> None:
        raise ValueError("2D components don't all have the same orientation.")

    monkeypatch.setattr(robocrys.StructureCondenser, "condense_structure", broken)
    with pytest.raises(RowError, match="same orientation") as error:
        descriptions.describe(None, DescribeParams())
    assert error.value.kind == "ValueError"
