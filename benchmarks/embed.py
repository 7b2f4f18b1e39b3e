"""`python -m benchmarks.embed`: texts a second, against the way of the prototypes; and SQL over 200,000 vectors.

The way of the prototypes: one text a call, padded to 512 tokens and cut there, on all cores. Ours: as the stage does
it, one worker process a core, no text cut. Same weights, same descriptions (of the project's table), in turn. The
pooled vectors of texts that fit one window are compared. What the texts of the project, paraphrases included, repeat of
each other is counted too: whole texts, of which equal ones are read once, and sentences under equal headings, which
could only be read once if a sentence were read with its heading alone. `similar` and `find` run over a table with
random vectors.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModel, AutoTokenizer

from benchmarks.figures import Figure, show
from benchmarks.paraphrase import read
from features import catalog, sentences, text_encoder
from features.store import tables
from features.text_encoder.weights import locate
from features.views import text_embeddings
from features.views.text_embeddings import EmbedParams
from pipelines.executors import Job, Processes, available_cores, join

LENGTH = 512


def main() -> None:
    """Print texts a second of both ways, the ratio, the distance of their vectors, and seconds of SQL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--encoder", default=EmbedParams().encoder)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the table for SQL")
    arguments = parser.parse_args()
    params = EmbedParams(encoder=arguments.encoder, device="cpu")
    texts = read(arguments.root, None, 10**9)
    texts = [texts[index] for index in np.random.default_rng(0).permutation(len(texts))[:arguments.texts]]
    cores = available_cores()
    theirs, seconds, tokens = prototype(params, [text for _, text in texts])
    rows, ours_seconds = ours(params, texts, cores)
    fitting = [(theirs[i], row) for i, row in enumerate(rows) if tokens[i] < LENGTH]
    distances = [cosine_distance(vector, np.array(row["pooled"])) for vector, row in fitting]
    ratio = seconds / ours_seconds
    cut = sum(count >= LENGTH for count in tokens)
    length = np.mean([row["n_tokens"] for row in rows])
    code = show(f"embedding {len(texts)} texts of {length:.0f} tokens on {cores} cores", [
        Figure("embedding, texts a second, to one padded text a call", ratio, "times", least=2, key="embed.ratio",
               note=f"{len(texts) / ours_seconds:.1f} and {len(texts) / seconds:.1f} a second, {rows[0]['precision']}; "
                    f"none cut, and {cut}"),
        Figure("cosine distance of their vectors, at the most", max(distances), "", most=1e-3, key="embed.distance",
               note=f"{len(fitting)} texts of one window"),
        *repeats(arguments.root, params)])
    text_encoder.load.cache_clear()
    sys.exit(code | show(f"SQL over {arguments.rows:,} vectors", search(params, arguments.rows)))


def prototype(params: EmbedParams, texts: list[str]) -> tuple[list[np.ndarray], float, list[int]]:
    """Mean over the text's tokens, seconds, and tokens seen, one padded text a call."""
    folder = locate(params.encoder, params.revision)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    vectors, counts = [], []

    def run(text: str) -> tuple[Any, Any]:
        inputs = tokenizer(text, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt",
                           return_special_tokens_mask=True)
        special = inputs.pop("special_tokens_mask")[0]
        with torch.no_grad():
            return model(**inputs).last_hidden_state[0], special == 0

    run(texts[0])
    begin = time.perf_counter()
    for text in texts:
        hidden, real = run(text)
        vectors.append(hidden[real].mean(0).double().numpy())
        counts.append(int(real.sum()) + 2)
    return vectors, time.perf_counter() - begin, counts


