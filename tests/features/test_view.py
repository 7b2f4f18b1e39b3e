from typing import Any

import pyarrow as pa
import pytest

from features.registry import all_views
from features.view import FINGERPRINT, rows_to_table
from tests.pipelines.toy import SCHEMA, ToyParams, toy_view, units


def mark(table: pa.Table, params: ToyParams | None = None, **view: Any) -> bytes:
    return toy_view(**view).fingerprints(table, params or ToyParams())[0]


def test_what_a_fingerprint_depends_on() -> None:
    base = mark(units({"a": 1}))
    assert mark(units({"a": 1})) == base
    different = [mark(units({"a": 2})), mark(units({"b": 1})), mark(units({"a": 1}), ToyParams(factor=3.0)),
                 mark(units({"a": 1}), version=2), mark(units({"a": 1}), name="other"),
                 mark(units({"a": 1}), libraries=("numpy",)), mark(units({"a": 1}), digest=lambda _: "weights")]
    assert len({base, *different}) == 8
    assert mark(units({"a": 1}), ToyParams(timeout_s=99.0)) == base


@pytest.mark.parametrize("view", all_views(), ids=lambda view: view.name)
def test_every_view_keeps_the_contract(view: Any) -> None:
    assert view.key[0] == "material_id"
    assert set(view.key) <= set(view.schema.names)
    assert FINGERPRINT not in view.schema.names
    assert all(field.metadata[b"description"] for field in view.schema)
    assert view.header(view.params())["version"] == view.version
    for name in view.libraries:
        assert view.header(view.params())["libraries"][name]


@pytest.mark.parametrize("view", all_views(), ids=lambda view: view.name)
def test_a_time_out_is_no_part_of_a_fingerprint(view: Any) -> None:
    """And every view that worker processes compute has one."""
    assert view.timeout_s(view.params()) is not None or not view.parallel(view.params())
    if "timeout_s" in view.params.model_fields:
        assert view.timeout_s(view.params(timeout_s=7.0)) == 7.0
        assert view.params(timeout_s=7.0).deciding() == view.params().deciding()


def test_other_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="takes ToyParams"):
        toy_view().header(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("row", [{"material_id": "a", "copy": 1},
                                 {"material_id": "a", "copy": 1, "value": 1.0, "x": 0}])
def test_a_row_that_does_not_fit_the_schema_is_a_bug(row: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="differ from the schema"):
        rows_to_table([row], SCHEMA)
