"""Rows of any number of crystals that look like real ones, made in microseconds each.

`crystals.jsonl` holds the rows of six crystals of the elastic set. Crystal k is one of them, with all lengths scaled by
a few percent, other elements in its formula, other properties, and other digits in its text. So values compress,
filter and join about as those of real crystals do, and mean nothing. As in the real views each row is a pure function
of its unit: the numbers that vary come from a hash of the unit's text.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import registry
from features.view import Batch, FeatureView
from features.views.materials import PROPERTIES
from features.words.vocabulary import ATOMIC_NUMBERS
from pipelines.sources import Entry

STAGES = ("ingest", "describe", "paraphrase", "embed", "tensorize", "split")
VARIANTS = 2
"""Paraphrases of a description."""
WIDTH = 384
BATCH = 2048
ELEMENTS = tuple(ATOMIC_NUMBERS)[:83]
"""Those that are not radioactive."""
Seeds = NDArray[np.uint64]


def view_of(stage: str) -> FeatureView[Any]:
    """The view of a stage, with rows that cost nothing to compute; that of `split` is the real one."""
    view = registry.view_of(stage)
    compute: Callable[[pa.Table, Any], Batch] = {
        "ingest": _materials, "describe": _descriptions, "paraphrase": _paraphrases, "embed": _embeddings,
        "tensorize": _structures}.get(stage, view.compute)
    return dataclasses.replace(view, compute=compute, batch_size=BATCH)


def entries(crystals: int, changed: float = 0.0) -> Iterator[Entry]:
    """What a source would give; a share of the crystals, spread evenly, has changed since it gave them first."""
    for first in range(0, crystals, 4096):
        numbers = np.arange(first, min(crystals, first + 4096))
        salt = (numbers % round(1 / changed) == 0).astype(int) if changed else np.zeros(len(numbers), int)
        seeds = _seeds(f"{number} {again}" for number, again in zip(numbers.tolist(), salt.tolist(), strict=True))
        scale = 0.95 + 0.1 * _noise(seeds, 1)[:, 0]
        for number, factor in zip(numbers.tolist(), scale.tolist(), strict=True):
            yield Entry(f"mp-{number}", _cif(_templates("materials")[number % _count()]["cif"], factor), "cif",
                        "synthetic", "benchmarks.store", "CC-BY-4.0", "10.1038/sdata.2015.9")


def _materials(units: pa.Table, _: Any) -> Batch:
    kind, seeds = _kinds(units), _seeds(units["structure"].to_pylist())
    scale = _scale(units["structure"], kind)
    noise = _noise(seeds, len(PROPERTIES) + 4)
    chosen = (noise[:, -4:] * len(ELEMENTS)).astype(int).tolist()
    formulas = [_formula(_templates("materials")[k], places) for k, places in zip(kind.tolist(), chosen, strict=True)]
    columns: dict[str, Any] = {name: units[name] for name in ("material_id", "source", "source_version", "license",
                                                              "citation")}
    columns |= {name: [formula[place] for formula in formulas] for place, name in
                enumerate(("formula", "reduced_formula", "chemsys", "elements"))}
    columns |= {"cif": units["structure"], "structure_hash": [
        hashlib.sha256(text.encode()).hexdigest() for text in units["structure"].to_pylist()]}
    columns |= {"volume": _of("materials", "volume")[kind] * scale**3,
                "density": _of("materials", "density")[kind] / scale**3}
    for place, name in enumerate(PROPERTIES):
        if name in _templates("materials")[0]:
            columns[name] = _of("materials", name)[kind] * (0.8 + 0.4 * noise[:, place])
    columns["band_gap"] = np.maximum(0, 6 * noise[:, 2] - 3)
    columns["formation_energy_per_atom"] = -3 * noise[:, 0]
    return _batch("ingest", kind, columns)


def _descriptions(units: pa.Table, _: Any) -> Batch:
    kind, seeds = _kinds(units), _seeds(units["cif"].to_pylist())
    return _batch("describe", kind, {"material_id": units["material_id"], "text": _texts("descriptions", kind, seeds)})


def _paraphrases(units: pa.Table, _: Any) -> Batch:
    owners = np.repeat(np.arange(len(units)), VARIANTS)
    kind = _kinds(units)[owners]
    variant = np.tile(np.arange(1, VARIANTS + 1), len(units))
    seeds = _seeds(units["text"].to_pylist())[owners] + variant.astype(np.uint64)
    return _batch("paraphrase", kind, {"material_id": units["material_id"].take(pa.array(owners)), "variant": variant,
                                       "text": _texts("paraphrases", kind, seeds)}, owners.tolist())


def _embeddings(units: pa.Table, params: Any) -> Batch:
    kind, seeds = _kinds(units), _seeds(units["text"].to_pylist())
    centres = _noise(np.arange(_count(), dtype=np.uint64), WIDTH) - 0.5
    vectors = (0.1 * (centres[kind] + 1.5 * (_noise(seeds, WIDTH) - 0.5))).astype(np.float16)
    lists = pa.ListArray.from_arrays(np.arange(0, vectors.size + 1, WIDTH, dtype=np.int32), pa.array(vectors.ravel()))
    return _batch("embed", kind, {
        "material_id": units["material_id"], "variant": units["variant"], "pooled": lists,
        "n_tokens": 100 + (200 * _noise(seeds, 1)[:, 0]).astype(int), "n_windows": [1] * len(units),
        "encoder": [params.encoder] * len(units), "weights_digest": ["0" * 64] * len(units),
        "precision": ["float32"] * len(units)})


def _structures(units: pa.Table, _: Any) -> Batch:
    kind = _kinds(units)
    scale = _scale(units["cif"], kind)
    table = _taken("tensorize", kind)
    columns: dict[str, Any] = {"material_id": units["material_id"]}
    for name in ("lattice", "edge_distance", "near_vector", "axis_vector"):
        lists = table[name].combine_chunks()
        lengths = np.diff(lists.offsets.to_numpy())
        values = lists.values.to_numpy() * np.repeat(scale, lengths)
        columns[name] = pa.ListArray.from_arrays(lists.offsets, pa.array(values, lists.type.value_type, safe=False))
    return _batch("tensorize", kind, columns)


def _batch(stage: str, kind: NDArray[np.int64], columns: dict[str, Any], owners: list[int] | None = None) -> Batch:
    """The rows of the templates of these kinds, with some columns of their own."""
    table = _taken(stage, kind)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        made = values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values, field.type)
        table = table.set_column(place, field, made.cast(field.type))
    return Batch(table, list(range(len(kind))) if owners is None else owners, {})


def _taken(stage: str, kind: NDArray[np.int64]) -> pa.Table:
    return _template_table(stage).take(pa.array(kind)).combine_chunks()


@functools.cache
def _template_table(stage: str) -> pa.Table:
    view = registry.view_of(stage)
    rows = [{name: row.get(name, [] if pa.types.is_list(field) or pa.types.is_map(field) else None)
             for name, field in zip(view.schema.names, view.schema.types, strict=True)}
            for row in _templates(view.name)]
    if view.name == "text_embeddings":
        rows = [row | dict.fromkeys(("sentence_vectors", "token_vectors", "token_spans")) for row in rows]
    return pa.Table.from_pylist(rows, schema=view.schema)


@functools.cache
def _templates(table: str) -> list[dict[str, Any]]:
    lines = Path(__file__).with_name("crystals.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)[table] for line in lines]


def _count() -> int:
    return len(_templates("materials"))


def _of(table: str, name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in _templates(table)], float)


def _kinds(units: pa.Table) -> NDArray[np.int64]:
    return np.array([int(name[3:]) % _count() for name in units["material_id"].to_pylist()])


def _cif(template: str, factor: float) -> str:
    return re.sub(r"(_cell_length_. +)([\d.]+)", lambda found: f"{found[1]}{float(found[2]) * factor:.6f}", template)


def _scale(texts: Any, kind: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much all lengths of these CIFs are those of their templates."""
    return _lengths(texts.to_pylist()) / _lengths(row["cif"] for row in _templates("materials"))[kind]


