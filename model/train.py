"""Train one model: data, network, loop, best checkpoint."""

from __future__ import annotations

import copy
import csv
import itertools
import math
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from features import tables
from features.encoder_weights import pick_device
from features.errors import UserError
from features.materials import PROPERTIES
from features.params import load_section
from features.paths import Paths
from features.progress import Progress, say
from model import checkpoint, data
from model.checkpoint import Config
from model.data import Dataset, StructureBatch, TextBatch
from model.network import MultimodalNet, Prediction, draw_hidden, joint_loss
from model.params import TrainParams
from model.resume import Resume

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
    resume = Resume(root, {"train": params.model_dump(mode="json", exclude={"device"}), "device": device.type,
                           "features": feature_footers(root), "splits": data.split_digest(splits),
                           "targets": training.targets.tolist()})
    history = _loop(_Run(net, params, splits, mean, std, device), resume)
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
    resume.clear()


def feature_footers(root: Path) -> dict[str, dict[str, Any]]:
    """What the tables say of themselves: how a prediction must compute its features."""
    names = {"ingest": "materials", "describe": "descriptions", "embed": "text_embeddings", "tensorize": "structures"}
    kept = ("version", "params", "digest")
    footers = {stage: tables.footer(tables.files(root, name)[0]) for stage, name in names.items()}
    return {stage: {key: footer[key] for key in kept if key in footer} for stage, footer in footers.items()}


class _Run:
    """One training run: everything that changes from step to step."""

    def __init__(self, net: MultimodalNet, params: TrainParams, splits: dict[str, Dataset], mean: float, std: float,
                 device: torch.device) -> None:
        self.net, self.params, self.mean, self.std, self.device = net, params, mean, std, device
        self.training, self.validation = splits["train"], splits["validation"]
        self.generator = torch.Generator().manual_seed(params.seed)
        self.optimizer = make_optimizer(net, params)
        self.schedule = make_schedule(self.optimizer, params, len(self.training))
        self.averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(params.average), use_buffers=True) \
            if params.average else None
        self.best, self.best_epoch, self.best_state = math.inf, 0, copy.deepcopy(net.state_dict())
        self.history: list[dict[str, float]] = []

    @property
    def kept(self) -> MultimodalNet:
        """The net that is validated and kept."""
        return self.net if self.averaged is None else cast(MultimodalNet, self.averaged.module)

    def epoch(self, number: int) -> None:
        """One pass over the training crystals, and the validation after it."""
        started = time.monotonic()
        self.net.train()
        total = torch.zeros((), device=self.device)
        batches = self.training.batches(self.params.batch_size, _order(len(self.training), self.params.seed, number),
                                        _variants(len(self.training), self.params, number))
        while group := list(itertools.islice(batches, self.params.accumulate)):
            total += self._step(group)
        predicted = predict(self.kept, self.validation, self.device)
        errors = {name: float(np.abs(predicted[name] * self.std + self.mean - self.validation.targets).mean())
                  for name in ("fused", "structure", "text")}
        self.history.append({"epoch": number + 1, "train_loss": float(total) / len(self.training),
                             **{f"validation_mae_{name}": value for name, value in errors.items()},
                             "seconds": time.monotonic() - started})
        if not math.isfinite(errors["fused"]):
            raise UserError(f"training diverged in epoch {number + 1}: the validation error is not a number; lower "
                            f"train.learning_rate ({self.params.learning_rate:g})")
        if errors["fused"] < self.best:
            self.best, self.best_epoch = errors["fused"], number
            self.best_state = copy.deepcopy(self.kept.state_dict())

    def _step(self, group: list[tuple[StructureBatch, TextBatch, Tensor]]) -> Tensor:
        """One step from the batches of a group; returns the sum of the crystals' losses."""
        self.optimizer.zero_grad(set_to_none=True)
        count = sum(len(target) for _, _, target in group)
        total = torch.zeros((), device=self.device)
        for structure, text, target in group:
            hidden = draw_hidden(structure, text, self.params.masking, self.generator)
            hidden = type(hidden)(**{name: tensor.to(self.device) for name, tensor in vars(hidden).items()})
            structure, text = structure.to(self.device), text.to(self.device)
            goal = ((target - self.mean) / self.std).to(self.device)
            loss = joint_loss(self.net(structure, text, hidden), goal, text.mask.any(dim=1), self.params.loss)
            (loss * (len(target) / count)).backward()
            total += loss.detach() * len(target)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.params.gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.net)
        return total

    def state(self) -> dict[str, Any]:
        """All of it, for `Resume`."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "generator": self.generator.get_state(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(), "best": self.best,
                "best_epoch": self.best_epoch, "best_state": self.best_state, "history": self.history}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"].cpu())
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.best_state, self.history = state["best_state"], state["history"]


def _loop(run: _Run, resume: Resume) -> list[dict[str, float]]:
    """Train until validation no longer improves; leaves the best weights in the net and returns the learning curve."""
    params = run.params
    state = resume.load(run.device)
    if state is not None:
        run.restore(state)
        say(f"train: goes on after epoch {len(run.history)}, where an earlier run was stopped")
    with Progress("train", params.epochs, "epochs") as progress:
        progress.advance(len(run.history))
        for number in range(len(run.history), params.epochs):
            if run.history and number - 1 - run.best_epoch >= params.patience:
                break
            run.epoch(number)
            resume.save(run.state())
            progress.advance(1, f"validation MAE {run.history[-1]['validation_mae_fused']:.4f}, best {run.best:.4f}")
    run.net.load_state_dict(run.best_state)
    say(f"train: best epoch {run.best_epoch + 1} of {len(run.history)}, validation MAE {run.best:.4f}")
    return run.history


def make_optimizer(net: nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """AdamW; matrices decay, biases and other vectors do not."""
    matrices = [p for p in net.parameters() if p.dim() >= 2]
    vectors = [p for p in net.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": params.weight_decay},
                              {"params": vectors, "weight_decay": 0.0}],
                             lr=params.learning_rate, betas=(0.9, 0.98))


def make_schedule(optimizer: torch.optim.Optimizer, params: TrainParams,
                  crystals: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule of that name, a step of it for each of the optimizer's."""
    if params.schedule == "one_cycle":
        steps = math.ceil(math.ceil(crystals / params.batch_size) / params.accumulate) * params.epochs
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, params.learning_rate, total_steps=steps + 1,
                                                   cycle_momentum=False)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, params))


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
