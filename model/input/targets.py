"""What is learned of a crystal: the target and the further ones of `train.also`, and that no group is on two sides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import UserError
from features.store import tables
from features.views import materials
from features.views.materials import PROPERTIES
from model.input.finite import require_targets


def transform(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """From the property's own unit to what is learned."""
    return np.log10(values) if name == "log10" else values


def untransform(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The inverse of `transform`."""
    return np.power(10.0, values) if name == "log10" else values


def read_targets(root: Path, target: str, transform_name: str, also: bool = False) -> dict[str, float]:
    """Transformed target of every crystal that has one. A value of 0 is a value.

    Raises `UserError` where no crystal has one, one is not finite, or one is not positive whose logarithm is asked for;
    `also`: the error speaks of `train.also`.
    """
    if target in PROPERTIES:
        table = tables.read(root, "materials", ["material_id", target])
        values = table[target].to_pylist()
    else:
        table = tables.read(root, "materials", ["material_id", "other_properties"])
        values = [dict(row or ()).get(target) for row in table["other_properties"].to_pylist()]
    labels = {i: v for i, v in zip(table["material_id"].to_pylist(), values, strict=True) if v is not None}
    if not labels:
        have = [name for name in PROPERTIES if pc.count(tables.read(root, "materials", [name])[name]).as_py()]
        others = tables.read(root, "materials", ["other_properties"])["other_properties"].to_pylist()
        have += sorted({name for row in others for name, _ in row or ()})
        raise UserError(f"train.{'also' if also else 'target'}: no crystal has '{target}'; there is "
                        f"{', '.join(have) or 'no property at all'}")
    require_targets(target, labels)
    if transform_name == "log10":
        wrong = [i for i, v in labels.items() if v <= 0]
        if wrong:
            where, instead = ("also", f"{target}: none") if also else ("transform", "transform: none")
            raise UserError(f"train.{where}: log10 needs positive values, but {target} of {wrong[0]} is "
                            f"{labels[wrong[0]]:g} ({len(wrong)} such crystals); use {instead}")
    return dict(zip(labels, transform(np.array(list(labels.values())), transform_name).tolist(), strict=True))


def unit_of(root: Path, target: str) -> str:
    """Unit of a property, for labels; empty if it has none or nobody has said it (`ingest.units`)."""
    return materials.unit_of(target, tables.footer(tables.files(root, "materials")[0]))


def read_further(root: Path, also: Mapping[str, str]) -> list[dict[str, float]]:
    """The same of each target of `train.also`, by name and transform."""
    return [read_targets(root, name, how, also=True) for name, how in also.items()]


def require_apart(parts: Mapping[str, str], groups: Mapping[str, str]) -> None:
    """Raise `AssertionError` if a group trains that also validates or is tested.

    Args:
        parts: train, validation or test, by id.
        groups: the group of each of these crystals.
    """
    held = {groups[i] for i, part in parts.items() if part != "train"}
    both = held & {groups[i] for i, part in parts.items() if part == "train"}
    if both:
        raise AssertionError(f"the group {min(both)} trains and is held out")
