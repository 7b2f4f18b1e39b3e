"""Feature view `paraphrases`: the same facts in other words, so that a model does not learn one engine's phrasing.

Whatever the method, a paraphrase is accepted only if `features.paraphraser.fact_parser` reads the same facts from it
as from the description. A wording that fails is tried again, a few times, and then dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from features import sentences
from features.errors import RowError
from features.params import LARGEST_SEED, LONGEST_S, RUNTIME, Section
from features.paraphraser import llm, rules, seq2seq
from features.paraphraser.fact_parser import facts, prototype_names
from features.paraphraser.llm import LlmParams
from features.paraphraser.rules import Part
from features.paraphraser.seq2seq import Seq2SeqParams
from features.rules import not_blank, one_of, present, relation, within
from features.text_encoder.weights import on_cpu
from features.view import FeatureView, column, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "number of the paraphrase, from 1; 0 is the description itself"),
    column("text", pa.string(), "reworded description"),
    column("sentences", sentences.SENTENCES_TYPE, "character ranges of the sentences, each with its region"),
    column("method", pa.string(), "rules, seq2seq or llm"),
    column("model", pa.string(), "the language model; null for rules"),
    column("seed", pa.int64(), "seed of the choice of words"),
    column("attempts", pa.int32(), "wordings that were made for this variant; all but the last failed"),
    column("dropped", pa.int32(), "variants of this text that were asked for and dropped, since no wording passed"),
    column("n_reworded", pa.int32(), "number of sentences that differ from the description's"),
    column("facts", pa.int32(), "number of facts stated, all of them the description's and no other"),
    column("lexical_distance", pa.float64(), "1 - BLEU-4 against the description: 0 for a copy, 1 for other words"),
])

LONGEST_PAUSE_S = 120.0
"""For how long openai's client waits at most before it asks again, even if the server wants more."""


class ParaphraseParams(Section):
    """Section `paraphrase`."""

    method: Literal["rules", "seq2seq", "llm"] = "rules"
    """`rules` rewords sentence by sentence; `seq2seq` and `llm` ask a model, whose answer is checked."""
    variants: int = Field(default=2, ge=1, le=20)
    """Paraphrases of each description."""
    attempts: int = Field(default=6, ge=1, le=50)
    """Wordings to try for each variant before it is dropped."""
    least_distance: float = Field(default=0.1, ge=0, lt=1)
    """A wording nearer to the description (1 - BLEU-4) is a copy and fails."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the choice of words."""
    timeout_s: float = Field(default=600.0, gt=0, le=LONGEST_S, json_schema_extra={**RUNTIME})
    """Longest time for one text, enforced by executors that have worker processes. With method llm, the time that its
    endpoint may take (`llm.timeout_s` and `llm.retries`, for each wording) comes on top."""
    seq2seq: Seq2SeqParams = Seq2SeqParams()
    """The model of method seq2seq."""
    llm: LlmParams = LlmParams()
    """The endpoint of method llm."""

    @model_validator(mode="after")
    def _named(self) -> ParaphraseParams:
        if self.method != "rules" and not getattr(self, self.method).model:
            raise ValueError(f"method {self.method} needs paraphrase.{self.method}.model")
        return self

    def deciding(self) -> dict[str, Any]:
        """The parameters of the method in use; those of the others decide nothing."""
        mine = super().deciding()
        for name in ("seq2seq", "llm"):
            del mine[name]
            if name == self.method:
                section: Section = getattr(self, name)
                mine[name] = section.deciding()
        return mine


    def resolved(self) -> ParaphraseParams:
        """With what the model of method seq2seq stands for in this run."""
        return self.model_copy(update={"seq2seq": self.seq2seq.resolved()}) if self.method == "seq2seq" else self

    def absent(self) -> str:
        """What a run would fetch, in words; empty if it is on this machine."""
        return self.seq2seq.absent() if self.method == "seq2seq" else ""


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: ParaphraseParams) -> list[dict[str, Any]]:
    """Up to `variants` different paraphrases of one description; none at all is a reject."""
    text = unit["text"]
    names = prototype_names(text)
    stated = facts(text, names)
    original: list[Part] = [(text[s.start:s.end], s.region) for s in sentences.from_rows(unit["sentences"])]
    salt = f"{params.seed}:{hashlib.sha256(text.encode()).hexdigest()}"
    taken = {text}
    rows: list[dict[str, Any]] = []
    tried = failed = 0
    while len(rows) < params.variants and failed < params.attempts:
        parts = _propose(original, f"{salt}:{tried}", params, names)
        tried, failed = tried + 1, failed + 1
        if parts is None:
            continue
        words, tagged = sentences.join(parts)
        distance = lexical_distance(text, words)
        if words in taken or distance < params.least_distance or facts(words, names) != stated:
            continue
        taken.add(words)
        rows.append({
            "material_id": unit["material_id"],
            "variant": len(rows) + 1,
            "text": words,
            "sentences": sentences.to_rows(tagged),
            "method": params.method,
            "model": None if params.method == "rules" else getattr(params, params.method).model,
            "seed": params.seed,
            "attempts": failed,
            "n_reworded": len({part[0] for part in parts} - {part[0] for part in original}),
            "facts": len(stated),
            "lexical_distance": distance,
        })
        failed = 0
    if not rows:
        raise RowError("no_paraphrase", f"none of {tried} wordings states other words with the same facts")
    return [{**row, "dropped": params.variants - len(rows)} for row in rows]


