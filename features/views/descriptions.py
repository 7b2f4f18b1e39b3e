"""Feature view `descriptions`: what a crystallographer would say of a crystal, by Robocrystallographer.

The text is exactly stock Robocrystallographer's on the canonical crystal, after the repairs of `repair`; the describer
in `features/describer/` finds it many times faster. Beside the text stand the facts it was made from, as columns. Where
stock stops with an error, the text goes on without what fails, and a flag says so.
"""

from __future__ import annotations

import functools
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from features import crystal, sentences
from features.describer import facts
from features.describer.pieces import Pieces
from features.params import LONGEST_S, Section
from features.rules import CRYSTAL_SYSTEMS, finite, not_blank, one_of, present, relation, within
from features.view import FeatureView, column, row_errors, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("text", pa.string(), "description of the canonical crystal"),
    column("sentences", sentences.SENTENCES_TYPE, "character ranges of the sentences, each with its region"),
    column("n_words", pa.int32(), "number of words"),
    column("mineral", pa.string(), "mineral or prototype the crystal looks like; null if none"),
    column("mineral_match", pa.string(), "structured (the prototype itself), like (similar) or derived (similar, but "
           "with another number of elements)"),
    column("mineral_distance", pa.float64(), "distance of the structure fingerprints; null for the prototype itself"),
    column("dimensionality", pa.int32(), "of the most connected component: 3 framework, 2 sheet, 1 chain, 0 molecule; "
           "null if no bonds can be found"),
    column("space_group", pa.string(), "Hermann-Mauguin symbol, as in the text"),
    column("crystal_system", pa.string(), "crystal system, as in the text"),
    column("components", facts.COMPONENTS, "inequivalent components with dimensionality, orientation and count"),
    column("sites", facts.SITES, "inequivalent sites: the atoms they stand for, geometry, neighbours with bond "
           "lengths, connections; Å and °"),
    column("flags", pa.list_(pa.string()), "known weaknesses of this text, see docs/text.md"),
    column("source", pa.string(), "who wrote the text: computed here, or served by a data base"),
    column("engine_version", pa.string(), "version of Robocrystallographer; of emmet-core for texts that are served"),
])


class DescribeParams(Section):
    """Section `describe`."""

    source: Literal["computed", "materials_project"] = Field(default="computed", json_schema_extra={"runtime": True})
    """`materials_project` takes the texts that the Materials Project serves for its crystals, with the few facts it
    gives beside them, and computes the others here. What decides a row is the served text, which is part of its unit.
    """
    oxidation_states: Literal["none", "guess"] = "none"
    """`none` is the text that the Materials Project publishes today; `guess` names ions, as its earlier texts did,
    where they can be guessed."""
    symmetry_labels: bool = True
    """Name sites as O(1), O(2) by symmetry, as the texts of the Materials Project do today."""
    decimals: int = Field(default=2, ge=0, le=4)
    """Decimal places of bond lengths, in Å."""
    timeout_s: float = Field(default=300.0, gt=0, le=LONGEST_S, json_schema_extra={"runtime": True})
    """Longest time for one crystal; a slower one becomes a reject, which the next run tries again."""


@dataclass(frozen=True)
class Description:
    """A text and what it was made from."""

    text: str
    condensed: dict[str, Any]
    """Robocrystallographer's condensed structure."""
    flags: list[str]
    """What is known of its making, see `flags`."""


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: DescribeParams) -> dict[str, Any]:
    """Describe one canonical crystal, or take the text that its source serves for it."""
    return served_row(unit) if unit.get("served") else computed_row(unit, params)


def computed_row(unit: dict[str, Any], params: DescribeParams) -> dict[str, Any]:
    """The row of a text that is written here."""
    import robocrys

    structure = crystal.from_cif(unit["cif"])
    description = describe(structure, params)
    return {
        "material_id": unit["material_id"],
        "text": description.text,
        "sentences": sentences.to_rows(sentences.tag(description.text)),
        "n_words": len(description.text.split()),
        **facts.columns(description.condensed),
        "flags": [*flags(description.text, unit["isotopes"]), *description.flags,
                  *_other_space_group(structure, description.condensed["spg_symbol"])],
        "source": "computed",
        "engine_version": robocrys.__version__,
    }


def served_row(unit: dict[str, Any]) -> dict[str, Any]:
    """The row of a text that somebody else wrote. Facts that did not come with it are missing."""
    given = json.loads(unit["served"])
    text = repair(given["text"])
    return {
        "material_id": unit["material_id"],
        "text": text,
        "sentences": sentences.to_rows(sentences.tag(text)),
        "n_words": len(text.split()),
        **{name: given[name] for name in ("mineral", "dimensionality", "space_group", "crystal_system")},
        "mineral_match": None,
        "mineral_distance": None,
        "components": None,
        "sites": None,
        "flags": [*flags(text, unit["isotopes"]),
                  *_other_space_group(crystal.from_cif(unit["cif"]), given["space_group"])],
        "source": "materials_project",
        "engine_version": f"emmet-core {given['version']}" if given["version"] else None,
    }


