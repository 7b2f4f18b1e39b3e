"""Feature view `text_embeddings`: vectors of descriptions and paraphrases from a frozen text encoder, no truncation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from features import sentences, text_encoder
from features.errors import RowError, UserError
from features.params import LONGEST_S, RUNTIME
from features.rules import as_many, each_of, finite, matching, no_gaps, not_zero, one_of, present, same_length, within
from features.text_encoder.weights import EncoderParams, identity, on_cpu, weights_digest
from features.view import Batch, FeatureView, Reject, column, rows_to_table

VECTOR = pa.list_(pa.float16())
SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "0 is the description, from 1 the paraphrases"),
    column("pooled", VECTOR, "vector of the text (embed.pooling); null unless embed.levels has document"),
    column("sentence_vectors", pa.list_(VECTOR), "mean over each sentence's tokens; null unless embed.levels has "
           "sentence"),
    column("regions", pa.list_(pa.string()), "region of each sentence: global, semiglobal or local"),
    column("token_vectors", pa.list_(VECTOR), "vector of each token; null unless embed.levels has token"),
    column("token_spans", pa.list_(pa.list_(pa.int32())), "character range of each token, half-open"),
    column("n_tokens", pa.int32(), "tokens of the text, all of them encoded"),
    column("n_windows", pa.int32(), "windows the text was cut into, at sentence ends"),
    column("encoder", pa.string(), "the encoder's name, hub id or folder"),
    column("weights_digest", pa.string(), "sha256 of its weights and tokenizer"),
    column("precision", pa.string(), "arithmetic of the encoder: float32 or bfloat16"),
])
"""Vectors are stored in half precision: each number keeps eleven binary digits, an error of at most 1/2048 of it."""

Level = Literal["document", "sentence", "token"]


class EmbedParams(EncoderParams):
    """Section `embed`."""

    pooling: Literal["mean", "cls"] = "mean"
    """Vector of a text: mean over its tokens, or over the first special tokens ([CLS]) of its windows."""
    levels: tuple[Level, ...] = Field(default=("document", "sentence"), min_length=1, strict=False)
    """Which vectors are stored. Training needs `sentence`, `similar` and `find` need `document`."""
    timeout_s: float = Field(default=300.0, gt=0, le=LONGEST_S, json_schema_extra={**RUNTIME})
    """Longest time for one text, on a GPU for one batch; enforced by executors that have worker processes."""

    @field_validator("levels")
    @classmethod
    def _in_one_order(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        return tuple(sorted(set(levels)))


def units(tables: Mapping[str, pa.Table]) -> pa.Table:
    """All texts: descriptions as variant 0, then the paraphrases."""
    first = tables["descriptions"]
    zeros = pa.Array.from_buffers(pa.int32(), len(first), [None, pa.py_buffer(bytes(4 * len(first)))])
    first = first.add_column(1, "variant", zeros)  # of zeros of Python's, Arrow would first import pandas
    return pa.concat_tables([first, tables["paraphrases"].select(first.column_names)])


def compute(batch: pa.Table, params: EmbedParams) -> Batch:
    """Encode texts. Each text's vectors depend on that text alone."""
    texts = batch.to_pylist()
    owners = [index for index, text in enumerate(texts) if text["text"].strip()]
    rejects = {index: Reject(text["material_id"], "empty", "the text is empty")
               for index, text in enumerate(texts) if not text["text"].strip()}
    spoken = [texts[index] for index in owners]
    encoder = text_encoder.load(params)
    if params.pooling == "cls" and not encoder.before:
        raise UserError(f"embed.pooling: {params.encoder} puts no special token in front of a text; use mean")
    common = {"encoder": params.encoder, "precision": encoder.precision,
              "weights_digest": weights_digest(encoder.folder)}
    tagged = [sentences.from_rows(text["sentences"]) for text in spoken]
    encoded = encoder.encode([text["text"] for text in spoken], tagged)
    rows = []
    encoded_owners = []
    for owner, text, tags, vectors in zip(owners, spoken, tagged, encoded, strict=True):
        if len(vectors.tokens):
            rows.append({**_row(text, tags, vectors, params), **common})
            encoded_owners.append(owner)
        else:
            rejects[owner] = Reject(text["material_id"], "no_tokens", "the tokenizer knows no word of the text")
    return Batch(rows_to_table(rows, SCHEMA), encoded_owners, rejects)


def _row(text: dict[str, Any], tags: list[sentences.Sentence], vectors: text_encoder.EncodedText,
         params: EmbedParams) -> dict[str, Any]:
    with_tokens = "token" in params.levels
    return {
        "material_id": text["material_id"],
        "variant": text["variant"],
        "pooled": half(vectors.pooled(params.pooling)) if "document" in params.levels else None,
        "sentence_vectors": list(half(vectors.by_sentence(len(tags)))) if "sentence" in params.levels else None,
        "regions": [tag.region for tag in tags],
        "token_vectors": list(half(vectors.tokens)) if with_tokens else None,
        "token_spans": vectors.offsets.tolist() if with_tokens else None,
        "n_tokens": len(vectors.tokens),
        "n_windows": vectors.windows,
    }


def half(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Vectors as the table holds them. Raises `RowError` for what half precision cannot express."""
    with np.errstate(over="ignore"):
        stored = vectors.astype(np.float16)
    if not np.isfinite(stored).all():
        raise RowError("overflow", "the encoder's numbers do not fit into half precision")
    return stored


VIEW = FeatureView(
    name="text_embeddings",
    stage="embed",
    key=("material_id", "variant"),
    inputs={
        "descriptions": ("material_id", "text", "sentences"),
        "paraphrases": ("material_id", "variant", "text", "sentences"),
    },
    schema=SCHEMA,
    version=2,
    contract=(
        *present("material_id", "variant", "regions", "n_tokens", "n_windows", "encoder", "weights_digest",
                 "precision"),
        within("variant", 0),
        *no_gaps("pooled", "sentence_vectors", "regions", "token_vectors", "token_spans"),
        *finite("pooled", "sentence_vectors", "token_vectors"),
        not_zero("pooled"),  # a sentence without tokens has zeros
        same_length("pooled"),
        same_length("sentence_vectors", inner=True),
        same_length("token_vectors", inner=True),
        as_many(("sentence_vectors", "regions"), least=1),
        as_many(("token_vectors", "token_spans")),
        each_of("regions", sentences.REGIONS),
        within("n_tokens", 1),
        within("n_windows", 1),
        matching("weights_digest", "[0-9a-f]{64}", "a sha256 in hexadecimal digits"),
        one_of("precision", ("float32", "bfloat16")),
    ),
    params=EmbedParams,
    compute=compute,
    units=units,
    libraries=("torch", "transformers", "tokenizers"),
    baselined=("numpy",),
    digest=identity,
    resolve=EmbedParams.resolved,
    notes=EmbedParams.notes,
    absent=EmbedParams.absent,
    batch_size=32,
    timeout_s=lambda params: params.timeout_s,
    parallel=lambda params: on_cpu(params.device),
    gpu=lambda params: params.device.startswith("cuda"),
    preload=("torch", "transformers.models.auto", "features.text_encoder.encoder"),
)
