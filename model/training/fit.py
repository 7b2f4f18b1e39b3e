"""Training one network: the loop, the steps, the best weights."""

from __future__ import annotations

import copy
import itertools
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from features.errors import UserError
from features.progress import Progress, say
from model.forward import predict
from model.input.batch import Ints
from model.input.loader import Batch, Dataset
from model.nets.network import MultimodalNet, Prediction, draw_hidden, joint_loss
from model.nets.trees import TextTrees
from model.params import TrainParams
from model.training.parallel import ALONE, Team
from model.training.resume import Resume


@dataclass(frozen=True)
class Fitted:
    """A trained network and what its predictions are counted in."""

    net: MultimodalNet | TextTrees
    """With the weights of the best epoch, or the best number of trees."""
    mean: float
    std: float
    """Of the training crystals' transformed targets; of further ones nothing is kept."""
    history: list[dict[str, float]]
    """The learning curve; none of trees."""


def fit(params: TrainParams, splits: dict[str, Dataset], device: torch.device, group: Team = ALONE,
        resume: Resume | None = None, quiet: bool = False) -> Fitted:
    """Train on the split `train` and stop by `validation`; without `resume` nothing is written."""
    training = splits["train"]
    torch.manual_seed(params.seed)
    # statistics from the training split alone
    mean, std = statistics(training)
    net = MultimodalNet(params, training.text_dim)
    first = next(training.batches(training.plan(params.batch_size, (params.seed, 0))[:1]))
    net.encoder.calibrate(first.structure)  # type: ignore[operator]
    net.to(device)
    return Fitted(net, mean, std, _loop(_Run(net, params, splits, mean, std, device, group, quiet), resume))


def deterministic() -> None:
    """Let the same seed give the same model, for the rest of this process."""
    # without this, gradients of indexing are summed in the order of threads
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # nothing here reads memory that it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def statistics(training: Dataset) -> tuple[float, float]:
    """Mean and deviation of the transformed target of the crystals that have it; a deviation of 0 counts as 1."""
    known = training.targets[~np.isnan(training.targets)]
    return float(known.mean()), float(known.std()) or 1.0


