"""Feature view `descriptions`: what a crystallographer would say of a crystal, by Robocrystallographer."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pyarrow as pa
from pydantic import Field

from features import crystal, sentences
from features.errors import RowError
from features.params import Section
from features.view import FeatureView, column, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("text", pa.string(), "description of the canonical crystal"),
    column("sentences", sentences.SENTENCES_TYPE, "character ranges of the sentences, each with its region"),
    column("n_words", pa.int32(), "number of words"),
    column("engine", pa.string(), "what wrote the text"),
    column("engine_version", pa.string(), "its version"),
])

ENGINE = "robocrys"


class DescribeParams(Section):
    """Section `describe`."""

    symmetry_labels: bool = True
    """Name sites as O(1), O(2) by symmetry, as the texts of the Materials Project do today."""
    decimals: int = Field(default=2, ge=0, le=4)
    """Decimal places of bond lengths, in Å."""
    timeout_s: float = Field(default=300.0, gt=0, json_schema_extra={"runtime": True})
    """Longest time for one crystal; a slower one becomes a reject (retry with --retry-rejected)."""


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: DescribeParams) -> dict[str, Any]:
    """Describe one canonical crystal."""
    import robocrys

    text = describe(crystal.from_cif(unit["cif"]), params)
    return {
        "material_id": unit["material_id"],
        "text": text,
        "sentences": sentences.to_rows(sentences.tag(text)),
        "n_words": len(text.split()),
        "engine": ENGINE,
        "engine_version": robocrys.__version__,
    }


def describe(structure: Any, params: DescribeParams) -> str:
    """Text of a canonical structure: stock robocrys without oxidation states, then the two agreed repairs.

    "No oxidation states, symmetry labels" is the generation of texts that the Materials Project publishes today.
    Raises `RowError` for a crystal that robocrys cannot describe.
    """
    from robocrys import StructureCondenser, StructureDescriber

    # Condenser and describer keep state of the crystal they saw last: new ones for each.
    describer = StructureDescriber(
        describe_oxidation_states=False,
        describe_symmetry_labels=params.symmetry_labels,
        bond_length_decimal_places=params.decimals,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = describer.describe(StructureCondenser().condense_structure(structure))
        except Exception as error:  # a third-party engine's failure becomes data, with its own words
            raise RowError(type(error).__name__, f"robocrys: {error}") from error
    return repair(text)


_NUMPY_INTEGER = re.compile(r"np\.int\d+\((-?\d+)\)")
_SHARED = r"(?:corner|edge|face)"
_MIXTURE = re.compile(rf"a mixture of ((?:distorted )?)({_SHARED}(?:,? (?:and )?{_SHARED})+)-sharing")
_ORIENTED = re.compile(r"oriented in the (\([^)]*\)(?:,? (?:and )?\([^)]*\))+) directions")


def repair(text: str) -> str:
    """Print integers as integers and sets in a fixed order; nothing else of the stock text changes.

    With numpy ≥ 2 robocrys prints directions as `np.int64(0)`, and it prints the members of Python sets in an order
    that changes with PYTHONHASHSEED.
    """
    text = _NUMPY_INTEGER.sub(r"\1", text)
    text = _MIXTURE.sub(lambda m: f"a mixture of {m[1]}{_join(sorted(re.findall(_SHARED, m[2])))}-sharing",
                        text)
    return _ORIENTED.sub(lambda m: f"oriented in the {_join(sorted(re.findall(r'[(][^)]*[)]', m[1])))} directions",
                         text)


def _join(words: list[str]) -> str:
    if len(words) < 3:
        return " and ".join(words)
    return f"{', '.join(words[:-1])}, and {words[-1]}"


VIEW = FeatureView(
    name="descriptions",
    stage="describe",
    key=("material_id",),
    inputs={"materials": ("material_id", "cif")},
    schema=SCHEMA,
    version=1,
    params=DescribeParams,
    compute=compute,
    libraries=("robocrys", "pymatgen-core", "matminer"),
    batch_size=1,  # a time-out then belongs to one crystal, whatever else runs
    timeout_s=lambda params: params.timeout_s,
    preload=("robocrys", "robocrys.condense.condenser", "robocrys.describe.describer"),
)
