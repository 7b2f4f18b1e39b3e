"""Feature view `splits`: which crystals train, validate and test. A crystal never changes sides when data grow."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from features.params import LARGEST_SEED, Section
from features.rules import not_blank, one_of, present, within
from features.view import FeatureView, column, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("group", pa.string(), "what is kept together, so that no relative of a test crystal is trained on"),
    column("fold", pa.int32(), "number of the fold in k-fold cross-validation"),
    column("split", pa.string(), "train, validation or test"),
])


class SplitParams(Section):
    """Section `split`."""

    group_by: Literal["reduced_formula", "chemsys", "none"] = "reduced_formula"
    """Crystals that share this stay on one side. `none` still keeps identical crystals together."""
    test: float = Field(default=0.2, gt=0, lt=1)
    """Share of the groups that are tested on."""
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Share of the groups that early stopping looks at."""
    folds: int = Field(default=5, ge=2, le=100)
    """Number of folds."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the hash that assigns groups to splits and folds."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> SplitParams:
        if self.test + self.validation >= 1:
            raise ValueError("test and validation together must be less than 1, or nothing is left to train on")
        return self


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: SplitParams) -> dict[str, Any]:
    """Assign by a seeded hash of the group: no row depends on which other rows there are."""
    group = unit["structure_hash"] if params.group_by == "none" else unit[params.group_by]
    position = _uniform(f"{params.seed}:split:{group}")
    if position < params.test:
        split = "test"
    elif position < params.test + params.validation:
        split = "validation"
    else:
        split = "train"
    fold = int(_uniform(f"{params.seed}:fold:{group}") * params.folds)
    return {"material_id": unit["material_id"], "group": group, "fold": fold, "split": split}


def _uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


VIEW = FeatureView(
    name="splits",
    stage="split",
    key=("material_id",),
    inputs={"materials": ("material_id", "reduced_formula", "chemsys", "structure_hash")},
    schema=SCHEMA,
    version=1,
    contract=(
        *present("material_id", "group", "fold", "split"),
        not_blank("group"),
        within("fold", 0, 99),
        one_of("split", ("train", "validation", "test")),
    ),
    params=SplitParams,
    compute=compute,
    batch_size=4096,
    parallel=lambda _params: False,
)