class RunningMean(AveragedModel):
    """The running mean of the weights and buffers of a network.

    Torch's own class walks through all modules of both networks at each step, which takes longer than the mean itself.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._move = get_ema_multi_avg_fn(decay)
        super().__init__(net, multi_avg_fn=self._move, use_buffers=True)
        self._pairs: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
        """Means, and what they are of: a pair of lists for each kind of number. Steps change these tensors in place."""

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """One more step of the network that this was made of."""
        if not self._pairs:
            groups: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
            for mean, now in zip(itertools.chain(self.module.parameters(), self.module.buffers()),
                                 itertools.chain(model.parameters(), model.buffers()), strict=True):
                means, of = groups.setdefault(mean.dtype, ([], []))
                means.append(mean.detach())
                of.append(now.detach())
            self._pairs = list(groups.values())
        first = bool(self.n_averaged == 0)
        for means, of in self._pairs:
            if first:
                torch._foreach_copy_(means, of)
            else:
                self._move(means, of, self.n_averaged)
        self.n_averaged += 1


class _Run:
    """One training run: everything that changes from step to step."""

    def __init__(self, net: MultimodalNet, params: TrainParams, splits: dict[str, Dataset], mean: float, std: float,
                 device: torch.device, group: Team = ALONE, quiet: bool = False) -> None:
        self.net, self.params, self.mean, self.std, self.device, self.group = net, params, mean, std, device, group
        self.quiet = quiet or not group.leads
        self.training, self.validation = splits["train"], splits["validation"]
        for part in ("train", "validation"):
            if net.without_text is None and not (splits[part].n_texts > 0).any():
                raise UserError(f"no crystal of the split '{part}' has a text, and this network predicts for no other")
        further = self.training.labels[:, 1:]
        self.means = torch.tensor([mean, *np.nanmean(further, axis=0).tolist()])
        self.stds = torch.tensor([std, *(value or 1.0 for value in np.nanstd(further, axis=0).tolist())])
        self.optimizer = make_optimizer(net, params)
        self.steps = math.ceil(len(self.training.plan(params.batch_size)) / params.accumulate)
        self.schedule = make_schedule(self.optimizer, params, self.steps * params.epochs)
        self.averaged = RunningMean(net, params.average) if params.average else None
        self.best, self.best_epoch, self.best_state = math.inf, 0, copy.deepcopy(net.state_dict())
        self.history: list[dict[str, float]] = []
        self.step, self.total, self.seconds = 0, torch.zeros((), device=device), 0.0  # of the epoch that is running

    @property
    def validated(self) -> MultimodalNet:
        """The net that is validated and saved: the running mean of the weights, if there is one."""
        return self.net if self.averaged is None else cast(MultimodalNet, self.averaged.module)

    def epoch(self, number: int, between: Callable[[], None] = lambda: None) -> None:
        """One pass over the training crystals, or what is left of it, and the validation after it.

        `between` is called after every step but the last.
        """
        started = time.monotonic() - self.seconds
        self.net.train()
        batches = self.training.batches(
            self.training.plan(self.params.batch_size, (self.params.seed, number))[self.step * self.params.accumulate:],
            _variants(len(self.training), self.params, number), (self.group.rank, self.group.processes))
        while several := list(itertools.islice(batches, self.params.accumulate)):
            self.total += self.group.sum(self._step(several, number))
            self.step, self.seconds = self.step + 1, time.monotonic() - started
            if self.step < self.steps:
                between()
        self.group.mean_buffers(self.validated)
        predicted = self._predict_validation()
        # what is predicted by text alone is asked of crystals that have one
        asked = self.validation.n_texts > 0 if self.net.without_text is None else np.full(len(self.validation), True)
        errors = {name: float(np.abs(predicted[name] * self.std + self.mean - self.validation.targets)[asked].mean())
                  for name in ("fused", "structure", "text")}
        self.history.append({"epoch": number + 1, "train_loss": float(self.total) / len(self.training),
                             **{f"validation_mae_{name}": value for name, value in errors.items()},
                             "seconds": time.monotonic() - started})
        self.step, self.total, self.seconds = 0, torch.zeros_like(self.total), 0.0
        if not math.isfinite(errors["fused"]):
            raise UserError(f"training diverged in epoch {number + 1}: the validation error is not a number; lower "
                            f"train.learning_rate ({self.params.learning_rate:g})")
        if errors["fused"] < self.best:
            self.best, self.best_epoch = errors["fused"], number
            self.best_state = copy.deepcopy(self.validated.state_dict())

    def _predict_validation(self) -> dict[str, NDArray[np.float64]]:
        # each share has zeros where others predicted
        shares = self.group.gather(predict(self.validated, self.validation, self.device,
                                           share=(self.group.rank, self.group.processes)))
        return {name: sum(share[name] for share in shares) for name in shares[0]}

    def _step(self, several: list[Batch], epoch: int = 0) -> torch.Tensor:
        """One step from the batches of a group; returns this process's share of the sum of the crystals' losses."""
        self.optimizer.zero_grad(set_to_none=True)
        crystals = sum(b.crystals for b in several)
        labelled, with_text = (np.sum(counts, axis=0).tolist() for counts in
                               ([b.labelled for b in several], [b.with_text for b in several]))
        total = torch.zeros((), device=self.device)
        for batch in several:
            hidden = draw_hidden(batch.structure, batch.text, batch.row, self.params.masking,
                                 (self.params.seed, epoch)).to(self.device)
            structure, text = batch.structure.to(self.device), batch.text.to(self.device)
            goal = ((batch.target - self.means) / self.stds).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, self.params.precision == "bfloat16"):
                prediction = self.net(structure, text, hidden)
            loss = joint_loss(prediction, goal, text.mask.any(dim=1), self.params.loss, batch.weight.to(self.device),
                              labelled, with_text, crystals, self.net.without_text is None)
            if not torch.isfinite(loss):
                self._stop(batch, prediction, epoch)
            loss.backward()
            total += loss.detach() * crystals
        self.group.sum_gradients(self.net)
        for parameters in self.net.clipped_together():
            nn.utils.clip_grad_norm_(parameters, self.params.gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.net)
        return total

    def _stop(self, batch: Batch, prediction: Prediction, epoch: int) -> NoReturn:
        """Say whose loss is not a number: the first crystal whose predictions are none, or the first of the batch."""
        finite = torch.stack([prediction.structure, prediction.fused]).isfinite().all(dim=0).cpu().numpy()
        whose = [self.training.ids[row] for row in batch.row[~finite]] or [self.training.ids[batch.row[0]]]
        if all(bool(weight.isfinite().all()) for weight in self.net.parameters()):
            why = f"{whose[0]}" if len(whose) == 1 else f"{whose[0]} and {len(whose) - 1} more of its batch"
        else:
            why = f"{whose[0]} and of every other crystal, since weights of the network are no numbers any more,"
        raise UserError(f"training diverged in epoch {epoch + 1}: the loss of {why} is not a number; lower "
                        f"train.learning_rate ({self.params.learning_rate:g})")

    def state(self) -> dict[str, Any]:
        """All of it, for `Resume`; every process of the team must ask at the same step."""
        nets = [self.net] if self.averaged is None else [self.net, self.averaged]
        buffers = self.group.gather([dict(net.named_buffers()) for net in nets])
        return {"buffers": buffers, "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(), "best": self.best,
                "best_epoch": self.best_epoch, "best_state": self.best_state, "history": self.history,
                "step": self.step, "total": self.total, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        # running statistics are each process's own
        for net, buffers in zip([self.net, self.averaged], state["buffers"][self.group.rank], strict=False):
            for name, buffer in cast(nn.Module, net).named_buffers():
                buffer.copy_(buffers[name])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.best_state, self.history = state["best_state"], state["history"]
        self.step, self.total, self.seconds = state["step"], state["total"], state["seconds"]


def _loop(run: _Run, resume: Resume | None) -> list[dict[str, float]]:
    """Train until validation no longer improves; leaves the best weights in the net and returns the learning curve."""
    params = run.params
    state = None if resume is None else resume.load(run.device)
    if state is not None:
        run.restore(state)
        if not run.quiet:
            say(f"train: goes on after step {run.step} of epoch {len(run.history) + 1}, where an earlier run was "
                "stopped")
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if resume is None:
            return
        state = run.state()
        if run.group.leads:
            resume.save(state)
        saved = time.monotonic()

    def save_now_and_then() -> None:
        if resume is not None and run.group.agreed(time.monotonic() - saved >= params.save_every_s):
            save()

    with Progress("train", params.epochs, "epochs", quiet=run.quiet) as progress:
        progress.advance(len(run.history))
        for number in range(len(run.history), params.epochs):
            if run.history and number - 1 - run.best_epoch >= params.patience:
                break
            run.epoch(number, save_now_and_then)
            save()
            progress.advance(1, f"validation MAE {run.history[-1]['validation_mae_fused']:.4f}, best {run.best:.4f}")
    run.net.load_state_dict(run.best_state)
    if not run.quiet:
        say(f"train: best epoch {run.best_epoch + 1} of {len(run.history)}, validation MAE {run.best:.4f}")
    return run.history


def make_optimizer(net: nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """AdamW; matrices decay, biases and other vectors do not."""
    matrices = [p for p in net.parameters() if p.dim() >= 2]
    vectors = [p for p in net.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": params.weight_decay},
                              {"params": vectors, "weight_decay": 0.0}],
                             lr=params.learning_rate, betas=(0.9, 0.98), fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, params: TrainParams,
                  steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule of that name, a step of it for each of the optimizer's `steps`."""
    if params.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, params.learning_rate, total_steps=steps + 1,
                                                   cycle_momentum=False)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, params))


def learning_rate(step: int, params: TrainParams) -> float:
    """Factor on `learning_rate`: linear warm-up, then the paper's √(decay/(decay + step))."""
    warmup = min(1.0, (step + 1) / (params.warmup_steps + 1))
    return warmup * math.sqrt(params.decay_steps / (params.decay_steps + step))


def _variants(count: int, params: TrainParams, epoch: int) -> Ints | None:
    """Which variant of its text each crystal shows in an epoch; None is always the description."""
    return np.random.default_rng([params.seed, epoch, 2]).integers(0, 2**31, count) if params.paraphrases else None