def ours(params: EmbedParams, texts: list[tuple[str, str]], workers: int) -> tuple[list[dict[str, Any]], float]:
    """Rows of `text_embeddings` as the stage makes them, and seconds once the workers are warm."""
    units = pa.Table.from_pylist([
        {"material_id": material_id, "variant": 0, "text": text, "sentences": sentences.to_rows(sentences.tag(text))}
        for material_id, text in texts])
    size = text_embeddings.VIEW.batch_size
    batches = [units.slice(first, size) for first in range(0, len(units), size)]
    warm = [units.slice(index % len(units), 1) for index in range(2 * workers)]
    parts = []
    begin = time.perf_counter()
    job = Job(compute=functools.partial(text_embeddings.compute, params=params), preload=text_embeddings.VIEW.preload)
    started = 0.0
    # each worker loads its weights with its first text; the clock starts when the first worker has done so
    for index, part in Processes(workers).map(job, [*warm, *batches]):
        if index >= len(warm):
            parts.append((sum(len(batch) for batch in batches[:index - len(warm)]), part))
        elif not started:
            started = time.perf_counter()
    seconds = time.perf_counter() - (started or begin)
    rows = join(sorted(parts, key=lambda pair: pair[0])).rows.to_pylist()
    return rows, seconds


def repeats(root: Path, params: EmbedParams) -> Iterator[Figure]:
    """What the project's texts, paraphrases included, repeat of each other."""
    units = text_embeddings.units({name: tables.read(root, name, columns) for name, columns in (
        ("descriptions", ["material_id", "text", "sentences"]),
        ("paraphrases", ["material_id", "variant", "text", "sentences"]))}).to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(locate(params.encoder, params.revision), local_files_only=True)
    split = [[unit["text"][tag.start:tag.end] for tag in sentences.from_rows(unit["sentences"])] for unit in units]
    distinct = list({sentence for text in split for sentence in text})
    size = dict(zip(distinct, map(len, tokenizer(distinct, add_special_tokens=False)["input_ids"]), strict=True))
    total = sum(size[sentence] for text in split for sentence in text)
    whole = sum(size[sentence] for text in set(map(tuple, split)) for sentence in text)
    pairs = {(text[0], sentence) for text in split for sentence in text[1:]}
    headings = {text[0] for text in split if text}
    apart = sum(size[one] for one in headings) + sum(size[heading] + size[sentence] for heading, sentence in pairs)
    for key, what, tokens in (
            ("texts", "tokens to read, to all, equal texts read once", whole),
            ("sentences", "the same, sentences without their texts, each once", sum(size.values())),
            ("pairs", "the same, sentences with their headings, each once", apart)):
        yield Figure(what, tokens / total, "", key=f"embed.{key}", note=f"{len(units):,} texts")


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cosine, in double precision."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def search(params: EmbedParams, rows: int) -> Iterator[Figure]:
    """Time `similar` and `find` over a table of the size of the Materials Project, each in a session of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_vectors(root, params, rows)
        for key, what, sql in (("similar", "similar", "select * from similar('mp-149', 10)"),
                               ("first", "find, first of a process", "select * from find('layered sulfide', 10)"),
                               ("find", "find, later", "select * from find('edge-sharing TiO6 octahedra', 10)")):
            begin = time.perf_counter()
            answer = catalog.query(root, sql)
            yield Figure(f"{what}, over {rows:,} vectors", time.perf_counter() - begin, "s", key=f"search.{key}",
                         most=None if key == "first" else 1, note=f"{len(answer)} rows")


def write_vectors(root: Path, params: EmbedParams, rows: int) -> None:
    """A table `text_embeddings` with random vectors of the encoder's dimension."""
    dim = AutoModel.from_pretrained(locate(params.encoder), local_files_only=True).config.hidden_size
    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float16)
    offsets = pa.array(np.arange(0, rows * dim + 1, dim, dtype=np.int32))
    columns = {name: pa.nulls(rows, field.type) for name, field in zip(text_embeddings.SCHEMA.names,
                                                                       text_embeddings.SCHEMA, strict=True)}
    columns |= {"material_id": pa.array([f"mp-{index}" for index in range(rows)]),
                "variant": pa.array(np.zeros(rows, np.int32)),
                "pooled": pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()))}
    table = pa.table(columns, schema=text_embeddings.SCHEMA)
    share = -(-rows // 16)
    header = text_embeddings.VIEW.header(params)
    tables.publish(root / "data" / "features" / "text_embeddings", text_embeddings.SCHEMA, ("material_id",),
                   (table.slice(first, share) for first in range(0, rows, share)),
                   (header for _ in range(0, rows, share)))


if __name__ == "__main__":
    main()
