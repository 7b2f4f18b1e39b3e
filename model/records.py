"""What stages and predictions hand to pages and tables: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from features.view import column

ATTRIBUTIONS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("method", pa.string(), "shapley, replacement or gradients (docs/explain.md)"),
    column("kind", pa.string(), "what is explained by: modality, region, fact, sentence, token or atom"),
    column("index", pa.int32(), "number within method and kind, from 0, in the order of the text or of the orbits"),
    column("label", pa.string(), "what it is: the words themselves, the name of a region or modality, the element"),
    column("fact", pa.string(), "kind of fact, such as bond length, coordination or space group; null for what is no "
           "fact"),
    column("sentence", pa.int32(), "index of the sentence that it stands in; null for what has none"),
    column("region", pa.string(), "region of that sentence; null for what has none"),
    column("start", pa.int32(), "first character in the description; null for what has no place"),
    column("end", pa.int32(), "character behind the last"),
    column("atoms", pa.list_(pa.int32()), "atoms of the canonical crystal that it speaks of, from 0; null if nobody "
           "can say"),
    column("effect", pa.float64(), "by how much it raises the prediction against the reference, in the learned unit"),
    column("reference", pa.float64(), "the prediction that the effect is counted from, in the learned unit"),
    column("spread", pa.float64(), "standard deviation of that over the crystals of the reference; null if there is "
           "none"),
    column("faithful", pa.bool_(), "whether the method passed its tests for this model (table faithfulness); null "
           "where it was not tested, and for Shapley values, which add up by construction"),
])

ATTENTION = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("network", pa.int32(), "number of the network among the fused ones, from 0"),
    column("layer", pa.int32(), "layer of the cross-attention, from 0; null for all layers rolled out"),
    column("head", pa.int32(), "head of the layer, from 0; null for what is rolled out"),
    column("sentence", pa.int32(), "index of the sentence"),
    column("weight", pa.float64(), "mean weight that the crystal's atoms give the sentence; it says where the network "
           "looks, and not what its prediction rests on"),
])

FAITHFULNESS = pa.schema([
    column("method", pa.string(), "as in attributions"),
    column("test", pa.string(), "deletion, insertion, shuffled weights or synthetic fact (docs/explain.md)"),
    column("unit", pa.string(), "what was exchanged: fact or sentence"),
    column("value", pa.float64(), "normalised area under the curve; rank correlation with the explanation of shuffled "
           "weights; share of crystals whose known fact was found"),
    column("control", pa.float64(), "the same of a random order; null where there is none"),
    column("difference", pa.float64(), "mean of value minus control over the crystals; the value where there is no "
           "control"),
    column("low", pa.float64(), "lower end of the 95% interval of the difference; null for fewer than ten crystals"),
    column("high", pa.float64(), "upper end of it"),
    column("crystals", pa.int32(), "crystals that it was measured on"),
    column("passed", pa.bool_(), "whether the method passed this test; null if there were too few crystals for it"),
])

FACT_EFFECTS = pa.schema([
    column("method", pa.string(), "as in attributions"),
    column("fact", pa.string(), "kind of fact"),
    column("label", pa.string(), "what it states, without numbers of sites: edge-sharing octahedra, bonded to O"),
    column("effect", pa.float64(), "mean over the test crystals that state it of their effects by it, in the learned "
           "unit"),
    column("low", pa.float64(), "lower end of its 95% interval over crystals and what their facts were "
           "replaced by"),
    column("high", pa.float64(), "upper end of it"),
    column("crystals", pa.int32(), "test crystals that state it"),
    column("share_raised", pa.float64(), "share of them whose prediction it raises"),
    column("faithful", pa.bool_(), "whether the method passed its tests for this model"),
])


@dataclass(frozen=True)
class Neighbour:
    """A training crystal near the predicted one."""

    material_id: str
    formula: str
    space_group: str
    value: float | None
    """Its property in its own unit; None if only a further target is known of it."""
    distance: float
    """In standard deviations of the distances between random training crystals; 0 is the same vector."""


@dataclass(frozen=True)
class Predicted:
    """What came of one crystal. Numbers of the property are in its own unit, those of `learned` in the learned one."""

    name: str
    """File, row or place that it came from."""
    error: str | None = None
    """Why there is no prediction, as `kind: message`; all that follows is then missing."""
    formula: str | None = None
    space_group: str | None = None
    value: float | None = None
    low: float | None = None
    """Ends of its interval; None where too few crystals validated for one."""
    high: float | None = None
    confidence: float | None = None
    structure_only: float | None = None
    text_only: float | None = None
    learned: Mapping[str, float] = field(default_factory=dict)
    """`value`, `low`, `high`, `structure_only`, `text_only` in the learned unit, such as log10(GPa)."""
    contributions: Mapping[str, float] = field(default_factory=dict)
    """Shapley values of `structure`, `global`, `semi-global`, `local`, in the learned unit, and their `reference`:
    reference + the four = `learned["value"]`. Empty where there is no text."""
    trained_on: str | None = None
    """Id of the training crystal that this crystal is; None if it is none."""
    near_by_structure: tuple[Neighbour, ...] = ()
    near_by_text: tuple[Neighbour, ...] = ()
    warnings: tuple[str, ...] = ()
    """Plain sentences: what lies outside the training data, a model of too few crystals, no text."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """What the file says that may matter beside the crystal: kind → in words."""
    text: str | None = None
    what_if: Mapping[str, Any] | None = None
    """For a prediction with an edited or shortened text: `value` and `learned` of the crystal's own text, `difference`
    in both units, and what was changed, in words (`change`)."""


@dataclass(frozen=True)
class Fact:
    """A piece of a description that states one thing."""

    start: int
    end: int
    """Characters of the description."""
    kind: str
    """Such as bond length, coordination, space group."""
    sentence: int
    atoms: tuple[int, ...]
    """Atoms of the canonical crystal that it speaks of, from 0; empty if nobody can say, or all."""


@dataclass(frozen=True)
class Shape:
    """A crystal to draw: the canonical primitive cell."""

    lattice: list[list[float]]
    """Vectors as rows, Å."""
    elements: list[str]
    """Of each atom."""
    frac_coords: list[list[float]]
    orbit: list[int]
    bonds: list[tuple[int, int, int, int, int]]
    """Atom, bonded atom, and the lattice translation of the bonded one: each atom lists its own neighbours."""
    polyhedra: tuple[int, ...] = ()
    """Atoms whose neighbours the description calls a polyhedron, such as TiO6."""


@dataclass(frozen=True)
class Card:
    """All that a page shows of one crystal."""

    predicted: Predicted
    true: float | None
    """In the property's own unit; None for a crystal that nobody has measured."""
    shape: Shape
    sentences: list[tuple[int, int, str]]
    """Start, end, region."""
    facts: list[Fact]
    effects: list[dict[str, Any]]
    """Rows of `ATTRIBUTIONS`."""
    attention: list[dict[str, Any]] = field(default_factory=list)
    """Weights of the cross-attention: `layer`, `head` (both None for what is rolled out), `sentence`, `weight`."""


@dataclass(frozen=True)
class Method:
    """A way to explain, and whether it may be believed."""

    name: str
    """As in `ATTRIBUTIONS`."""
    says: str
    """What an effect of it is, against which reference, in a sentence."""
    faithful: bool | None
    """None: needs no test."""
    evidence: str
    """The tests in one line with their numbers: deletion and insertion against random order, randomised weights,
    synthetic fact."""
