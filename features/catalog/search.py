"""SQL functions over vectors of descriptions: `similar('mp-149', 10)`, `find('edge-sharing TiO6 octahedra', 10)`.

Both are table functions with the columns `material_id` and `similarity` (cosine), the most similar first.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from features.errors import UserError
from features.store import tables
from features.text_encoder import weights

TABLE = "text_embeddings"

# `similar` is a word of SQL (SIMILAR TO): quoted where it is made, not where it is used
SIMILAR = """
    CREATE MACRO "similar"(id, n) AS TABLE
    SELECT material_id, list_cosine_similarity(pooled, (
        SELECT CASE WHEN count(*) = 0 THEN error('text_embeddings has no vector of the description of ' || id)
                    ELSE first(pooled) END
        FROM text_embeddings WHERE material_id = id AND variant = 0 AND pooled IS NOT NULL)) AS similarity
    FROM text_embeddings WHERE variant = 0 AND material_id <> id AND pooled IS NOT NULL
    ORDER BY similarity DESC, material_id LIMIT coalesce(n, 10)"""
FIND = """
    CREATE MACRO find(query, n) AS TABLE
    SELECT material_id, list_cosine_similarity(pooled, (SELECT embed_query(query))) AS similarity
    FROM text_embeddings WHERE variant = 0 AND pooled IS NOT NULL AND query IS NOT NULL
    ORDER BY similarity DESC, material_id LIMIT coalesce(n, 10)"""


def add_similar(connection: duckdb.DuckDBPyConnection) -> None:
    """Define `similar`, in a connection that has the view `text_embeddings`."""
    connection.execute(SIMILAR)


class Finder:
    """Defines `find`, which embeds its query with the encoder that made the table."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failure: UserError | None = None
        """Why a query could not be embedded; DuckDB would hide it in words of its own."""

    def add(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define `find`, in a connection that has the view `text_embeddings`."""
        connection.create_function("embed_query", self._embed, ["VARCHAR"], "FLOAT[]")
        connection.execute(FIND)

    def _embed(self, query: str) -> list[float]:
        try:
            return embed(self.root, query)
        except UserError as error:
            self.failure = error
            raise


def embed(root: Path, query: str) -> list[float]:
    """Vector of a query, by the encoder and settings of the table. Raises `UserError` without its weights."""
    from features import (
        sentences,
        text_encoder,  # torch takes seconds; most queries do without
    )
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
    encoded = text_encoder.load(params).encode([query], [sentences.tag(query)])[0]
    vector: list[float] = encoded.pooled(params.pooling).tolist()
    return vector
