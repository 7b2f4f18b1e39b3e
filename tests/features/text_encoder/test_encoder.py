import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.embed import cosine_distance
from features import sentences
from features.errors import RowError, UserError
from features.text_encoder import encoder as text_encoder
from features.text_encoder import normalisation, weights
from features.views import text_embeddings
from features.views.text_embeddings import EmbedParams, half
from pipelines.engine.materialize import job_of
from pipelines.executors import Processes
from tests.features.texts import BI2O3, CA5SB3, MOS2


@pytest.fixture(scope="module")
def encoder() -> text_encoder.TextEncoder:
    return text_encoder.load(EmbedParams(device="cpu", precision="float32"))


def long_text(sentences_count: int) -> str:
    return " ".join(f"Na({k}) is bonded in a 5-coordinate geometry to five equivalent Sb({k}) atoms."
                    for k in range(sentences_count))


def encode(encoder: text_encoder.TextEncoder, texts: list[str]) -> list[text_encoder.EncodedText]:
    return encoder.encode(texts, [sentences.tag(text) for text in texts])


def test_windows_end_at_sentence_ends() -> None:
    owner = np.repeat(np.arange(5), [4, 4, 4, 4, 4]).astype(np.int32)
    assert text_encoder.cut_windows(owner, 10, 10) == [(0, 8), (8, 16), (16, 20)]


def test_a_sentence_longer_than_a_window_is_cut_at_tokens() -> None:
    owner = np.repeat(np.arange(3), [3, 25, 2]).astype(np.int32)
    assert text_encoder.cut_windows(owner, 10, 10) == [(0, 3), (3, 13), (13, 23), (23, 30)]
    assert text_encoder.cut_windows(owner, 10, 8) == [(0, 3), (3, 11), (11, 19), (19, 27), (27, 30)]


@pytest.mark.parametrize("sizes", [[1], [10], [11], [3, 3, 3, 3], [30, 1, 30], [9, 1, 1, 9]])
def test_windows_cover_every_token_once(sizes: list[int]) -> None:
    owner = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    windows = text_encoder.cut_windows(owner, 10, 7)
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
    assert not np.array_equal(one.pooled(), other.pooled())


def test_the_last_sentence_of_three_thousand_words_counts(encoder: text_encoder.TextEncoder) -> None:
    text = "SrTiO3 crystallizes in the cubic Pm-3m space group. " + long_text(260)
    assert len(text.split()) > 3000
    one, other = encode(encoder, [text, text[:-len(" Sb(259) atoms.")] + " Bi(259) atoms."])
    assert half(one.pooled()).tobytes() != half(other.pooled()).tobytes()
    count = len(sentences.tag(text))
    changed = np.abs(one.by_sentence(count) - other.by_sentence(count)).max(axis=1)
    assert changed.argmax() == count - 1
    assert one.offsets[-1][1] == len(text)


def test_later_windows_are_read_in_the_light_of_the_heading(encoder: text_encoder.TextEncoder) -> None:
    cubic, hexagonal = encode(encoder, [f"SrTiO3 crystallizes in the {group} space group. {long_text(150)}"
                                        for group in ("cubic Pm-3m", "hexagonal P6_3/mmc")])
    assert cubic.windows > 5
    last = cubic.sentence_of == cubic.sentence_of.max()
    assert not np.array_equal(cubic.tokens[last], hexagonal.tokens[hexagonal.sentence_of == cubic.sentence_of.max()])