def _propose(original: Sequence[Part], salt: str, params: ParaphraseParams, names: Sequence[str]) -> list[Part] | None:
    if params.method == "rules":
        return rules.paraphrase(original, salt)

    def same(one: str, other: str) -> bool:
        return facts(one, names) == facts(other, names)

    if params.method == "llm":
        return llm.paraphrase(original, salt, params.llm, same)
    return seq2seq.paraphrase(original, salt, params.seq2seq, same, params.attempts)


def lexical_distance(text: str, other: str) -> float:
    """1 - BLEU-4 (Papineni et al., ACL 2002) of `other` against `text`, over words and marks."""
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    score = sentence_bleu([wordpunct_tokenize(text)], wordpunct_tokenize(other),
                          smoothing_function=SmoothingFunction().method1)
    return round(1 - float(score), 6)


def _digest(params: ParaphraseParams) -> str:
    if params.method == "llm":
        return llm.prompt_digest()
    return seq2seq.identity(params.seq2seq) if params.method == "seq2seq" else ""


def _timeout_s(params: ParaphraseParams) -> float:
    """So long that an endpoint which does not answer stops the run with its own words, before it costs a text."""
    if params.method != "llm":
        return params.timeout_s
    answer_s = (params.llm.retries + 1) * params.llm.timeout_s + params.llm.retries * LONGEST_PAUSE_S
    return params.timeout_s + params.variants * params.attempts * answer_s


VIEW = FeatureView(
    name="paraphrases",
    stage="paraphrase",
    key=("material_id", "variant"),
    inputs={"descriptions": ("material_id", "text", "sentences")},
    schema=SCHEMA,
    version=2,
    contract=(
        *present("material_id", "variant", "text", "sentences", "method", "seed", "attempts", "dropped", "n_reworded",
                 "facts", "lexical_distance"),
        within("variant", 1),
        not_blank("text"),
        sentences.COVER,
        one_of("method", ("rules", "seq2seq", "llm")),
        relation("model is missing exactly where method is rules", ("model", "method"),
                 lambda pl: pl.col("model").is_null() == (pl.col("method") == "rules")),
        within("seed", 0),
        within("attempts", 1),
        *(within(name, 0) for name in ("dropped", "n_reworded", "facts")),
        within("lexical_distance", 0, 1),
    ),
    params=ParaphraseParams,
    compute=compute,
    libraries=("nltk", "spglib"),
    digest=_digest,
    resolve=ParaphraseParams.resolved,
    notes=lambda params: params.seq2seq.notes() if params.method == "seq2seq" else {},
    absent=ParaphraseParams.absent,
    batch_size=1,  # an answer of a language model is kept as soon as it has come
    timeout_s=_timeout_s,
    parallel=lambda params: params.method != "seq2seq" or on_cpu(params.seq2seq.device),
    preload=("features.paraphraser.fact_parser", "nltk.translate.bleu_score", "nltk.tokenize"),
)
