"""Train one model: data, network, loop, best checkpoint."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from features import tables
from features.encoder_weights import pick_device
from features.errors import UserError
from features.materials import PROPERTIES
from features.params import load_section
from features.paths import Paths
from features.progress import Progress, say
from model import checkpoint, data
from model.checkpoint import Config
from model.data import Dataset
from model.network import MultimodalNet, Prediction, draw_hidden, joint_loss
from model.params import TrainParams

EVALUATION_BATCH = 64


def train(root: Path) -> None:
    """Train with the section `train` of `params.yaml`; writes `data/model/`."""
    params = load_section(root, "train", TrainParams)
    splits = data.load(root, params.target, params.transform)
    # the same seed gives the same model: without this, gradients of indexing are summed in the order of threads
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(params.seed)
    device = torch.device(pick_device(params.device))
    training = splits["train"]
    # statistics from the training split alone
    mean, std = float(training.targets.mean()), float(training.targets.std()) or 1.0
    net = MultimodalNet(params, training.text_dim)
    first, _, _ = next(training.batches(params.batch_size, order=_order(len(training), params.seed, epoch=0)))
    net.encoder.calibrate(first)  # type: ignore[operator]
    net.to(device)
    history = _loop(net, params, splits, mean, std, device)
    sizes = {name: len(split) for name, split in splits.items()}
    checkpoint.save(root, net, Config(
        format=checkpoint.FORMAT,
        train=params.model_dump(mode="json"),
        features=feature_footers(root),
        text_dim=training.text_dim,
        target_mean=mean,
        target_std=std,
        unit=PROPERTIES.get(params.target, ("", None))[1] or "",
        split_sizes=sizes,
        split_digest=data.split_digest(splits),
        parameters=sum(p.numel() for p in net.parameters()),
    ))
    _write_history(Paths(root).model / "learning_curve.csv", history)


def feature_footers(root: Path) -> dict[str, dict[str, Any]]:
    """What the tables say of themselves: how a prediction must compute its features."""
    names = {"ingest": "materials", "describe": "descriptions", "embed": "text_embeddings", "tensorize": "structures"}
    kept = ("version", "params", "digest")
    footers = {stage: tables.footer(tables.files(root, name)[0]) for stage, name in names.items()}
    return {stage: {key: footer[key] for key in kept if key in footer} for stage, footer in footers.items()}


def _loop(net: MultimodalNet, params: TrainParams, splits: dict[str, Dataset], mean: float, std: float,
          device: torch.device) -> list[dict[str, float]]:
    """Train until validation no longer improves; leaves the best weights in `net` and returns the learning curve."""
    training, validation = splits["train"], splits["validation"]
    generator = torch.Generator().manual_seed(params.seed)
    optimizer = make_optimizer(net, params)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, params))
    best, best_epoch, best_state = math.inf, 0, copy.deepcopy(net.state_dict())
    history: list[dict[str, float]] = []
    with Progress("train", params.epochs, "epochs") as progress:
        for epoch in range(params.epochs):
            started = time.monotonic()
            net.train()
            total = torch.zeros((), device=device)
            order = _order(len(training), params.seed, epoch)
            variants = _variants(len(training), params, epoch)
            for structure, text, target in training.batches(params.batch_size, order, variants):
                hidden = draw_hidden(structure, text, params.masking, generator)
                hidden = type(hidden)(**{name: tensor.to(device) for name, tensor in vars(hidden).items()})
                structure, text = structure.to(device), text.to(device)
                goal = ((target - mean) / std).to(device)
                loss = joint_loss(net(structure, text, hidden), goal, text.mask.any(dim=1), params.loss)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), params.gradient_norm)
                optimizer.step()
                schedule.step()
                total += loss.detach() * len(target)
            predicted = predict(net, validation, device)
            errors = {name: float(np.abs(predicted[name] * std + mean - validation.targets).mean())
                      for name in ("fused", "structure", "text")}
            history.append({"epoch": epoch + 1, "train_loss": float(total) / len(training),
                            **{f"validation_mae_{name}": value for name, value in errors.items()},
                            "seconds": time.monotonic() - started})
            if not math.isfinite(errors["fused"]):
                raise UserError(f"training diverged in epoch {epoch + 1}: the validation error is not a number; "
                                f"lower train.learning_rate ({params.learning_rate:g})")
            if errors["fused"] < best:
                best, best_epoch, best_state = errors["fused"], epoch, copy.deepcopy(net.state_dict())
            progress.advance(1, f"validation MAE {errors['fused']:.4f}, best {best:.4f}")
            if epoch - best_epoch >= params.patience:
                break
    net.load_state_dict(best_state)
    say(f"train: best epoch {best_epoch + 1} of {len(history)}, validation MAE {best:.4f}")
    return history


def make_optimizer(net: nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """AdamW; matrices decay, biases and other vectors do not."""
    matrices = [p for p in net.parameters() if p.dim() >= 2]
    vectors = [p for p in net.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": params.weight_decay},
                              {"params": vectors, "weight_decay": 0.0}],
                             lr=params.learning_rate, betas=(0.9, 0.98))


def learning_rate(step: int, params: TrainParams) -> float:
    """Factor on `learning_rate`: linear warm-up, then the paper's √(decay/(decay + step))."""
    warmup = min(1.0, (step + 1) / (params.warmup_steps + 1))
    return warmup * math.sqrt(params.decay_steps / (params.decay_steps + step))


@torch.no_grad()
def predict(net: MultimodalNet, dataset: Dataset, device: torch.device,
            texts_of: list[int] | None = None) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Predictions of the three branches in units of the standard deviation, in the order of the data set.

    `texts_of` gives, for each crystal, the index of the crystal whose description it gets: the shuffled-text control.
    """
    net.eval()
    parts: list[Prediction] = []
    shown = dataset if texts_of is None else Dataset(
        dataset.ids, dataset.crystals, [dataset.texts[index] for index in texts_of], dataset.targets, dataset.text_dim)
    for structure, text, _ in shown.batches(EVALUATION_BATCH):
        parts.append(net(structure.to(device), text.to(device)))

    def joined(tensors: list[Tensor]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return torch.cat(tensors).double().cpu().numpy()

    return {"fused": joined([p.fused for p in parts]), "structure": joined([p.structure for p in parts]),
            "text": joined([p.text for p in parts])}


def _order(count: int, seed: int, epoch: int) -> list[int]:
    result: list[int] = np.random.default_rng([seed, epoch, 1]).permutation(count).tolist()
    return result


def _variants(count: int, params: TrainParams, epoch: int) -> list[int] | None:
    """Which variant of its text each crystal shows in an epoch; None is always the description."""
    if not params.paraphrases:
        return None
    result: list[int] = np.random.default_rng([params.seed, epoch, 2]).integers(0, 2**31, count).tolist()
    return result


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [name for name in history[0] if name != "seconds"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(history)
