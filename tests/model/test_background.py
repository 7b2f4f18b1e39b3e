"""The crystals that explanations compare with: which, what is kept of them, and that they belong to the model."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.store.sums import SUMS, Damaged
from model import background, checkpoint
from model.background import NAME, SIZE, TEXT, Background, sample
from model.forward import load_splits
from model.nets import encoders
from tests.damage import republish


def test_it_is_of_training_crystals_with_a_text(told: Path) -> None:
    trained = checkpoint.load(told)
    found = Background.of(trained)
    train = load_splits(told, trained.params)["train"]
    ids = found.rows["material_id"].to_pylist()
    assert set(ids) == {one for one, count in zip(train.ids, train.n_texts, strict=True) if count}
    assert len(found) == len(ids) == 14 < SIZE
    texts = {row["material_id"]: row for row in tables.read(told, "descriptions", ids=ids).to_pylist()}
    assert found.texts == [{name: texts[one][name] for name in TEXT} for one in ids]


def test_the_networks_see_the_same_crystals(told: Path) -> None:
    """From the file as from the tables."""
    trained = checkpoint.load(told)
    found = Background.of(trained)
    splits = load_splits(told, trained.params)["train"]
    place = [splits.ids.index(one) for one in found.rows["material_id"].to_pylist()]
    (batch,) = splits.batches([np.array(place)])
    order = [place.index(int(row)) for row in batch.row]
    with torch.no_grad():
        own, theirs = (trained.net.structure_tokens(one)[0] for one in (found.structures, batch.structure))
    for row, number in enumerate(order):
        torch.testing.assert_close(own.values[number][own.mask[number]], theirs.values[row][theirs.mask[row]])


def test_a_sample_does_not_depend_on_order_and_changes_little(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = checkpoint.load(told)
    ids = Background.of(trained).rows["material_id"].to_pylist()
    monkeypatch.setattr(background, "SIZE", 5)
    some = sample(told, trained.params, ids)
    assert len(some) == 5
    assert sample(told, trained.params, ids[::-1]).equals(some)
    fewer = sample(told, trained.params, ids[1:])
    common = set(some["material_id"].to_pylist()) & set(fewer["material_id"].to_pylist())
    assert len(common) >= 4
    assert some.column_names == ["material_id", *TEXT, "atomic_numbers", "orbit", *(
        name for name in encoders.reads(trained.params) if name not in ("atomic_numbers", "orbit"))]


def test_a_background_that_is_not_the_models(told: Path, tmp_path: Path) -> None:
    shutil.copytree(Paths(told).model, tmp_path / "model")
    trained = replace(checkpoint.load(told), folder=tmp_path / "model")
    path = trained.folder / f"{NAME}.parquet"
    assert Background.of(trained).rows.equals(Background.of(checkpoint.load(told)).rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(Damaged, match=r"background\.parquet is damaged \(bytes"):
        Background.of(trained)
    path.write_bytes(whole)
    republish(pq.read_table(path).slice(1), path)
    with pytest.raises(UserError, match=r"background\.parquet is damaged or of another model"):
        Background.of(trained)
    path.unlink()
    with pytest.raises(Damaged, match=r"background\.parquet is damaged \(it is missing\)"):
        Background.of(trained)
    path.with_name(SUMS).unlink()
    with pytest.raises(UserError, match=r"background\.parquet is missing"):
        Background.of(trained)
