"""Tokens of real descriptions and of their paraphrases."""

from pathlib import Path

from features.store import tables
from features.words.vocabulary import ATOMIC_NUMBERS, KINDS, SIZE, id_of_term
from pipelines.engine import stages
from tests.conftest import make_project


def test_tokens_of_real_texts(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-149", "mp-22862"], paraphrase={"variants": 2})
    for stage in ("ingest", "describe", "paraphrase"):
        stages.run(stage, root, "serial")
    assert stages.run("tokenize", root, "serial").computed == 6
    rows = {(row["material_id"], row["variant"]): row for row in tables.read(root, "text_tokens").to_pylist()}
    assert len(rows) == 6
    for (crystal, variant), row in rows.items():
        assert len({len(row[f"token_{name}"]) for name in ("ids", "values", "kinds", "sentences")}) == 1
        assert 0 < min(row["token_ids"]) <= max(row["token_ids"]) < SIZE
        assert set(row["token_kinds"]) <= set(KINDS)
        assert row["token_sentences"] == sorted(row["token_sentences"])
        assert row["token_sentences"][-1] < len(row["regions"])
        assert lengths(row) == lengths(rows[crystal, 0]), variant
    salt = rows["mp-22862", 0]
    formula = {i: v for i, v, kind in zip(salt["token_ids"], salt["token_values"], salt["token_kinds"], strict=True)
               if kind == "element"}
    assert formula == {ATOMIC_NUMBERS["Na"]: 0.5, ATOMIC_NUMBERS["Cl"]: 0.5}
    assert stages.run("tokenize", root, "serial").computed == 0


def lengths(row: dict[str, list[float]]) -> list[float]:
    """The bond lengths of a text."""
    return sorted(value for number, value in zip(row["token_ids"], row["token_values"], strict=True)
                  if number == id_of_term("length"))
