"""Table functions of SQL that rank crystals: `similar('mp-149', 10)`, `find('edge-sharing TiO6 octahedra', 10)`,
`near('mp-149', 10)`.

All give `rank` (from 1), `material_id`, `reduced_formula` and `similarity`, `find` also the sentence of the description
that is most like the query. `features.catalog.meanings` says what each compares. These are those of a session of ours,
which keeps vectors in memory; `features.catalog.macros` has those of other clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import vectors
from features.catalog import light_encoder
from features.catalog.views import identifier
from features.errors import UserError
from features.store import placement, tables
from features.text_encoder import weights

TABLE = "text_embeddings"
MOST = 10
"""Crystals that are given where a query does not say how many."""
DIGITS = 6
"""Of a similarity: vectors in half precision tell no more, and so equal crystals come in the order of their ids."""
BLOCK = 1 << 12
"""Vectors that are turned into single precision at once: as many as a processor's cache holds."""

ROW = pa.struct([("rank", pa.int64()), ("material_id", pa.string()), ("reduced_formula", pa.string()),
                 ("similarity", pa.float64())])
ROW_OF_FIND = pa.struct([*ROW, ("sentence", pa.string())])
Hits = tuple[list[str], list[float]]
"""Ids and similarities, the most similar first."""


class Search:
    """The functions over the tables of one version."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.failure: UserError | None = None
        """Why a function could not answer; DuckDB would hide it in words of its own."""

    def add(self, connection: duckdb.DuckDBPyConnection, schema: str, mark: str) -> None:
        """Define them in a schema. `mark` is part of the names of functions behind them, of which none is asked for."""
        for name, answer, row in (("similar", self._similar, ROW), ("find", self._find, ROW_OF_FIND),
                                  ("near", self._near, ROW)):
            inner = f"_{name}_{mark}"
            connection.create_function(inner, self._rowwise(answer, row), ["VARCHAR", "BIGINT"],
                                       _sql_type(row), type="arrow", null_handling="special")
            asked = "query" if name == "find" else "id"
            connection.execute(f"CREATE MACRO {identifier(schema)}.{identifier(name)}({asked}, n := {MOST}) AS TABLE "
                               f"SELECT unnest({inner}({asked}, n), recursive := true)")

    def _rowwise(self, answer: Callable[[str, int], list[dict[str, Any]]],
                 row: pa.DataType) -> Callable[[pa.ChunkedArray, pa.ChunkedArray], pa.Array]:
        def call(asked: pa.ChunkedArray, counts: pa.ChunkedArray) -> pa.Array:
            try:
                return pa.array([[] if what is None else answer(what, max(0, MOST if count is None else count))
                                 for what, count in zip(asked.to_pylist(), counts.to_pylist(), strict=True)],
                                pa.list_(row))
            except UserError as error:
                self.failure = error
                raise

        return call

    def _similar(self, material_id: str, n: int) -> list[dict[str, Any]]:
        ids, matrix = self._described()
        own = _place(ids, material_id, "text_embeddings has no vector of the description of")
        return self._rows(self._most(ids, matrix @ matrix[own], n, own))

    def _near(self, material_id: str, n: int) -> list[dict[str, Any]]:
        if not tables.exists(self.where, "structures"):
            raise UserError("near needs the table structures, run `dvc repro`")
        ids, matrix = vectors.structure(self.where)
        own = _place(ids, material_id, "structures has no row of")
        gaps = [np.linalg.norm(matrix[start:start + BLOCK].astype(np.float32) - matrix[own].astype(np.float32), axis=1)
                for start in range(0, len(matrix), BLOCK)]
        return self._rows(self._most(ids, 1 / (1 + np.concatenate(gaps)), n, own))

    def _find(self, query: str, n: int) -> list[dict[str, Any]]:
        ids, matrix = self._described()
        vector = embed(self.where, query)
        hits = self._most(ids, matrix @ vectors.unit(vector[None])[0], n)
        said = best_sentences(self.where, hits[0], vector)
        return [{**row, "sentence": said.get(row["material_id"])} for row in self._rows(hits)]

    def _described(self) -> vectors.Vectors:
        if not tables.exists(self.where, TABLE):
            raise UserError(f"similar and find need the table {TABLE}, run `dvc repro`")
        return vectors.units(self.where)

    @staticmethod
    def _most(ids: list[str], similarity: NDArray[Any], n: int, without: int | None = None) -> Hits:
        """The n most similar, equal ones by id, but for one."""
        similarity = np.round(np.asarray(similarity, float), DIGITS)
        if without is not None:
            similarity[without] = -np.inf
        n = min(n, len(ids) - (without is not None))
        if n <= 0:
            return [], []
        least = np.partition(similarity, len(ids) - n)[len(ids) - n]
        chosen = np.flatnonzero(similarity >= least).tolist()
        chosen.sort(key=lambda place: (-similarity[place], ids[place]))
        return [ids[place] for place in chosen[:n]], similarity[chosen[:n]].tolist()

    def _rows(self, hits: Hits) -> list[dict[str, Any]]:
        formulas: dict[str, str] = {}
        if hits[0] and tables.exists(self.where, "materials"):
            known = tables.read(self.where, "materials", ["material_id", "reduced_formula"], hits[0])
            formulas = dict(zip(known["material_id"].to_pylist(), known["reduced_formula"].to_pylist(), strict=True))
        return [{"rank": rank, "material_id": name, "reduced_formula": formulas.get(name), "similarity": value}
                for rank, (name, value) in enumerate(zip(*hits, strict=True), start=1)]


def _place(ids: list[str], material_id: str, otherwise: str) -> int:
    try:
        return ids.index(material_id)
    except ValueError:
        raise UserError(f"{otherwise} {material_id}") from None


def _sql_type(row: pa.DataType) -> str:
    kinds: Mapping[pa.DataType, str] = {pa.int64(): "BIGINT", pa.string(): "VARCHAR", pa.float64(): "DOUBLE"}
    return f"STRUCT({', '.join(f'{field.name} {kinds[field.type]}' for field in row)})[]"


def best_sentences(where: Path, ids: Sequence[str], vector: NDArray[Any]) -> dict[str, str]:
    """The sentence of each description whose vector is most like a vector; none where sentences have no vectors."""
    if not ids or not tables.exists(where, "descriptions"):
        return {}
    best: dict[str, int] = {}
    parts = tables.files(where, TABLE)
    part_of = placement.part_of(list(ids), len(parts))
    for part in sorted(set(part_of.tolist())):  # one at a time: all vectors of many sentences would fill the memory
        wanted = pa.array([name for name, own in zip(ids, part_of, strict=True) if own == part], pa.string())
        for row in tables.read_parts([parts[part]], ["material_id", "variant", "sentence_vectors"], wanted).to_pylist():
            if row["variant"] == 0 and row["sentence_vectors"]:
                matrix = np.array(row["sentence_vectors"], np.float32)
                best[row["material_id"]] = int(np.argmax(vectors.unit(matrix) @ vector.astype(np.float32)))
    texts = tables.read(where, "descriptions", ["material_id", "text", "sentences"], list(ids))
    return {row["material_id"]: row["text"][sentence["start"]:sentence["end"]] for row in texts.to_pylist()
            if best.get(row["material_id"], len(row["sentences"])) < len(row["sentences"])
            for sentence in [row["sentences"][best[row["material_id"]]]]}


def embed(root: Path, query: str) -> NDArray[np.float32]:
    """Vector of a query, by the encoder and settings of the table. Raises `UserError` without its weights."""
    from features import sentences, text_encoder
    from features.text_encoder import normalisation
    from features.views.text_embeddings import EmbedParams

    footer = tables.footer(tables.files(root, TABLE)[0])
    params = EmbedParams.model_validate(footer["params"]).at(footer.get("commit"))
    if "document" not in params.levels:
        raise UserError("find: text_embeddings holds no vectors of texts; put document into embed.levels")
    if not query.strip():
        raise UserError("find: the query is empty")
    if not weights.same_weights(params, footer["digest"]):
        raise UserError(f"find: the weights of {params.encoder} are not those that made text_embeddings; "
                        "run `dvc repro`")
    read = normalisation.matscibert(query)[0] if params.matscibert() else query
    quickly = light_encoder.vector(params.folder(), read, params.pooling)
    if quickly is not None:
        return quickly
    encoded = text_encoder.load(params).encode([query], [sentences.tag(query)])[0]  # torch takes seconds
    if not len(encoded.tokens):
        raise UserError("find: the encoder reads no word in the query")
    return encoded.pooled(params.pooling)
