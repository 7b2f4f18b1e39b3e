"""A small view for tests of the engine: what a formula of one letter repeated is worth."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

import pyarrow as pa
from pydantic import Field

from features.errors import RowError
from features.params import Section
from features.view import FeatureView, column, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("copy", pa.int32(), "number of the row within its unit"),
    column("value", pa.float64(), "the input times the factor"),
])
UNITS = pa.schema([("material_id", pa.string()), ("number", pa.int64()), ("what", pa.string())])


class ToyParams(Section):
    factor: float = 2.0
    copies: int = 1
    timeout_s: float = Field(default=5.0, json_schema_extra={"runtime": True})


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: ToyParams) -> list[dict[str, Any]]:
    if unit["what"] == "bad":
        raise RowError("bad", f"{unit['number']} is bad")
    if unit["what"] == "bug":
        raise ZeroDivisionError("division by zero")
    if unit["what"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if unit["what"] == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctypes.PyDLL(None).sleep(600)  # in C, with the interpreter's lock held, deaf to the first signal
    if unit["what"] == "slow":
        time.sleep(0.05)
    if unit["what"] == "where":  # not a pure function: it says which worker this is
        return [{"material_id": unit["material_id"], "copy": 0, "value": float(os.environ.get("TOY_WORKER", "0"))}]
    return [{"material_id": unit["material_id"], "copy": copy, "value": unit["number"] * params.factor}
            for copy in range(params.copies)]


def toy_view(**changes: Any) -> FeatureView[ToyParams]:
    fields: dict[str, Any] = {
        "name": "toys", "stage": "toy", "key": ("material_id", "copy"), "inputs": {"none": ("material_id",)},
        "schema": SCHEMA, "version": 1, "params": ToyParams, "compute": compute, "batch_size": 4,
        "timeout_s": lambda params: params.timeout_s}
    return FeatureView(**{**fields, **changes})


def units(rows: dict[str, int] | list[tuple[str, int, str]]) -> pa.Table:
    listed = [(name, number, "good") for name, number in rows.items()] if isinstance(rows, dict) else rows
    return pa.Table.from_pylist([dict(zip(UNITS.names, row, strict=True)) for row in listed], schema=UNITS)