def describe(structure: Any, params: DescribeParams) -> Description:
    """Describe a canonical structure. Raises `RowError` with robocrys' own words if it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with row_errors(prefix="robocrys: "):
                ionic = with_guessed_ions(structure) if params.oxidation_states == "guess" else structure
                condensed = _condenser().condense_structure(ionic)
                text = repair(_describer(params).describe(condensed))
        except BaseException:
            _condenser.cache_clear()  # what it remembers of the failed crystal goes with it
            raise
    pieces: Pieces = condensed["pieces"]
    made = {
        "no_oxidation_states": params.oxidation_states == "guess" and ionic is structure,
        "stock_fails": pieces.replaced or pieces.left_out,
        "sentence_left_out": pieces.left_out,
    }
    return Description(text, condensed, [name for name, holds in made.items() if holds])


@functools.lru_cache(maxsize=1)
def _condenser() -> Any:
    """One per process: it keeps the mineral table, and of crystals only the last few."""
    from features.describer.engine import Condenser

    return Condenser()


def _describer(params: DescribeParams) -> Any:
    """A new one for each crystal, since it keeps state."""
    from features.describer.describer import Describer

    return Describer(
        describe_oxidation_states=params.oxidation_states == "guess",
        describe_symmetry_labels=params.symmetry_labels,
        bond_length_decimal_places=params.decimals,
    )


def with_guessed_ions(structure: Any) -> Any:
    """The structure with the most likely oxidation state of each element.

    The structure itself, if no guess is neutral and other than zero, or if pymatgen does not try: the reduced formula
    has more than ten atoms.
    """
    ionic = Pieces().first_of(
        "oxidation states", lambda: structure.copy().add_oxidation_state_by_guess(max_sites=-10), lambda: structure)
    return ionic if any(getattr(species, "oxi_state", None) for species in ionic.composition) else structure


def _other_space_group(structure: Any, symbol: str | None) -> list[str]:
    """The flag of a text whose space group is not that of its row in `materials`."""
    return ["space_group"] if symbol and symbol != crystal.space_group(structure)[0] else []


_NUMPY_INTEGER = re.compile(r"np\.int\d+\((-?\d+)\)")
_SHARED = r"(?:corner|edge|face)"
_MIXTURE = re.compile(rf"a mixture of ((?:distorted )?)({_SHARED}(?:,? (?:and )?{_SHARED})+)-sharing")
_ORIENTED = re.compile(r"oriented in the (\([^)]*\)(?:[,;]? (?:and )?\([^)]*\))+) directions")
_ISOLATED = re.compile(r"(\S+) is bonded (?:in an? [^.]+ geometry )?to  atoms(?: to form [^.]+)?\.")
_DOUBLED = re.compile(r"\s+(an?) (corner|edge|face)\2 with")
ISOLATED_SENTENCE = "is isolated and has no bonds."
_UNUSUAL_NAME = re.compile(r" is Tetraauricupride(?:-like|-derived)? structured .* Pm-3m space group")


def repair(text: str) -> str:
    """Print integers as integers, sets in a fixed order, words once, an isolated atom as such; nothing else changes.

    With numpy ≥ 2 robocrys prints directions as `np.int64(0)`, and it prints the members of Python sets in an order
    that changes with PYTHONHASHSEED. A single shared corner is "a cornercorner", and an atom without bonds has a
    "1-coordinate geometry to  atoms.".
    """
    text = _NUMPY_INTEGER.sub(r"\1", text)
    text = _DOUBLED.sub(r" \1 \2 with", text)
    text = _ISOLATED.sub(rf"\1 {ISOLATED_SENTENCE}", text)
    text = _MIXTURE.sub(lambda m: f"a mixture of {m[1]}{_join(sorted(re.findall(_SHARED, m[2])))}-sharing",
                        text)
    return _ORIENTED.sub(lambda m: f"oriented in the {_join(sorted(re.findall(r'[(][^)]*[)]', m[1])), ';')} "
                         "directions",
                         text)


def flags(text: str, isotopes: Sequence[str] = ()) -> list[str]:
    """Known weaknesses that a text shows by itself.

    `isotopes`: it says hydrogen where the source says deuterium or tritium. `isolated_atom`: an atom without bonds,
    often one that CrystalNN's cutoffs miss. `prototype_name`: the cubic CsCl type is called by the name of a
    tetragonal mineral, Tetraauricupride.

    Its making adds others. `no_oxidation_states`: they were asked for and cannot be guessed. `stock_fails`: stock
    stops with an error at this crystal. `sentence_left_out`: what fails there is missing in the text. `space_group`:
    the one in the text is not that of the table `materials`.
    """
    weaknesses = ["isotopes"] if isotopes else []
    if ISOLATED_SENTENCE in text:
        weaknesses.append("isolated_atom")
    if _UNUSUAL_NAME.search(text):
        weaknesses.append("prototype_name")
    return weaknesses


def _join(words: list[str], mark: str = ",") -> str:
    if len(words) < 3:
        return " and ".join(words)
    return f"{f'{mark} '.join(words[:-1])}{mark} and {words[-1]}"


VIEW = FeatureView(
    name="descriptions",
    stage="describe",
    key=("material_id",),
    inputs={"materials": ("material_id", "cif", "isotopes")},
    schema=SCHEMA,
    version=5,
    contract=(
        *present("material_id", "text", "sentences", "n_words", "flags", "source"),
        not_blank("text"),
        sentences.COVER,
        within("n_words", 1),
        one_of("mineral_match", ("structured", "like", "derived")),
        relation("only a structure that has a mineral matches one", ("mineral", "mineral_match"),
                 lambda pl: pl.col("mineral").is_not_null() | pl.col("mineral_match").is_null()),
        within("mineral_distance", 0),
        within("dimensionality", 0, 3, said=True),  # of served texts it is the server's
        one_of("crystal_system", tuple(CRYSTAL_SYSTEMS), said=True),
        one_of("source", ("computed", "materials_project")),
        *finite("mineral_distance", "sites"),
    ),
    params=DescribeParams,
    compute=compute,
    libraries=("robocrys", "pymatgen-core", "matminer"),
    baselined=("pymatgen", "spglib", "numpy", "scipy", "numba", "llvmlite", "networkx", "inflect",
               "pandas"),
    batch_size=4,  # a worker of a cluster has more to do then than what it costs to hand it out
    timeout_s=lambda params: params.timeout_s,
    preload=("features.describer.engine", "robocrys"),
)
