"""Feature view `paraphrases`: the same facts in other words, so that a model does not learn one engine's phrasing."""

from __future__ import annotations

import re
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from features import rewording, sentences
from features.errors import RowError
from features.params import Section
from features.view import FeatureView, column, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "number of the paraphrase, from 1; 0 is the description itself"),
    column("text", pa.string(), "reworded description"),
    column("sentences", sentences.SENTENCES_TYPE, "character ranges of the sentences, each with its region"),
    column("method", pa.string(), "how the words were found"),
    column("n_reworded", pa.int32(), "number of sentences that differ from the description's"),
    column("facts", pa.int32(), "number of facts stated, all of them the description's"),
])

ATTEMPTS = 8  # a short text has few wordings; after so many equal ones there is no further variant


class ParaphraseParams(Section):
    """Section `paraphrase`."""

    method: Literal["rules"] = "rules"
    """`rules` rewords sentence by sentence and reorders what has no order."""
    variants: int = Field(default=2, ge=1, le=20)
    """Paraphrases of each description."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives other words."""


Part = tuple[str, str]  # words of a sentence, its region


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: ParaphraseParams) -> list[dict[str, Any]]:
    """Up to `variants` different paraphrases of one description; none at all is a reject."""
    text = unit["text"]
    original: list[Part] = [(text[s.start:s.end], s.region) for s in sentences.from_rows(unit["sentences"])]
    stated = rewording.facts(text)
    taken = {text}
    rows: list[dict[str, Any]] = []
    for attempt in range(params.variants * ATTEMPTS):
        salt = f"{params.seed}:{unit['material_id']}:{attempt}"
        parts = paraphrase(original, salt)
        words, tagged = sentences.join(parts)
        if words in taken or rewording.facts(words) != stated:
            continue
        taken.add(words)
        rows.append({
            "material_id": unit["material_id"],
            "variant": len(rows) + 1,
            "text": words,
            "sentences": sentences.to_rows(tagged),
            "method": params.method,
            "n_reworded": len({part[0] for part in parts} - {part[0] for part in original}),
            "facts": stated.total(),
        })
        if len(rows) == params.variants:
            break
    if not rows:
        raise RowError("no_paraphrase", "no rule fits a sentence of this text")
    return rows


def paraphrase(original: list[Part], salt: str) -> list[Part]:
    """Reorder what has no order, then say each sentence in other words. Regions stay with their sentences."""
    ordered = reorder(original, salt)
    return [(rewording.reword(words, f"{salt}:{index}"), region) for index, (words, region) in enumerate(ordered)]


_NUMBERED = re.compile(r"In (?:the|each|\w+ of the) ")
_LENGTHS = re.compile(r"\bbond (?:lengths?|distances)\b")
_SITE_START = re.compile(r"There are [\w-]+ inequivalent|In the |[A-Z][a-z]?(?:\(\S+\))? is bonded")
_COMPONENT = re.compile(r"In (?:the|each|[\w-]+ of the) \S+ (?:sheet|ribbon|cluster|framework|molecule|atom)s?, ")


def reorder(parts: list[Part], salt: str) -> list[Part]:
    """Put the sites of a crystal, and the bond lengths of a site, into another order.

    The heading stays first. Where a site is spoken of by its number ("In the second Ti site"), or a sentence opens a
    component ("In each MoS2 sheet"), order carries meaning and is kept.
    """
    first = next((i for i, part in enumerate(parts) if _SITE_START.match(part[0])), len(parts))
    heading, body = parts[:first], parts[first:]
    if any(_COMPONENT.match(words) for words, _ in body):
        return heading + _shuffle_lengths(body, salt)
    blocks: list[list[Part]] = []
    for part in body:
        opens = _SITE_START.match(part[0]) and not _NUMBERED.match(part[0])
        if opens or not blocks:
            blocks.append([part])
        else:
            blocks[-1].append(part)
    # "There are two inequivalent Ti sites" holds the numbered sites that follow it in one block, and a plain site
    # opens the next one; so whole blocks can change places.
    mixed = rewording.shuffled(blocks, f"{salt}:blocks")
    return heading + [part for block in mixed for part in _shuffle_lengths(block, salt)]


def _shuffle_lengths(parts: list[Part], salt: str) -> list[Part]:
    """Shuffle each run of neighbouring sentences about bond lengths."""
    result: list[Part] = []
    run: list[Part] = []
    for part in [*parts, ("", "")]:
        if part[0] and _LENGTHS.search(part[0]):
            run.append(part)
            continue
        result += rewording.shuffled(run, f"{salt}:{len(result)}")
        run = []
        if part[0]:
            result.append(part)
    return result


VIEW = FeatureView(
    name="paraphrases",
    stage="paraphrase",
    key=("material_id", "variant"),
    inputs={"descriptions": ("material_id", "text", "sentences")},
    schema=SCHEMA,
    version=1,
    params=ParaphraseParams,
    compute=compute,
    batch_size=256,
    parallel=lambda _params: False,
)
