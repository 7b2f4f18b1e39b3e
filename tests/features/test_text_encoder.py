from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features import sentences, text_embeddings, text_encoder
from features.errors import UserError
from features.text_embeddings import EmbedParams
from tests.features.test_paraphrases import BI2O3, CA5SB3, MOS2


@pytest.fixture(scope="module")
def encoder() -> text_encoder.TextEncoder:
    return text_encoder.load("minilm", None, "cpu")


def long_text(sentences_count: int) -> str:
    return " ".join(f"Na({k}) is bonded in a 5-coordinate geometry to five equivalent Sb({k}) atoms."
                    for k in range(sentences_count))


def encode(encoder: text_encoder.TextEncoder, texts: list[str]) -> list[text_encoder.EncodedText]:
    return encoder.encode(texts, [sentences.tag(text) for text in texts])


def test_windows_end_at_sentence_ends() -> None:
    owner = np.repeat(np.arange(5), [4, 4, 4, 4, 4]).astype(np.int32)
    assert text_encoder.cut_windows(owner, 10) == [(0, 8), (8, 16), (16, 20)]


def test_a_sentence_longer_than_a_window_is_cut_at_tokens() -> None:
    owner = np.repeat(np.arange(3), [3, 25, 2]).astype(np.int32)
    assert text_encoder.cut_windows(owner, 10) == [(0, 3), (3, 13), (13, 23), (23, 30)]


@pytest.mark.parametrize("sizes", [[1], [10], [11], [3, 3, 3, 3], [30, 1, 30], [9, 1, 1, 9]])
def test_windows_cover_every_token_once(sizes: list[int]) -> None:
    owner = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    windows = text_encoder.cut_windows(owner, 10)
    assert [index for start, end in windows for index in range(start, end)] == list(range(sum(sizes)))
    assert all(end - start <= 10 for start, end in windows)


def test_no_text_is_truncated(encoder: text_encoder.TextEncoder) -> None:
    text = long_text(150)
    one, other = encode(encoder, [text, text.replace("Sb(149)", "Bi(149)")])
    assert one.windows > 5
    assert len(one.tokens) == len(encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    count = len(sentences.tag(text))
    changed = np.abs(one.by_sentence(count) - other.by_sentence(count)).max(axis=1)
    assert changed[-1] > 1e-3
    assert not np.array_equal(one.pooled, other.pooled)


def test_a_vector_never_depends_on_its_neighbours(encoder: text_encoder.TextEncoder) -> None:
    texts = [CA5SB3, BI2O3, MOS2, long_text(60), long_text(3), long_text(9)]
    together = [one.tokens.tobytes() for one in encode(encoder, texts)]
    order = [4, 0, 5, 3, 1, 2]
    shuffled = encode(encoder, [texts[index] for index in order])
    assert [shuffled[order.index(index)].tokens.tobytes() for index in range(len(texts))] == together
    assert [encode(encoder, [text])[0].tokens.tobytes() for text in texts] == together


def test_equal_to_the_library_on_a_text_of_one_window(encoder: text_encoder.TextEncoder) -> None:
    """Against transformers' own way, without any padding."""
    import torch

    with torch.inference_mode():
        inputs = encoder.tokenizer(MOS2, return_tensors="pt")
        expected = encoder.model(**inputs).last_hidden_state[0, 1:-1].numpy()
    np.testing.assert_allclose(encode(encoder, [MOS2])[0].tokens, expected, atol=2e-5)


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, on disk as MatSciBERT would be."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bond", "##ed", "the", "atoms",
             *"abcdefghijklmnopqrstuvwxyz0123456789().,-/_Å",
             *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=64)).save_pretrained(folder)
    return folder


def test_an_encoder_from_a_folder(small_bert: Path) -> None:
    units = pa.table({"material_id": ["a", "b"], "variant": pa.array([0, 1], pa.int32()), "text": [CA5SB3, MOS2],
                      "sentences": [sentences.to_rows(sentences.tag(text)) for text in (CA5SB3, MOS2)]})
    batch = text_embeddings.compute(units, EmbedParams(encoder=str(small_bert)))
    first = batch.rows.to_pylist()[0]
    assert len(first["pooled"]) == 32
    assert len(first["sentence_vectors"]) == len(first["regions"]) == 8
    assert first["n_tokens"] > 62
    assert first["n_windows"] > 1
    assert batch.owners == [0, 1]


def test_other_weights_are_another_fingerprint(small_bert: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copytree(small_bert, tmp_path / "other"))
    (other / "config.json").write_text((other / "config.json").read_text().replace("0.02", "0.03"))
    assert text_encoder.weights_digest(small_bert) != text_encoder.weights_digest(other)


@pytest.mark.parametrize(("name", "message"), [
    ("m3rg-iitd/matscibert", "weights of m3rg-iitd/matscibert are not on this machine"),
    ("matscibert", "neither 'minilm', a folder, nor a hub id"),
    ("/nowhere/at/all", "neither 'minilm', a folder, nor a hub id"),
])
def test_weights_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        text_encoder.locate(name)


def test_an_empty_folder_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no encoder"):
        text_encoder.weights_digest(tmp_path)


def test_an_empty_text_is_a_reject() -> None:
    units = pa.table({"material_id": ["a", "b"], "variant": pa.array([0, 0], pa.int32()), "text": ["", MOS2],
                      "sentences": [[], sentences.to_rows(sentences.tag(MOS2))]})
    batch = text_embeddings.compute(units, EmbedParams())
    assert batch.rejects[0].error == "empty"
    assert batch.owners == [1]
