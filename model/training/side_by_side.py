"""The networks of a model, trained side by side on a CPU: each in a process of its own, with one thread.

Two processes of one thread are done sooner than one of two threads, and a network's bytes, which depend on the number
of threads, are then the same on any number of cores. On a GPU, and shared between processes, networks are trained one
after the other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from features.errors import UserError
from features.processes import available_cores
from features.progress import Progress, say, watched
from model.forward import load_splits
from model.input.loader import Dataset
from model.nets.network import MultimodalNet
from model.params import TrainParams
from model.training.fit import Fitted, deterministic, fit
from model.training.parallel import Team
from model.training.resume import Resume

LOOK_S = 0.5
"""How often the processes are asked for the epochs that they have done."""
_epochs: Any
"""In a process that trains: where it tells of its epochs."""


def fit_all(root: Path, params: TrainParams, splits: dict[str, Dataset], device: torch.device, group: Team,
            resumes: list[Resume]) -> list[Fitted]:
    """Train every network of `params.networks()`, each with the state that it goes on from; the same order."""
    networks = [one for _, one in params.networks()]
    if len(networks) == 1 or device.type != "cpu" or group.processes > 1:
        result = []
        for number, (one, resume) in enumerate(zip(networks, resumes, strict=True)):
            if len(networks) > 1 and group.leads:
                say(f"train: network {number + 1} of {len(networks)}, {params.networks()[number][0]}")
            result.append(fit(one, splits, device, group, resume))
        return result
    workers = min(len(networks), torch.get_num_threads(), available_cores())
    say(f"train: {len(networks)} networks, {workers} at a time")
    with Progress("train", sum(one.epochs for one in networks), "epochs") as progress:
        if workers > 1:
            return _in_processes(root, params, workers, resumes, progress)
        result = []
        with one_thread():
            for number, (one, resume) in enumerate(zip(networks, resumes, strict=True)):
                with watched(_Told(progress.advance)):
                    result.append(_said(params, number, fit(one, splits, device, group, resume, quiet=True)))
        return result


def _in_processes(root: Path, params: TrainParams, workers: int, resumes: list[Resume],
                  progress: Progress) -> list[Fitted]:
    networks = [one for _, one in params.networks()]
    done: dict[int, Fitted] = {}
    context = multiprocessing.get_context("spawn")
    epochs = context.SimpleQueue()
    try:
        with ProcessPoolExecutor(workers, context, _begin, (os.getpid(), epochs)) as pool:
            running = {pool.submit(_alone, root, params, number, resume): number
                       for number, resume in enumerate(resumes)}
            waiting = set(running)
            try:
                while waiting:
                    ended, waiting = wait(waiting, LOOK_S, FIRST_COMPLETED)
                    while not epochs.empty():
                        progress.advance(epochs.get())
                    for future in ended:
                        number = running[future]
                        done[number] = _said(params, number, future.result().unpacked(networks[number]))
            except Exception:
                pool.shutdown(wait=False, cancel_futures=True)  # of networks that have not begun
                raise
    except BrokenProcessPool:
        raise UserError("a process that trained a network was killed, by the system for want of memory perhaps; run "
                        "again with OMP_NUM_THREADS=1, which trains one after the other and goes on where this one "
                        "stopped") from None
    return [done[number] for number in range(len(networks))]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and every other library, and afterwards as many as before."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Packed:
    """A trained network on its way between two processes."""

    weights: bytes
    text_dim: int
    mean: float
    std: float
    history: list[dict[str, float]]

    def unpacked(self, params: TrainParams) -> Fitted:
        net = MultimodalNet(params, self.text_dim)
        net.load_state_dict(from_bytes(self.weights))
        return Fitted(net, self.mean, self.std, self.history)


def _alone(root: Path, params: TrainParams, number: int, resume: Resume) -> _Packed:
    """One network, in this process."""
    deterministic()
    splits = load_splits(root, params)
    with one_thread(), watched(_Told(_epochs.put)):
        fitted = fit(params.networks()[number][1], splits, torch.device("cpu"), resume=resume, quiet=True)
    weights = {name: tensor.contiguous() for name, tensor in fitted.net.state_dict().items()}
    return _Packed(to_bytes(weights), splits["train"].text_dim, fitted.mean, fitted.std, fitted.history)


class _Told:
    """Hands on how many more epochs of one network are done."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._told = advance, 0

    def __call__(self, done: int, _total: int) -> None:
        self._advance(done - self._told)
        self._told = done


def _begin(parent: int, epochs: Any) -> None:
    """End with the process that asked for this one, even if that is killed: its next run trains the same network."""
    global _epochs
    _epochs = epochs

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _said(params: TrainParams, number: int, fitted: Fitted) -> Fitted:
    kind, errors = params.networks()[number][0], [epoch["validation_mae_fused"] for epoch in fitted.history]
    say(f"train: network {number + 1}, {kind}: best epoch {errors.index(min(errors)) + 1} of {len(errors)}, "
        f"validation MAE {min(errors):.4f}")
    return fitted
