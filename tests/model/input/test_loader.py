"""Batches stream from the parts: the right rows, a seeded order, bounded windows, shares, resumption."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks.loader import repeat
from features.sentences import REGIONS
from features.store import tables
from model.input import loader
from model.input.batch import IMAGES, NEIGHBOURS
from model.input.loader import Batch, Dataset
from model.input.words import WordBatch
from model.nets import encoders
from model.params import LoaderParams, TrainParams
from pipelines.engine import stages

REPO = Path(__file__).parents[3]


def splits(root: Path, **params: Any) -> dict[str, Dataset]:
    return loader.load(root, "k_vrh", "log10", (*IMAGES, *NEIGHBOURS), LoaderParams(**params))


def everything(dataset: Dataset, seed: Any = None, size: int = 4, **how: Any) -> list[Batch]:
    return list(dataset.batches(dataset.plan(size, seed), **how))


def test_a_batch_holds_what_the_tables_hold(project: Path) -> None:
    rows = {row["material_id"]: row for row in tables.read(project, "structures").to_pylist()}
    texts = {(row["material_id"], row["variant"]): row for row in tables.read(project, "text_embeddings").to_pylist()}
    values = dict(zip(*(c.to_pylist() for c in tables.read(project, "materials", ["material_id", "k_vrh"]).columns),
                      strict=True))
    seen = []
    for dataset in splits(project).values():
        for batch in everything(dataset, seed=(3,)):
            atoms, orbits, edges, near, axes = 0, 0, 0, 0, 0
            images, neighbours = batch.structure.images, batch.structure.neighbours
            for place, index in enumerate(batch.row):
                material_id = dataset.ids[index]
                seen.append(material_id)
                row, text = rows[material_id], texts.get((material_id, 0))
                n, e, m, a = (len(row[name]) for name in ("orbit", "edge_i", "near_i", "axis_weight"))
                o = max(row["orbit"]) + 1
                assert batch.structure.numbers[atoms:atoms + n].tolist() == row["atomic_numbers"]
                assert (batch.structure.orbit[atoms:atoms + n] - orbits).tolist() == row["orbit"]
                assert batch.structure.first[orbits:orbits + o].tolist() == [
                    atoms + row["orbit"].index(orbit) for orbit in range(o)]
                pair = images.pair_of[edges:edges + e]
                assert (images.pair_i[pair] - orbits).tolist() == row["edge_i"]
                assert (images.pair_j[pair] - orbits).tolist() == row["edge_j"]
                assert torch.equal(images.distance[edges:edges + e], torch.tensor(row["edge_distance"]))
                assert images.count[edges:edges + e].tolist() == row["edge_count"]
                assert (neighbours.j[near:near + m] - orbits).tolist() == row["near_j"]
                assert torch.equal(neighbours.vector[near:near + m].flatten(), torch.tensor(row["near_vector"]))
                assert torch.equal(neighbours.axis_weight[axes:axes + a], torch.tensor(row["axis_weight"]))
                assert int(batch.text.mask[place].sum()) == (len(text["regions"]) if text else 0)
                if text is not None:
                    mask = batch.text.mask[place]
                    vectors = np.array(text["sentence_vectors"], np.float32)
                    assert torch.equal(batch.text.vectors[place][mask], torch.from_numpy(vectors))
                    assert [REGIONS[r] for r in batch.text.regions[place][mask]] == text["regions"]
                assert float(batch.target[place]) == pytest.approx(np.log10(values[material_id]), abs=1e-6)
                atoms, orbits, edges, near, axes = atoms + n, orbits + o, edges + e, near + m, axes + a
            nearest = [images.distance[images.pair_of == p].min() for p in range(len(images.pair_i))]
            assert torch.equal(images.nearest, torch.stack(nearest))
    assert sorted(seen) == sorted(rows)
    assert "mp-30" in seen


def test_the_order_follows_from_the_seed_alone(project: Path) -> None:
    training = splits(project, workers=1)["train"]
    again = splits(project, workers=3)["train"]
    orders = [[row for batch in everything(dataset, seed=seed) for row in batch.row.tolist()]
              for dataset, seed in ((training, (0, 1)), (again, (0, 1)), (training, (0, 2)))]
    assert orders[0] == orders[1] != orders[2]
    assert [sorted(order) for order in orders] == [list(range(len(training)))] * 3


def test_the_rest_of_a_plan_is_the_rest_of_the_epoch(project: Path) -> None:
    training = splits(project, window=6)["train"]
    plan = training.plan(4, (0, 1))
    whole, rest = list(training.batches(plan)), list(training.batches(plan[3:]))
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest, strict=True):
        assert one.row.tolist() == other.row.tolist()
        assert torch.equal(one.structure.images.distance, other.structure.images.distance)


def test_two_windows_at_most_are_in_memory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = splits(project)["train"]
    training.bounds = [(start, start + 4) for start in range(0, 20, 4)]
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    real = Dataset._window
    read, most = [], 0

    def window(self: Dataset, number: int) -> Any:
        nonlocal most
        made = real(self, number)
        read.append(number)
        alive.add(made.crystals)
        gc.collect()
        most = max(most, len(alive))
        return made

    monkeypatch.setattr(Dataset, "_window", window)
    for _ in training.batches(training.plan(1, (0, 0))):
        pass
    assert sorted(read) == list(range(len(training.bounds)))
    assert most <= 3  # in use, being read, and one whose last batch is still on its way


def test_memory_is_that_of_a_window(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resident memory of an epoch with texts, in windows and with the whole table as one window."""
    monkeypatch.setattr("features.store.placement.ROWS_PER_PART", 250)
    repeat(project, tmp_path, 4_000)
    code = ("import sys; from pathlib import Path; from benchmarks.loader import stream\n"
            "stream(Path(sys.argv[1]), 'cgcnn', int(sys.argv[2]))")

    def gigabytes(window: int) -> float:
        said = subprocess.run([sys.executable, "-c", code, tmp_path, str(window)], check=True, capture_output=True,
                              text=True, timeout=240, cwd=REPO).stdout
        answer: dict[str, float] = json.loads(said)
        assert answer["crystals"] == 3_998
        return answer["gigabytes"]

    assert gigabytes(250) < 0.75 * gigabytes(100_000)