def test_equal_texts_are_encoded_once(encoder: text_encoder.TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_forward", lambda ids, mask: passes.append(ids) or forward(ids, mask))
    found = encode(encoder, [MOS2, BI2O3, MOS2])
    assert len(passes) == 2
    assert found[0] is found[2]


def test_the_same_text_with_other_sentences_is_another(encoder: text_encoder.TextEncoder) -> None:
    tags = sentences.tag(MOS2)
    one, other = encoder.encode([MOS2, MOS2], [tags, tags[:1]])
    assert one.sentence_of.max() == len(tags) - 1
    assert other.sentence_of.max() == 0


def test_half_precision_is_within_its_bound(encoder: text_encoder.TextEncoder) -> None:
    for text in encode(encoder, [CA5SB3, BI2O3, MOS2]):
        exact = text.tokens.astype(np.float64)
        stored = half(text.tokens).astype(np.float64)
        assert np.all(np.abs(stored - exact) <= np.maximum(np.abs(exact) / 2048, 2.0**-25))
        assert cosine_distance(half(text.pooled()), text.pooled()) < 1e-6
    with pytest.raises(RowError, match="half precision"):
        half(np.array([1e6], np.float32))


def test_bfloat16_is_within_its_tolerance(encoder: text_encoder.TextEncoder) -> None:
    short = text_encoder.TextEncoder(weights.locate("minilm"), EmbedParams(precision="bfloat16", device="cpu"))
    assert short.precision == "bfloat16"
    for one, other in zip(encode(encoder, [CA5SB3, BI2O3, MOS2]), encode(short, [CA5SB3, BI2O3, MOS2]), strict=True):
        assert 0 < cosine_distance(one.pooled(), other.pooled()) < 1e-3


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
    assert first["token_vectors"] is None
    assert len(first["sentence_vectors"]) == len(first["regions"]) == 8
    assert first["n_tokens"] > 62
    assert first["n_windows"] > 1
    assert batch.owners == [0, 1]


@pytest.mark.parametrize("levels", [["document"], ["token"], ["document", "sentence", "token"]])
def test_levels_are_stored_or_not(small_bert: Path, levels: list[str]) -> None:
    params = EmbedParams.model_validate({"encoder": str(small_bert), "levels": levels, "pooling": "cls"})
    units = pa.table({"material_id": ["a"], "variant": pa.array([0], pa.int32()), "text": [CA5SB3],
                      "sentences": [sentences.to_rows(sentences.tag(CA5SB3))]})
    row = text_embeddings.compute(units, params).rows.to_pylist()[0]
    columns = {"document": "pooled", "sentence": "sentence_vectors", "token": "token_vectors"}
    assert {level for level, name in columns.items() if row[name] is not None} == set(levels)
    if "token" in levels:
        assert len(row["token_vectors"]) == len(row["token_spans"]) == row["n_tokens"]
        assert "".join(CA5SB3[start:end] for start, end in row["token_spans"]) == CA5SB3.replace(" ", "")
    if "document" in levels:
        encoder = text_encoder.load(params)
        first = encode(encoder, [CA5SB3])[0].first
        np.testing.assert_allclose(row["pooled"], first.mean(axis=0), rtol=1e-3)


def test_a_text_without_known_words_is_a_reject(small_bert: Path) -> None:
    units = pa.table({"material_id": ["a"], "variant": pa.array([0], pa.int32()), "text": ["\x00 \u200b"],
                      "sentences": [[{"start": 0, "end": 3, "region": "local"}]]})
    batch = text_embeddings.compute(units, EmbedParams(encoder=str(small_bert)))
    assert batch.rejects[0].error == "no_tokens"


def test_positions_of_roberta_begin_behind_the_padding(tmp_path: Path) -> None:
    """A byte-level tokenizer with the blank before each word, and one position less for each index up to padding's."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([CA5SB3, MOS2], vocab_size=300,
                                special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    trained.save_model(str(tmp_path))
    files = {"vocab": str(tmp_path / "vocab.json"), "merges": str(tmp_path / "merges.txt")}
    RobertaTokenizerFast(**files).save_pretrained(tmp_path)
    RobertaModel(RobertaConfig(vocab_size=trained.get_vocab_size(), hidden_size=16, num_hidden_layers=1,
                               num_attention_heads=2, intermediate_size=32, max_position_embeddings=50,
                               pad_token_id=1)).save_pretrained(tmp_path)
    encoder = text_encoder.TextEncoder(tmp_path, EmbedParams(encoder=str(tmp_path), device="cpu"))
    assert encoder.longest == 48
    found = encode(encoder, [CA5SB3])[0]
    assert found.windows > 3
    tags = sentences.tag(CA5SB3)
    for (start, end), owner in zip(found.offsets, found.sentence_of, strict=True):
        assert tags[owner].start <= start <= end <= tags[owner].end


def test_precision_is_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    here = text_embeddings.VIEW.header(EmbedParams(device="cpu"))["digest"]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    there = text_embeddings.VIEW.header(EmbedParams(device="cpu"))["digest"]
    assert there == here.replace("float32", "bfloat16") != here
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})  # slower in it than in float32
    assert text_embeddings.VIEW.header(EmbedParams(device="cpu"))["digest"] == here


def test_a_gpu_is_in_the_fingerprint_and_not_in_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sums differ in the last bits; a query and a model compare the weights alone."""
    import torch

    cpu = weights.identity(EmbedParams(device="cpu", precision="float32"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("cuda", "cuda:1", "auto"):
        params = EmbedParams(device=device, precision="float32")
        assert weights.identity(params) == f"{cpu} cuda"
        assert weights.same_weights(params, cpu)
        assert weights.same_weights(params, f"{cpu} cuda")
    assert len(cpu.split()) == 2  # as in tables of before


def test_levels_are_a_set() -> None:
    one, other = (EmbedParams.model_validate({"levels": levels}) for levels in (["sentence", "document"],
                                                                                ["document", "sentence", "document"]))
    assert one.deciding() == other.deciding()


def test_normalisation_of_matscibert() -> None:
    text, origin = normalisation.matscibert("TiO₂ – 1.9 Å, 90° … Müller‑Zeiß ☃")
    assert text == "TiO2 - 1.9 A, 90° ... Muller-Zei   "
    assert len(origin) == len(text) + 1
    spans = normalisation.ranges(np.array([[3, 4], [13, 18], [18, 22]], np.int32), origin)
    assert spans.tolist() == [[3, 4], [13, 18], [18, 20]]
    assert EmbedParams(encoder="m3rg-iitd/matscibert").matscibert()
    assert not EmbedParams().matscibert()


def test_tokens_of_normalised_texts_point_into_the_original(small_bert: Path) -> None:
    encoder = text_encoder.load(EmbedParams(encoder=str(small_bert), normalisation="matscibert"))
    text = "The Ti–O₂ bond is 1.9 Å … long."
    found = encode(encoder, [text])[0]
    assert [text[start:end] for start, end in found.offsets if text[start:end] in "–₂Å"] == ["–", "₂", "Å"]


def test_other_weights_are_another_fingerprint(small_bert: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copytree(small_bert, tmp_path / "other"))
    (other / "config.json").write_text((other / "config.json").read_text().replace("0.02", "0.03"))
    assert weights.weights_digest(small_bert) != weights.weights_digest(other)


@pytest.mark.parametrize(("name", "message"), [
    ("m3rg-iitd/matscibert", "weights of m3rg-iitd/matscibert are not on this machine"),
    ("matscibert", "neither 'minilm', a folder, nor a hub id"),
    ("/nowhere/at/all", "neither 'minilm', a folder, nor a hub id"),
])
def test_weights_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        weights.locate(name)


def test_an_empty_folder_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no encoder"):
        weights.weights_digest(tmp_path)


def test_an_empty_text_is_a_reject() -> None:
    units = pa.table({"material_id": ["a", "b"], "variant": pa.array([0, 0], pa.int32()), "text": ["", MOS2],
                      "sentences": [[], sentences.to_rows(sentences.tag(MOS2))]})
    batch = text_embeddings.compute(units, EmbedParams())
    assert batch.rejects[0].error == "empty"
    assert batch.owners == [1]


def test_workers_take_texts_one_by_one_where_they_share_no_pass(small_bert: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time-out is that of one text; and each gets the vectors that it gets among others."""
    texts = [CA5SB3, "", MOS2]
    units = pa.table({"material_id": ["a", "b", "c"], "variant": pa.array([0, 0, 0], pa.int32()), "text": texts,
                      "sentences": [sentences.to_rows(sentences.tag(text)) if text else [] for text in texts]})
    params = EmbedParams(encoder=str(small_bert), device="cpu")
    job = job_of(text_embeddings.VIEW, params)
    assert (job.one_by_one, job.timeout_s) == (True, 300.0)
    ((_, batch),) = Processes(1).map(job, [units])
    together = text_embeddings.compute(units, params)
    assert batch.rows.to_pylist() == together.rows.to_pylist()
    assert (batch.owners, batch.rejects) == (together.owners, together.rejects)
    monkeypatch.setattr(text_embeddings, "on_cpu", lambda _device: False)
    assert not job_of(text_embeddings.VIEW, params).one_by_one


def test_what_runs_on_another_machines_gpu_needs_none_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    header = text_embeddings.VIEW.header(EmbedParams(device="cuda", precision="bfloat16"))
    assert header["digest"].endswith(" bfloat16 cuda")
    job = job_of(text_embeddings.VIEW, EmbedParams(device="cuda", precision="bfloat16"))
    assert (job.gpu, job.one_by_one) == (True, False)
    assert text_embeddings.VIEW.gpu(EmbedParams(device="cuda:0"))
    assert not text_embeddings.VIEW.gpu(EmbedParams(device="auto"))
    with pytest.raises(UserError, match=r"no GPU here; .* to use the GPUs of a cluster, name embed\.precision"):
        text_embeddings.VIEW.header(EmbedParams(device="cuda"))


def test_torchs_errors_of_the_machine_are_told_from_those_of_a_row() -> None:
    """They are `RuntimeError`s all, and one of the machine must never become a text's reject."""
    import torch

    for error, kind in ((torch.OutOfMemoryError("CUDA out of memory. Tried"), UserError),
                        (torch.AcceleratorError("CUDA error: unspecified launch failure"), UserError),
                        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), MemoryError),
                        (RuntimeError("shapes cannot be multiplied"), RuntimeError)):
        with pytest.raises(kind), weights.errors_of_torch():
            raise error
    with pytest.raises(MemoryError), weights.errors_of_torch():
        torch.empty(2**62, dtype=torch.uint8)


@pytest.mark.parametrize(("name", "content"), [
    ("config.json", b"[]"), ("config.json", b"null"), ("config.json", b"1"), ("config.json", b"\xff"),
    ("config.json", b'{"model_type": "bert", "hidden_size": "text"}'), ("config.json", b'{"model_type": []}'),
    ("config.json", b"[" * 5000), ("tokenizer.json", b"[]"), ("tokenizer.json", b"null"), ("tokenizer.json", b"\xff"),
    ("tokenizer_config.json", b"[]"), ("tokenizer_config.json", b"1"), ("model.safetensors", b"\xff" * 20),
    ("model.safetensors", b""),
])
def test_a_damaged_folder_is_one_line(small_bert: Path, tmp_path: Path, name: str, content: bytes) -> None:
    folder = shutil.copytree(small_bert, tmp_path / "bert")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=str(folder)):
        text_encoder.TextEncoder(folder, weights.EncoderParams(encoder=str(folder), device="cpu"))


def test_a_pipe_in_place_of_weights_is_one_line(small_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_bert, tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read: it is a pipe"):
        weights.weights_digest(folder)
