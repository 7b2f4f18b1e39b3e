from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import sentences
from features.errors import RowError, UserError
from features.params import parse_section
from features.paraphraser import rules
from features.paraphraser.fact_parser import facts, prototype_names
from features.views import paraphrases
from features.views.paraphrases import ParaphraseParams, lexical_distance
from tests.features.texts import ALL, BI2O3, CA5SB3, MOS2


def unit(text: str, material_id: str = "x") -> dict[str, object]:
    return {"material_id": material_id, "text": text, "sentences": sentences.to_rows(sentences.tag(text))}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.sampled_from(sorted(ALL)), st.integers(0, 10**6))
def test_rules_change_words_and_no_facts(name: str, seed: int) -> None:
    text = ALL[name]
    names = prototype_names(text)
    parts = [(text[s.start:s.end], s.region) for s in sentences.tag(text)]
    words, _ = sentences.join(rules.paraphrase(parts, str(seed)))
    assert words != text
    assert facts(words, names) == facts(text, names)


@pytest.mark.parametrize("name", ALL)
def test_rows_of_a_paraphrase(name: str) -> None:
    text = ALL[name]
    rows = paraphrases.compute.function(unit(text), ParaphraseParams(variants=4))
    assert [row["variant"] for row in rows] == [1, 2, 3, 4]
    assert len({row["text"] for row in rows} | {text}) == 5
    known = {tag.region for tag in sentences.tag(text)}
    for row in rows:
        assert row["n_reworded"] >= 3
        assert row["facts"] == len(facts(text, prototype_names(text)))
        assert row["lexical_distance"] == lexical_distance(text, row["text"]) > 0.15
        assert {tag["region"] for tag in row["sentences"]} == known
        joined = " ".join(row["text"][tag["start"]:tag["end"]] for tag in row["sentences"])
        assert joined == row["text"]


def test_lexical_distance() -> None:
    assert lexical_distance(CA5SB3, CA5SB3) == 0
    assert lexical_distance(CA5SB3, MOS2) > 0.7


def test_deterministic_and_independent_of_the_batch() -> None:
    names = ["material_id", "text", "sentences"]
    units = [unit(CA5SB3, "a"), unit(BI2O3, "b"), unit(MOS2, "c")]
    table = pa.table({name: [u[name] for u in units] for name in names})
    whole = paraphrases.compute(table, ParaphraseParams()).rows
    alone = [paraphrases.compute(table.slice(row, 1), ParaphraseParams()).rows for row in (2, 0, 1)]
    assert whole.sort_by("text").equals(pa.concat_tables(alone).sort_by("text"))
    assert not whole.equals(paraphrases.compute(table, ParaphraseParams(seed=1)).rows)


def test_numbered_sites_keep_their_order() -> None:
    for row in paraphrases.compute.function(unit(CA5SB3), ParaphraseParams(variants=8)):
        text = row["text"].lower()
        assert text.index("inequivalent") < text.index("first ca site") < text.index("second ca site")


def test_a_wording_that_changes_a_fact_is_worded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wording of each variant loses a bond length; none of these is kept, and the tries are counted."""
    calls = []
    honest = rules.paraphrase

    def careless(original: Any, salt: str) -> Any:
        calls.append(salt)
        parts = honest(original, salt)
        return [part for part in parts if "3.31" not in part[0]] if len(calls) % 2 else parts

    monkeypatch.setattr(rules, "paraphrase", careless)
    rows = paraphrases.compute.function(unit(CA5SB3), ParaphraseParams(variants=2))
    assert [row["attempts"] for row in rows] == [2, 2]
    assert [row["dropped"] for row in rows] == [0, 0]
    assert all("3.31" in row["text"] for row in rows)


def test_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wording is all there is: the other two variants are dropped, and the row says so."""
    parts = rules.paraphrase([(CA5SB3[s.start:s.end], s.region) for s in sentences.tag(CA5SB3)], "1")
    monkeypatch.setattr(rules, "paraphrase", lambda *_: parts)
    (row,) = paraphrases.compute.function(unit(CA5SB3), ParaphraseParams(variants=3))
    assert row["dropped"] == 2


def test_a_copy_is_no_paraphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "paraphrase", lambda original, _: [(words + " ", region) for words, region in original])
    with pytest.raises(RowError, match="none of 6 wordings"):
        paraphrases.compute.function(unit(CA5SB3), ParaphraseParams())


def test_a_text_no_rule_fits_is_a_reject() -> None:
    table = pa.table({name: [value] for name, value in unit("Nothing known here.").items()})
    batch = paraphrases.compute(table, ParaphraseParams())
    assert len(batch.rows) == 0
    assert batch.rejects[0].error == "no_paraphrase"


def test_parameters_of_other_methods_decide_nothing() -> None:
    plain = ParaphraseParams()
    other = ParaphraseParams.model_validate({"llm": {"model": "some"}, "seq2seq": {"model": "other"}})
    assert plain.deciding() == other.deciding()
    asked = ParaphraseParams.model_validate({"method": "llm", "llm": {"model": "some", "api_key_env": "KEY"}})
    assert asked.deciding()["llm"] == {"model": "some", "temperature": 0.8}


def test_the_time_out_leaves_an_endpoint_its_own() -> None:
    """Its client gives up first, and stops the run; a time-out would reject text after text."""
    from openai._constants import MAX_RETRY_AFTER_DELAY

    assert paraphrases.VIEW.timeout_s(ParaphraseParams(timeout_s=7.0)) == 7.0
    asked = ParaphraseParams.model_validate({
        "method": "llm", "variants": 2, "attempts": 3, "timeout_s": 7.0,
        "llm": {"model": "some", "timeout_s": 10.0, "retries": 4}})
    one_answer = 5 * 10.0 + 4 * MAX_RETRY_AFTER_DELAY
    assert paraphrases.VIEW.timeout_s(asked) == 7.0 + 2 * 3 * one_answer


@pytest.mark.parametrize("method", ["seq2seq", "llm"])
def test_a_model_must_be_named(method: str) -> None:
    with pytest.raises(UserError, match=f"needs paraphrase.{method}.model"):
        parse_section({"method": method}, "paraphrase", ParaphraseParams)
