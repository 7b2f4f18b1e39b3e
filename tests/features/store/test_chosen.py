"""Digests of rows: they follow from values alone, and say where these differ."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.errors import UserError
from features.paths import Paths
from features.store import canonical, chosen, placement, tables
from features.store.chosen import Crystals

SITES = pa.list_(pa.struct([pa.field("element", pa.string()), pa.field("lengths", pa.list_(pa.float32()))]))
SCHEMA = pa.schema([
    pa.field("material_id", pa.string()), pa.field("variant", pa.int32()), pa.field("text", pa.string()),
    pa.field("vector", pa.list_(pa.float16())), pa.field("sites", SITES), pa.field("flagged", pa.bool_()),
    pa.field("other", pa.map_(pa.string(), pa.float64()))])
IDS = [f"mp-{number}" for number in range(40)]


def row(i: str, variant: int = 0) -> dict[str, Any]:
    number = int(i[3:])
    return {"material_id": i, "variant": variant, "text": None if number % 5 == 0 else f"{i} is cubic, {variant}",
            "vector": [number / 8, variant], "flagged": None if number % 7 == 0 else number % 2 == 0,
            "sites": [{"element": "Si", "lengths": [2.35] * (number % 3)}], "other": [("hardness", float(number))]}


def digest(array: pa.Array) -> str:
    made = hashlib.sha256()
    canonical.update(made, array)
    return made.hexdigest()[:16]


def publish(root: Path, parts: int, rows: Sequence[dict[str, Any]]) -> None:
    where = placement.part_of([one["material_id"] for one in rows], parts)
    tables.publish(Paths(root).table("texts"), SCHEMA, ("material_id", "variant"),
                   (pa.Table.from_pylist([one for one, place in zip(rows, where, strict=True) if place == part], SCHEMA)
                    for part in range(parts)), ({"version": 1, "parts": parts} for _ in range(parts)))


def measured(root: Path, crystals: Crystals) -> tuple[int, str, str]:
    count, buckets, _ = chosen.measured(root, "texts", SCHEMA.names[2:], crystals)
    return count, chosen.total(buckets), chosen.short(buckets, crystals)


@pytest.mark.parametrize(("name", "known"), [
    ("text", "b6039fa1904f01bb"), ("vector", "04fca9e7b053d2ac"), ("sites", "5360287205452616"),
    ("flagged", "c275410256922e32"), ("other", "4019ec1780988ae2")])
def test_a_digest_follows_from_the_values_alone(name: str, known: str) -> None:
    kind = SCHEMA.field(name).type
    values = [row(i)[name] for i in IDS]
    array = pa.array(values, kind)
    assert digest(array) == known  # as in every other version of this code and its libraries
    longer = pa.array([*values[:3], *values, *values[:3]], kind)
    assert digest(longer.slice(3, len(values))) == known
    assert digest(pa.concat_arrays([array.slice(0, 11), array.slice(11)])) == known
    assert digest(array.take(pa.array(range(len(values))))) == known
    for other in ([*values[:-1], None], [*values[1:], values[0]], values[:-1]):
        assert digest(pa.array(other, kind)) != known


def test_what_lies_in_the_place_of_a_missing_value_does_not_count() -> None:
    one, other = (pa.Array.from_buffers(pa.float64(), 2, [pa.py_buffer(b"\x01"), pa.array([1.0, hidden]).buffers()[1]])
                  for hidden in (2.0, 3.0))
    assert digest(one) == digest(other) == digest(pa.array([1.0, None]))
    assert digest(pa.array([1.0, 0.0])) != digest(pa.array([1.0, None]))
    assert digest(pa.array([["ab"], ["c"]])) != digest(pa.array([["a"], ["bc"]]))
    assert digest(pa.array([1], pa.int32())) != digest(pa.array([1], pa.int64()))


def test_more_rows_in_more_parts_change_no_digest(tmp_path: Path) -> None:
    rows = [row(i, variant) for i in IDS for variant in (0, 1)]
    publish(tmp_path, 8, rows)
    crystals = Crystals(IDS[3:30])
    before = measured(tmp_path, crystals)
    assert before[0] == 54
    publish(tmp_path, 16, [*rows, *(row(f"mp-{number}") for number in range(100, 130))])
    assert measured(tmp_path, crystals) == before
    assert measured(tmp_path, Crystals(IDS[29:2:-1])) == before
    assert measured(tmp_path, Crystals(IDS[3:29]))[1] != before[1]


def test_of_many_crystals_several_buckets_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(i, variant) for i in IDS for variant in (0, 1)]
    publish(tmp_path, 8, rows)
    monkeypatch.setattr(chosen, "MANY", 40)
    crystals = Crystals(IDS)
    before = measured(tmp_path, crystals)
    assert len(before[2]) == 8 * len(set((crystals.buckets // 4).tolist()))
    publish(tmp_path, 16, [*rows[1:], row("mp-100")])
    (named,) = chosen.differing(before[2], measured(tmp_path, crystals)[2], crystals)
    assert "mp-0" in named


@pytest.mark.parametrize("change", [{"text": "mp-17 is hexagonal"}, {"vector": [2.125, 1.001]}, {"variant": 2}, None])
def test_a_changed_row_is_named(tmp_path: Path, change: dict[str, Any] | None) -> None:
    rows = {(i, variant): row(i, variant) for i in IDS for variant in (0, 1)}
    publish(tmp_path, 8, list(rows.values()))
    crystals = Crystals(IDS)
    _, _, before = measured(tmp_path, crystals)
    changed = rows.pop(("mp-17", 1))
    publish(tmp_path, 8, [*rows.values(), *([{**changed, **change}] if change else [])])
    (named,) = chosen.differing(before, measured(tmp_path, crystals)[2], crystals)
    assert "mp-17" in named
    assert len(named) < 4


def test_two_rows_of_one_crystal_are_refused(tmp_path: Path) -> None:
    publish(tmp_path, 8, [row("mp-1"), row("mp-1"), row("mp-2")])
    with pytest.raises(UserError, match="texts has several rows of mp-1"):
        measured(tmp_path, Crystals(IDS))
