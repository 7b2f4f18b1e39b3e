import pytest

from features import sentences

TEXT = ("MoS2 is Molybdenite structured and crystallizes in the hexagonal P6_3/mmc space group. The structure is "
        "two-dimensional and consists of two MoS2 sheets oriented in the (0, 0, 1) direction. Mo(1) is bonded to six "
        "equivalent S(1) atoms to form distorted edge-sharing MoS6 pentagonal pyramids. All Mo(1)-S(1) bond lengths "
        "are 2.41 Å. S(1) is bonded in a distorted T-shaped geometry to three equivalent Mo(1) atoms.")


def test_sentences_cover_the_text() -> None:
    ranges = sentences.split_sentences(TEXT)
    assert [TEXT[start:end] for start, end in ranges][3] == "All Mo(1)-S(1) bond lengths are 2.41 Å."
    assert " ".join(TEXT[start:end] for start, end in ranges) == TEXT


def test_regions() -> None:
    assert [tag.region for tag in sentences.tag(TEXT)] == ["global", "global", "semiglobal", "local", "local"]


@pytest.mark.parametrize("text", ["", "   "])
def test_empty_text_has_no_sentence(text: str) -> None:
    assert sentences.tag(text) == []


def test_join_is_the_inverse_of_tag() -> None:
    tagged = sentences.tag(TEXT)
    text, again = sentences.join([(TEXT[s.start:s.end], s.region) for s in tagged])
    assert (text, again) == (TEXT, tagged)
    assert sentences.from_rows(sentences.to_rows(tagged)) == tagged