def test_windows_are_whole_parts_and_never_a_single_row() -> None:
    part = np.repeat([0, 1, 2, 3, 5, 6], [4, 3, 5, 1, 2, 9])
    assert loader._windows(part, 7) == [(0, 7), (7, 13), (13, 15), (15, 24)]
    assert loader._windows(part, 1) == [(0, 4), (4, 7), (7, 13), (13, 15), (15, 24)]
    assert loader._windows(np.repeat([0, 1, 2], [1, 5, 1]), 4) == [(0, 7)]
    assert loader._windows(part, 100) == [(0, 24)]


def test_a_table_that_fits_is_read_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = splits(project)["train"]
    everything(training)
    monkeypatch.setattr(pq, "read_table", lambda *_a, **_k: pytest.fail("read again"))
    everything(training, seed=(1,))


def test_shares_make_up_the_batch(project: Path) -> None:
    training = splits(project)["train"]
    plan = training.plan(6, (0, 1))
    whole = list(training.batches(plan))
    shares = [list(training.batches(plan, share=(rank, 3))) for rank in range(3)]
    for number, batch in enumerate(whole):
        mine = [share[number] for share in shares]
        counted = [row for b in mine for row, weight in zip(b.row.tolist(), b.weight.tolist(), strict=True) if weight]
        assert sorted(counted) == sorted(batch.row.tolist())
        assert {(b.crystals, b.with_text) for b in mine} == {(batch.crystals, batch.with_text)}
    assert any(0.0 in b.weight for share in shares for b in share)  # the last batch is smaller than the team


def test_buckets_hold_crystals_of_one_size(project: Path) -> None:
    def spread(bucket: int) -> float:
        training = splits(project, bucket=bucket)["train"]
        plan = training.plan(4, (0, 1))
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(training)))
        return float(np.mean([training.n_edges[rows].max() / training.n_edges[rows].mean() for rows in plan]))

    assert spread(100) < 0.8 * spread(1)


def test_only_what_the_encoder_reads_is_read(project: Path) -> None:
    reads = encoders.reads(TrainParams(encoder="cgcnn"))
    training = loader.load(project, "k_vrh", "log10", reads)["train"]
    structure = everything(training)[0].structure
    assert len(structure.neighbours.i)
    with pytest.raises(RuntimeError, match="IMAGES"):
        _ = structure.images


def test_without_text_no_table_of_texts_is_needed(project: Path, tmp_path: Path) -> None:
    import shutil

    from features.paths import Paths

    root = Path(shutil.copytree(project, tmp_path / "p"))
    shutil.rmtree(Paths(root).table("text_embeddings"))
    training = loader.load(root, "k_vrh", "log10", IMAGES, with_text=False)["train"]
    assert not everything(training)[0].text.mask.any()


def test_words_of_the_right_crystal_and_variant(project: Path) -> None:
    stages.run("tokenize", project, "serial")
    rows = {(row["material_id"], row["variant"]): row for row in tables.read(project, "text_tokens").to_pylist()}
    sizes = 0
    for dataset in loader.load(project, "k_vrh", "log10", IMAGES, words=True).values():
        assert dataset.text_dim == 1
        shuffled = np.roll(np.arange(len(dataset)), 1)
        for variant, texts_of in ((0, None), (1, None), (0, shuffled)):
            variants = np.full(len(dataset), variant)
            for batch in everything(dataset, seed=(3,), variants=variants, texts_of=texts_of):
                assert isinstance(batch.text, WordBatch)
                for place, index in enumerate(batch.row):
                    shown = dataset.ids[index if texts_of is None else texts_of[index]]
                    row = rows.get((shown, variant), rows.get((shown, 0)))
                    width = batch.text.mask.shape[1]
                    mine = (batch.text.sentence // width == place)
                    assert batch.text.ids[mine].tolist() == (row["token_ids"] if row else [])
                    assert (batch.text.sentence[mine] % width).tolist() == (row["token_sentences"] if row else [])
                    values = [None if np.isnan(value) else value for value in batch.text.values[mine].tolist()]
                    assert values == (row["token_values"] if row else [])
                    if row:
                        count = len(row["regions"])
                        assert [REGIONS[r] for r in batch.text.regions[place][:count]] == row["regions"]
                    sizes += int(mine.sum())
    assert sizes > 500
