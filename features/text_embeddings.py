"""Feature view `text_embeddings`: vectors of descriptions and paraphrases from a frozen text encoder, no truncation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from features import sentences, text_encoder
from features.params import Section
from features.view import Batch, FeatureView, Reject, column, rows_to_table

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "0 is the description, from 1 the paraphrases"),
    column("pooled", pa.list_(pa.float32()), "mean over all tokens of the text"),
    column("sentence_vectors", pa.list_(pa.list_(pa.float32())), "mean over the tokens of each sentence"),
    column("regions", pa.list_(pa.string()), "region of each sentence: global, semiglobal or local"),
    column("n_tokens", pa.int32(), "tokens of the text, all of them encoded"),
    column("n_windows", pa.int32(), "windows the text was cut into, at sentence ends"),
    column("encoder", pa.string(), "the encoder's name, hub id or folder"),
    column("weights_digest", pa.string(), "sha256 of its weights and tokenizer"),
])


class EmbedParams(Section):
    """Section `embed`."""

    encoder: str = text_encoder.EMBEDDED
    """`minilm` (embedded), a hub id such as `m3rg-iitd/matscibert`, or a folder with a BERT-like model."""
    revision: str | None = None
    """Revision of a hub id."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"runtime": True})
    """Where the encoder runs: auto, cpu or cuda."""


def units(tables: Mapping[str, pa.Table]) -> pa.Table:
    """All texts: descriptions as variant 0, then the paraphrases."""
    first = tables["descriptions"]
    first = first.add_column(1, "variant", pa.array([0] * len(first), pa.int32()))
    return pa.concat_tables([first, tables["paraphrases"].select(first.column_names)])


def compute(batch: pa.Table, params: EmbedParams) -> Batch:
    """Encode texts. Each text's vectors depend on that text alone."""
    texts = batch.to_pylist()
    owners = [index for index, text in enumerate(texts) if text["text"].strip()]
    rejects = {index: Reject(text["material_id"], "empty", "the text is empty")
               for index, text in enumerate(texts) if not text["text"].strip()}
    spoken = [texts[index] for index in owners]
    encoder = text_encoder.load(params.encoder, params.revision, params.device)
    digest = text_encoder.weights_digest(text_encoder.locate(params.encoder, params.revision))
    tagged = [sentences.from_rows(text["sentences"]) for text in spoken]
    encoded = encoder.encode([text["text"] for text in spoken], tagged)
    rows: list[dict[str, Any]] = [
        {
            "material_id": text["material_id"],
            "variant": text["variant"],
            "pooled": vectors.pooled,
            "sentence_vectors": list(vectors.by_sentence(len(tags))),
            "regions": [tag.region for tag in tags],
            "n_tokens": len(vectors.tokens),
            "n_windows": vectors.windows,
            "encoder": params.encoder,
            "weights_digest": digest,
        }
        for text, tags, vectors in zip(spoken, tagged, encoded, strict=True)
    ]
    return Batch(rows_to_table(rows, SCHEMA), owners, rejects)


VIEW = FeatureView(
    name="text_embeddings",
    stage="embed",
    key=("material_id", "variant"),
    inputs={
        "descriptions": ("material_id", "text", "sentences"),
        "paraphrases": ("material_id", "variant", "text", "sentences"),
    },
    schema=SCHEMA,
    version=1,
    params=EmbedParams,
    compute=compute,
    units=units,
    libraries=("torch", "transformers", "tokenizers"),
    digest=lambda params: text_encoder.weights_digest(text_encoder.locate(params.encoder, params.revision)),
    batch_size=256,
    parallel=False,
)
