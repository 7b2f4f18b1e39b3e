import json
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from features.views import materials
from features.views.materials import PROPERTIES, SOURCE_SCHEMA, MaterialsParams
from tests.conftest import CRYSTALS

NACL = (CRYSTALS / "mp-22862.cif").read_text()


def row(**changes: Any) -> dict[str, Any]:
    return {"material_id": "mp-22862", "structure": NACL, "format": "cif", "properties": "{}", "source": "test",
            "source_version": "1", "license": "CC-BY-4.0", "citation": "", "last_updated": None, "error": None,
            **changes}


def compute(*rows: dict[str, Any]) -> Any:
    return materials.compute(pa.Table.from_pylist(list(rows), schema=SOURCE_SCHEMA), MaterialsParams())


def test_columns_of_a_real_crystal() -> None:
    found = compute(row(properties=json.dumps({"k_vrh": 24.9, "band_gap": 0.0, "tc": 3.0}))).rows.to_pylist()[0]
    assert found["reduced_formula"] == "NaCl"
    assert (found["space_group"], found["space_group_number"], found["crystal_system"]) == ("Fm-3m", 225, "cubic")
    assert found["formula"] == "NaCl"
    assert found["elements"] == ["Cl", "Na"]
    assert found["chemsys"] == "Cl-Na"
    assert found["nsites"] == 2
    assert found["density"] == pytest.approx(2.1, abs=0.1)
    assert found["k_vrh"] == 24.9
    assert found["band_gap"] == 0.0  # a metal's gap is a value, not a missing one
    assert found["g_vrh"] is None
    assert found["other_properties"] == [("tc", 3.0)]


@pytest.mark.parametrize(("changes", "error"), [
    ({"structure": NACL[:800]}, "no_sites"),
    ({"structure": "this is not a CIF"}, "unreadable"),
    ({"structure": ""}, "empty"),
    ({"structure": NACL.replace("0.000000  0  .  1", "0.000000  0  .  0.5")}, "disordered"),
    ({"material_id": "../../etc/passwd"}, "bad_id"),
    ({"material_id": ""}, "bad_id"),
    ({"error": "duplicate: entry 2 has the id of entry 1"}, "duplicate"),
])
def test_a_bad_entry_is_a_reject_and_stops_nobody(changes: dict[str, Any], error: str) -> None:
    batch = compute(row(**changes), row(material_id="good"))
    assert batch.rejects[0].error == error
    assert batch.rejects[0].message
    assert batch.rows["material_id"].to_pylist() == ["good"]


@pytest.mark.parametrize(("moment", "expected"), [
    ("2024-11-13T08:30:00.123000+00:00", datetime(2024, 11, 13, 8, 30, 0, 123000)),
    ("2024-11-13T08:30:00+02:00", datetime(2024, 11, 13, 6, 30)),
    (None, None), ("", None),
])
def test_last_updated_is_in_utc(moment: str | None, expected: datetime | None) -> None:
    assert compute(row(last_updated=moment)).rows["last_updated"].to_pylist() == [expected]


def test_every_column_says_what_it_is() -> None:
    for field in materials.SCHEMA:
        assert field.metadata[b"description"]
    assert materials.SCHEMA.field("k_vrh").metadata[b"unit"] == b"GPa"
    assert set(PROPERTIES) <= set(materials.SCHEMA.names)