def _lengths(texts: Iterable[str]) -> NDArray[np.float64]:
    return np.array([re.findall(r"_cell_length_a +([\d.]+)", text)[0] for text in texts], float)


def _formula(template: dict[str, Any], places: list[int]) -> tuple[str, str, str, list[str]]:
    """Formula, reduced formula, chemical system and elements, with other elements than the template's."""
    own = list(dict.fromkeys(re.findall(r"[A-Z][a-z]?", template["formula"])))
    free = itertools.chain(dict.fromkeys(ELEMENTS[place] for place in places), ELEMENTS)
    others = dict(zip(own, dict.fromkeys(itertools.islice(free, len(own) + len(places))), strict=False))
    swapped = [re.sub(r"[A-Z][a-z]?", lambda found: others[found[0]], template[name])
               for name in ("formula", "reduced_formula")]
    elements = sorted(others.values())
    return swapped[0], swapped[1], "-".join(elements), elements


def _texts(table: str, kind: NDArray[np.int64], seeds: Seeds) -> list[str]:
    """Texts as long as their templates', so that their sentences stand where those do, with other decimals."""
    made = [""] * len(kind)
    for number, row in enumerate(_templates(table)):
        letters = np.frombuffer(row["text"].encode(), np.uint8).copy()
        places = np.array([place for found in re.finditer(rb"\.(\d\d) ", letters.tobytes()) for place in
                           range(found.start(1), found.end(1))], int)
        mine = np.flatnonzero(kind == number)
        digits = (ord("0") + 10 * _noise(seeds[mine], len(places))).astype(np.uint8)
        for index, some in zip(mine.tolist(), digits, strict=True):
            letters[places] = some
            made[index] = letters.tobytes().decode()
    return made


def _seeds(texts: Any) -> Seeds:
    return np.array([int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
                     for text in texts], np.uint64)


def _noise(seeds: Seeds, width: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), `[n, width]`, by splitmix64."""
    x = seeds[:, None] + np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
