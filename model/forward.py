"""What every user of a network shares: its data sets, its predictions for them, its text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from features import text_encoder
from features.errors import UserError
from features.sentences import REGIONS, Sentence
from features.store import tables
from features.text_encoder.weights import same_weights
from features.views.text_embeddings import EmbedParams, half
from model.checkpoint import Trained
from model.input import loader
from model.input.batch import Ints, Text
from model.input.loader import Dataset
from model.nets import encoders
from model.nets.ensemble import Ensemble
from model.nets.network import MultimodalNet
from model.nets.trees import TextTrees
from model.params import TrainParams

EVALUATION_BATCH = 64


def load_splits(root: Path, params: TrainParams, split_of: Mapping[str, str] | None = None) -> dict[str, Dataset]:
    """The three splits as the section `train` wants them.

    `split_of` says which split each crystal is of, in place of the table `splits`. Raises `UserError` if no branch can
    predict for some of the crystals.
    """
    wanted = getattr(getattr(params, params.encoder), "neighbours", 0)
    stored = tables.footer(tables.files(root, "structures")[0]).get("params", {}).get("neighbours", wanted)
    if wanted > stored:
        raise UserError(f"train.{params.encoder}.neighbours is {wanted}, but the table structures holds {stored}: "
                        "raise tensorize.neighbours")
    splits = loader.load(root, params.target, params.transform, encoders.reads(params), params.loader,
                         params.with_text, params.text == "words", split_of, params.also)
    lacking = sum(int((split.n_texts == 0).sum()) for split in splits.values())
    if params.without_text is None and lacking:
        if params.members.fused == 0:
            raise UserError(f"{lacking} crystals have no text, and all members of the model read the text alone: set "
                            "train.members.structure above 0")
        cause = "train.masking.drop_text 0" if params.fuses_both else f"train.fusion {params.fusion}"
        raise UserError(f"{lacking} crystals have no text, and with {cause} and train.loss.structure 0 no branch "
                        "learns to predict without one: set train.loss.structure above 0")
    return splits


@torch.no_grad()
def predict(net: MultimodalNet | TextTrees | Ensemble, dataset: Dataset, device: torch.device,
            texts_of: Ints | None = None, share: tuple[int, int] = (0, 1)) -> dict[str, NDArray[np.float64]]:
    """Predictions of the three branches in units of the standard deviation, in the order of the data set.

    Of an ensemble there is also `spread`, the standard deviation over its networks in the same unit.

    Args:
        net: a network, or several that predict together.
        dataset: the crystals.
        device: where the network is.
        texts_of: `[crystals]`, index of the crystal whose description each one gets: the shuffled-text control.
        share: (rank, processes): the batches of this process; the other crystals are 0.
    """
    net.eval()
    columns = {name: np.zeros(len(dataset)) for name in ("fused", "structure", "text", "spread")}
    rank, processes = share
    for batch in dataset.batches(dataset.plan(EVALUATION_BATCH)[rank::processes], texts_of=texts_of):
        prediction = net(batch.structure.to(device), batch.text.to(device))
        for name, values in columns.items():
            made = getattr(prediction, name)
            if made is not None:
                values[batch.row] = made.double().cpu().numpy()
    return columns


def load_encoder(trained: Trained) -> text_encoder.TextEncoder:
    """The text encoder that the model was trained with."""
    params: EmbedParams = trained.identity.params("embed")
    if not same_weights(params, trained.identity.tables["embed"].header["digest"]):
        raise UserError(f"the weights of {params.encoder} are not those the model was trained with; run `dvc repro`")
    return text_encoder.load(params)


def as_text(encoded: text_encoder.EncodedText, tagged: list[Sentence]) -> Text:
    """An encoded text as the model reads it from the table: sentence vectors in the precision they are stored in."""
    return Text(half(encoded.by_sentence(len(tagged))).astype(np.float32),
                np.array([REGIONS.index(sentence.region) for sentence in tagged], np.int64))
