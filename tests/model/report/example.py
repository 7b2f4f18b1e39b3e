"""Cards of real crystals, with facts and effects that are made up: what a page is given once all stages have run.

`python -m tests.model.report.example PROJECT PAGE ID…` draws a page from the tables of a project.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from features import crystal, sentences
from features.store import tables
from features.views import structures
from model.evaluation.groups import by_group
from model.params import EvaluateParams
from model.records import Card, Fact, Method, Neighbour, Predicted, Shape
from model.report import pages
from model.report.shapes import shape_of
from tests.conftest import CRYSTALS

METHODS = [
    Method("shapley", "What structure and regions add, over all orders in which they may come; against the mean of the "
           "training crystals.", None, "The values add up to the difference from the reference to 1e-4."),
    Method("replacement", "How the prediction changes when a fact is replaced by one of the same kind of other "
           "crystals, on average.", True, "Deletion and insertion beat random order by 0.31 [0.22, 0.40]; with "
           "randomised weights it collapses; it finds the synthetic fact in 97 % of crystals."),
    Method("gradients", "Integrated gradients from an empty text to the description.", False,
           "Deletion and insertion beat random order by 0.02 [-0.05, 0.09] only."),
]
PATTERNS = {
    "formula": r"^\S+(?= is | crystallizes)", "prototype": r"(?<= is )[\w() ,]+(?= structured|-like structured)",
    "space group": r"(?<= )\S+(?= space group)", "coordination": r"[A-Z][a-z]?\(\d\) is bonded[^.]*",
    "bond length": r"(?:[A-Z][a-z]?\(\d\)-[A-Z][a-z]?\(\d\) bond (?:length is|lengths are|distances ranging from) "
                   r"[\d.–-]+ Å)", "connection": r"[\w-]*-sharing[^.]*",
}
WORD = re.compile(r"\w[\w().–-]*")


def facts_of(text: str, shape: Shape) -> list[Fact]:
    """Pieces of a description, and the atoms of the elements that they name."""
    tagged = sentences.tag(text)
    found = []
    for kind, pattern in PATTERNS.items():
        for match in re.finditer(pattern, text):
            named = set(re.findall(r"\b([A-Z][a-z]?)\(\d\)", match[0])[:1 if kind == "coordination" else None])
            atoms = tuple(atom for atom, element in enumerate(shape.elements) if element in named)
            number = next(place for place, one in enumerate(tagged) if one.start <= match.start() < one.end)
            found.append(Fact(match.start(), match.end(), kind, number, atoms))
    return sorted(found, key=lambda fact: (fact.start, fact.end))


def effects_of(name: str, text: str, facts: Sequence[Fact], shape: Shape) -> list[dict[str, Any]]:
    """Rows as in `attributions`: a strong structure, weaker facts, tokens of a few thousandths."""
    tagged, rows = sentences.tag(text), []

    def add(method: str, kind: str, label: str, effect: float, **more: Any) -> None:
        number = sum(row["method"] == method and row["kind"] == kind for row in rows)
        rows.append({"material_id": name, "method": method, "kind": kind, "index": number, "label": label,
                     "fact": None, "sentence": None, "region": None, "start": None, "end": None, "atoms": None,
                     "effect": round(effect, 6), "spread": None, "faithful": {"shapley": None, "replacement": True,
                                                                              "gradients": False}[method], **more})

    rng = np.random.default_rng(len(text))
    for part, effect in CONTRIBUTIONS.items():
        add("shapley", "modality" if part == "structure" else "region", part, effect,
            region=None if part == "structure" else part.replace("-", ""))
    for method in ("replacement", "gradients"):
        for fact in facts:
            add(method, "fact", text[fact.start:fact.end], rng.normal(0, 0.05), fact=fact.kind, sentence=fact.sentence,
                region=tagged[fact.sentence].region, start=fact.start, end=fact.end, atoms=list(fact.atoms) or None,
                spread=0.02)
        for number, one in enumerate(tagged):
            add(method, "sentence", text[one.start:one.end], rng.normal(0, 0.04), sentence=number, region=one.region,
                start=one.start, end=one.end)
        for match in WORD.finditer(text):
            add(method, "token", match[0], 0.004 * (-1) ** len(rows), start=match.start(), end=match.end())
    for orbit in sorted(set(shape.orbit)):
        atoms = [atom for atom, one in enumerate(shape.orbit) if one == orbit]
        add("replacement", "atom", shape.elements[atoms[0]], 0.12 * (-1) ** orbit, atoms=atoms)
    return rows


CONTRIBUTIONS = {"structure": -0.258, "global": 0.041, "semi-global": 0.006, "local": -0.062}


def card_of(name: str, structure: Mapping[str, Any], material: Mapping[str, Any], text: str,
            sites: list[Mapping[str, Any]] | None, **more: Any) -> Card:
    """One crystal; `more` are fields of `Predicted`."""
    shape = shape_of(structure, sites)
    facts = facts_of(text, shape)
    tagged = sentences.tag(text)
    reference = 2.0
    learned = reference + sum(CONTRIBUTIONS.values())
    near = tuple(Neighbour(f"mp-{number}", formula, group, value, distance) for number, formula, group, value, distance
                 in ((2998, "BaTiO3", "Pm-3m", 161.9, 0.21), (4019, "CaTiO3", "Pnma", 176.2, 0.48),
                     (2657, "TiO2", "P4_2/mnm", None, 1.13)))
    predicted = Predicted(**{
        "name": name, "formula": material["reduced_formula"], "space_group": material["space_group"],
        "value": 10**learned, "low": 10**(learned - 0.08), "high": 10**(learned + 0.08), "confidence": 0.9,
        "structure_only": 10**(learned + 0.02), "text_only": 10**(learned - 0.05),
        "learned": {"value": learned, "low": learned - 0.08, "high": learned + 0.08, "structure_only": learned + 0.02,
                    "text_only": learned - 0.05},
        "contributions": {"reference": reference, **CONTRIBUTIONS}, "near_by_structure": near,
        "near_by_text": near[::-1], "text": text, **more})
    weights = np.arange(1, len(tagged) + 1) / sum(range(1, len(tagged) + 1))
    attention = [{"layer": layer, "head": head, "sentence": number, "weight": float(weight)}
                 for layer, head in ((None, None), (0, 0), (0, 1))
                 for number, weight in enumerate(weights[::-1] if head == 1 else weights)]
    return Card(predicted, material.get("k_vrh"), shape, [tuple(one) for one in tagged], facts,
                effects_of(name, text, facts, shape), attention)


ACROSS = [{"method": method, "fact": fact, "label": label, "effect": effect, "low": effect - 0.01,
           "high": effect + 0.01, "crystals": crystals, "share_raised": 0.5, "faithful": method == "replacement"}
          for method, fact, label, effect, crystals in (
              ("replacement", "connection", "edge-sharing octahedra", 0.031, 41),
              ("replacement", "space group", "Pm-3m", -0.054, 30), ("gradients", "space group", "Pm-3m", 9.0, 30))]
"""Effects over test crystals, those of a method that failed among them."""


def cards_of(root: Path, ids: Sequence[str]) -> list[Card]:
    """Cards of crystals of a described project."""
    shapes, materials, described = ({row["material_id"]: row for row in tables.read(root, name, ids=ids).to_pylist()}
                                    for name in ("structures", "materials", "descriptions"))
    return [card_of(name, shapes[name], materials[name], described[name]["text"], described[name]["sites"])
            for name in ids]


def small_cards() -> list[Card]:
    """Of three crystals of the tests, with their real descriptions: SrTiO3, GeTe and Si."""
    described = json.loads((Path(__file__).parent / "descriptions.json").read_text())
    cards = []
    for name, (formula, group, true) in {"mp-5229": ("SrTiO3", "Pm-3m", 172.7), "mp-938": ("GeTe", "R3m", 29.57),
                                         "mp-149": ("Si", "Fd-3m", None)}.items():
        material = {"reduced_formula": formula, "space_group": group, "k_vrh": true}
        cards.append(card_of(name, structure_row(name), material, described[name]["text"], described[name]["sites"]))
    return cards


def structure_row(name: str) -> dict[str, Any]:
    """The row of `structures` of a crystal of the tests."""
    structure = crystal.canonical_structure(Structure.from_file(CRYSTALS / f"{name}.cif"))
    return structures.structure_tensors(structure, structures.TensorizeParams())


def run_page(path: Path, name: str = "k_vrh", experiments: Sequence[Mapping[str, Any]] | None = None) -> str:
    """A report of sixty made-up test crystals, written to a file; also as text. `name` is that of all that has one."""
    rng = np.random.default_rng(0)
    ids = [f"{name}-{number}" for number in range(60)]
    true = rng.normal(2, 0.3, 60)
    made = true + rng.normal(0, 0.06, 60)
    rows = [{"material_id": one, "split": "test", "y_true": y, "y_fused": p, "y_low": p - 0.1, "y_high": p + 0.1,
             "value_true": 10**y, "value_fused": 10**p, "value_low": 10**(p - 0.1), "value_high": 10**(p + 0.1)}
            for one, y, p in zip(ids, true.tolist(), made.tolist(), strict=True)]
    crystals = {one: {"reduced_formula": name if name != "k_vrh" else "Ti2O3", "space_group": "R-3c",
                      "elements": ["O", "Ti"] if number % 3 else ["Fe"], "crystal_system": "trigonal", "nsites": 10,
                      "mineral": None if number % 2 else "Corundum"} for number, one in enumerate(ids)}
    one = {"coverage": 0.9, "crystals": 60, "mean_width": 0.2, "training_crystals": 100}
    test = {f"mae{end}": value for end, value in (("", 0.05), ("_low", 0.04), ("_high", 0.06))}
    metrics = {"cautions": [], "target": name, "unit": "log10(GPa)", "natural_unit": "GPa", "test": test,
               "test_natural": test,
               "baseline": {f"mean_{key}": value * 5 for key, value in test.items()} | {"mean_mae_natural": 60.0},
               "confidence": 0.95, "split": {"train": 100, "validation": 20, "test": 60}, "parameters": 12345,
               "networks": {"structure": 3}, "pretrained_on": None,
               "intervals": {**one, "confidence": 0.9, "by": {way: {"some": one} for way in (
                   "chemistry", "elements", "sites", "support")}}}
    line = dict.fromkeys(("dataset", "arm", "control"), "some" if name == "k_vrh" else name) | dict.fromkeys(
        ("members", "n_train", "folds", "mae", "low", "high", "minus_dedicated", "minus_low", "minus_high"), "0.1")
    lines = [{**line, "target": name}, {**line, "target": "g_vrh"}] if experiments is None else experiments
    curve = [{"epoch": epoch, "branch": "fused", "validation_mae": 1 / epoch} for epoch in range(1, 9)]
    pages.write_run(path, metrics, rows, crystals, curve, [("fused", "mae")],
                    by_group(rows, crystals, EvaluateParams(bootstrap=100)),
                    [{"confidence": share, "crystals": 60, "held": share} for share in (0.1, 0.5, 0.9)], lines)
    return path.read_text()


if __name__ == "__main__":
    pages.write_cards(Path(sys.argv[2]), "k_vrh", "GPa", "log10(GPa)", cards_of(Path(sys.argv[1]), sys.argv[3:]),
                      METHODS, ACROSS)
