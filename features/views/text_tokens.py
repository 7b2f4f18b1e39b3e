"""Feature view `text_tokens`: what descriptions and paraphrases say, as tokens of a fixed vocabulary with numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from features import sentences
from features.errors import RowError
from features.params import LONGEST_S, RUNTIME, Section
from features.rules import arrays, as_many, each_of, finite, largest, lengths, present, within
from features.view import FeatureView, column, rowwise
from features.words.tokenizer import columns, tokenize
from features.words.vocabulary import KINDS

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "0 is the description, from 1 the paraphrases"),
    column("token_ids", pa.list_(pa.int32()), "id of each token: up to 118 an atomic number, then the terms, parts of "
           "space group symbols and buckets of features/words/vocabulary.py"),
    column("token_values", pa.list_(pa.float32()), "the number that belongs to each token: Å, degrees, elementary "
           "charges, how many, or in a compound's formula a share; null where there is none"),
    column("token_kinds", pa.list_(pa.string()), "role of each token, such as element, neighbour, length or word"),
    column("token_sentences", pa.list_(pa.int32()), "index of the sentence each token stands in; not falling"),
    column("regions", pa.list_(pa.string()), "region of each sentence: global, semiglobal or local"),
])


class TokenizeParams(Section):
    """Section `tokenize`: the vocabulary has no choices."""

    timeout_s: float = Field(default=60.0, gt=0, le=LONGEST_S, json_schema_extra={**RUNTIME})
    """Longest time for one text; enforced by executors that have worker processes."""


def units(tables: Mapping[str, pa.Table]) -> pa.Table:
    """All texts, descriptions as variant 0, each with the prototype that the crystal's description names."""
    first, others = tables["descriptions"], tables["paraphrases"]
    texts = first.drop_columns(["mineral"]).add_column(1, "variant", pa.array([0] * len(first), pa.int32()))
    both = pa.concat_tables([texts, others.select(texts.column_names)])
    place = pc.index_in(both["material_id"], value_set=first["material_id"].combine_chunks())
    return both.append_column("mineral", first["mineral"].combine_chunks().take(place.combine_chunks()))


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], _: TokenizeParams) -> dict[str, Any]:
    """Tokens of one text. Raises `RowError` for a text that says nothing."""
    tagged = sentences.from_rows(unit["sentences"])
    tokens = tokenize(unit["text"], tagged, unit["mineral"])
    if not tokens:
        raise RowError("no_tokens", "the text holds no element, term, number or other word that says anything")
    return {"material_id": unit["material_id"], "variant": unit["variant"], **columns(tokens, tagged)}


VIEW = FeatureView(
    name="text_tokens",
    stage="tokenize",
    key=("material_id", "variant"),
    inputs={
        "descriptions": ("material_id", "text", "sentences", "mineral"),
        "paraphrases": ("material_id", "variant", "text", "sentences"),
    },
    schema=SCHEMA,
    version=1,
    contract=(
        *present("material_id", "variant", "token_ids", "token_values", "token_kinds", "token_sentences", "regions"),
        within("variant", 0),
        as_many(("token_ids", "token_values", "token_kinds", "token_sentences"), least=1),
        *finite("token_values"),
        each_of("token_kinds", KINDS),
        each_of("regions", sentences.REGIONS),
        arrays("each token stands in one of the sentences that regions counts", ("token_sentences", "regions"),
               lambda rows: largest(rows["token_sentences"]) >= lengths(rows["regions"])),
        arrays("token_ids are not negative", ("token_ids",),
               lambda rows: largest(rows["token_ids"], np.minimum, 0) < 0),
    ),
    params=TokenizeParams,
    compute=compute,
    timeout_s=lambda params: params.timeout_s,
    units=units,
    libraries=("spglib",),
    batch_size=256,
)
