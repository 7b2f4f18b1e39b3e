import pyarrow as pa
import pytest

from features import paraphrases, rewording, sentences
from features.paraphrases import ParaphraseParams

CA5SB3 = (
    "Ca5Sb3 crystallizes in the hexagonal P6_3/mcm space group. There are two inequivalent Ca sites. In the first Ca "
    "site, Ca(1) is bonded to six equivalent Sb(1) atoms to form a mixture of distorted corner, edge, and face-sharing "
    "CaSb6 octahedra. The corner-sharing octahedral tilt angles are 36°. All Ca(1)-Sb(1) bond lengths are 3.31 Å. In "
    "the second Ca site, Ca(2) is bonded in a 5-coordinate geometry to five equivalent Sb(1) atoms. There are a spread "
    "of Ca(2)-Sb(1) bond distances ranging from 3.11-3.71 Å. Sb(1) is bonded in a 9-coordinate geometry to four "
    "equivalent Ca(1) and five equivalent Ca(2) atoms.")
BI2O3 = (
    "Bi2O3 is Bismite-like structured and crystallizes in the monoclinic P2_1/c space group. Bi(1) is bonded in a "
    "6-coordinate geometry to two equivalent O(1), two equivalent O(2), and two equivalent O(3) atoms. There is one "
    "shorter (2.33 Å) and one longer (2.80 Å) Bi(1)-O(1) bond length. There is one shorter (2.18 Å) and one longer "
    "(2.42 Å) Bi(1)-O(2) bond length. Both Bi(1)-O(3) bond lengths are 2.27 Å. O(1) is bonded in a distorted trigonal "
    "non-coplanar geometry to two equivalent Bi(1) atoms. The O(1)-Bi(2) bond length is 2.17 Å.")
MOS2 = (
    "MoS2 is Molybdenite structured and crystallizes in the hexagonal P6_3/mmc space group. The structure is "
    "two-dimensional and consists of two MoS2 sheets oriented in the (0, 0, 1) direction. Mo(1) is bonded to six "
    "equivalent S(1) atoms to form distorted edge-sharing MoS6 pentagonal pyramids. All Mo(1)-S(1) bond lengths are "
    "2.41 Å. S(1) is bonded in a distorted T-shaped geometry to three equivalent Mo(1) atoms.")


def unit(text: str, material_id: str = "x") -> dict[str, object]:
    return {"material_id": material_id, "text": text, "sentences": sentences.to_rows(sentences.tag(text))}


@pytest.mark.parametrize("text", [CA5SB3, BI2O3, MOS2])
def test_words_change_and_facts_do_not(text: str) -> None:
    rows = paraphrases.compute.function(unit(text), ParaphraseParams(variants=4))
    assert [row["variant"] for row in rows] == [1, 2, 3, 4]
    assert len({row["text"] for row in rows} | {text}) == 5
    for row in rows:
        assert rewording.facts(row["text"]) == rewording.facts(text)
        assert row["n_reworded"] >= 4
        regions = sorted(tag.region for tag in sentences.tag(text))
        assert sorted(tag["region"] for tag in row["sentences"]) == regions
        joined = " ".join(row["text"][tag["start"]:tag["end"]] for tag in row["sentences"])
        assert joined == row["text"]


@pytest.mark.parametrize(("said", "wrong"), [
    ("All Ca(1)-Sb(1) bond lengths are 3.31 Å.", "All Ca(1)-Sb(1) bond lengths are 3.13 Å."),
    ("The space group is P6_3/mcm.", "The space group is P6_3/mmc."),
    ("bonded to six equivalent O(1) atoms", "bonded to sixteen equivalent O(1) atoms"),
    ("bonded to six equivalent O(1) atoms", "bonded to six equivalent O(2) atoms"),
    ("corner-sharing octahedra", "edge-sharing octahedra"),
    ("a distorted octahedral geometry", "an octahedral geometry"),
    ("octahedra are not tilted", "octahedra are tilted"),
    ("MgO is Halite structured", "MgO is Wurtzite structured"),
])
def test_a_changed_fact_is_seen(said: str, wrong: str) -> None:
    assert rewording.facts(said) != rewording.facts(wrong)


def test_a_wording_that_changes_a_fact_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, _ = rewording.RULES[1]
    monkeypatch.setattr(rewording, "RULES", ((pattern, ("{f} is cubic.",)),))
    sentence = "Ca5Sb3 crystallizes in the hexagonal P6_3/mcm space group."
    assert rewording.reword(sentence, "any") == sentence


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
        text = row["text"]
        assert text.index("inequivalent") < text.index("first Ca site") < text.index("second Ca site")


def test_a_text_no_rule_fits_is_a_reject() -> None:
    table = pa.table({name: [value] for name, value in unit("Nothing known here.").items()})
    batch = paraphrases.compute(table, ParaphraseParams())
    assert len(batch.rows) == 0
    assert batch.rejects[0].error == "no_paraphrase"
