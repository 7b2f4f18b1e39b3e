"""A text-to-text model from a folder: a small T5 that the test trains to say one sentence in other words."""

from pathlib import Path
from typing import Any

import pytest

from features import sentences
from features.errors import RowError, UserError
from features.paraphraser import seq2seq
from features.views import paraphrases
from features.views.paraphrases import ParaphraseParams
from tests.features.texts import MOS2

TAUGHT = {"All Mo(1)-S(1) bond lengths are 2.41 Å.": "The Mo(1)-S(1) bonds measure 2.41 Å."}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words are the tokens; thirty steps on one pair teach it that pair, and nonsense for everything else."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = sorted({word for pair in TAUGHT.items() for text in pair for word in text.split()} | {"paraphrase:"})
    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(0)
    net = T5ForConditionalGeneration(T5Config(
        vocab_size=len(vocabulary), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        for said, other in TAUGHT.items():
            inputs = tokenizer(f"paraphrase: {said}", return_tensors="pt")
            labels = tokenizer(other, return_tensors="pt")["input_ids"]
            loss = net(input_ids=inputs["input_ids"], labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    folder = tmp_path_factory.mktemp("t5")
    tokenizer.save_pretrained(folder)
    net.save_pretrained(folder)
    return folder


def params(model: Path | str, **changes: Any) -> ParaphraseParams:
    return ParaphraseParams.model_validate({
        "method": "seq2seq", "variants": 1, "attempts": 3, "least_distance": 0.0,
        "seq2seq": {"model": str(model), "temperature": 0.1, "device": "cpu", **changes}})


def unit(text: str) -> dict[str, Any]:
    return {"material_id": "mp-1", "text": text, "sentences": sentences.to_rows(sentences.tag(text))}


def test_what_the_model_says_faithfully_is_kept_and_the_rest_stays(model: Path) -> None:
    (row,) = paraphrases.compute.function(unit(MOS2), params(model))
    said, other = next(iter(TAUGHT.items()))
    assert row["text"] == MOS2.replace(said, other)
    assert (row["method"], row["n_reworded"]) == ("seq2seq", 1)
    assert [tag["region"] for tag in row["sentences"]] == [tag.region for tag in sentences.tag(MOS2)]


def test_the_same_seed_draws_the_same_words(model: Path) -> None:
    seq2seq._load.cache_clear()
    settings = params(model, temperature=1.5)
    drawn = [seq2seq._load(settings.seq2seq).say(next(iter(TAUGHT)), salt) for salt in ("a", "a", "b", "c", "d")]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_nonsense_is_dropped(model: Path) -> None:
    with pytest.raises(RowError, match="none of 3 wordings"):
        paraphrases.compute.function(unit("MoS2 crystallizes in the hexagonal P6_3/mmc space group."), params(model))


def test_other_weights_are_another_fingerprint(model: Path) -> None:
    header = paraphrases.VIEW.header(params(model))
    assert header["digest"].split()[1] == "cpu"
    assert len(header["digest"].split()[0]) == 64
    assert paraphrases.VIEW.header(ParaphraseParams())["digest"] == ""


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UserError, match="weights of google/flan-t5-small are not on this machine"):
        paraphrases.VIEW.header(params("google/flan-t5-small"))
