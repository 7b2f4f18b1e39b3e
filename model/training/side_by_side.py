"""The members of a model, trained side by side on a CPU: each in a process of its own, with one thread.

Two processes of one thread are done sooner than one of two threads, and a network's bytes, which depend on the number
of threads, are then the same on any number of cores. On a GPU, and shared between processes, networks are trained one
after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from features.errors import UserError
from features.processes import available_cores, fork_server, ready
from features.progress import Progress, say, watched
from model.forward import load_splits
from model.input.loader import Dataset
from model.nets.network import MultimodalNet
from model.nets.trees import TextTrees
from model.params import TrainParams, TreesParams
from model.threads import one_thread
from model.training.fit import Fitted, deterministic, fit
from model.training.parallel import Team
from model.training.resume import Resume
from model.training.trees import Facts, grow

LOOK_S = 0.5
"""How often the processes are asked for the epochs that they have done."""
_epochs: Any
"""In a process that trains: where it tells of its epochs."""


def fit_all(root: Path, params: TrainParams, splits: dict[str, Dataset], device: torch.device, group: Team,
            resumes: list[Resume], facts: Facts | None = None) -> tuple[list[Fitted], list[Fitted]]:
    """Train every network of `params.networks()`, each with the state that it goes on from, and grow the trees.

    Args:
        root, params, splits, device, group: as for one network.
        resumes: of each network.
        facts: what the trees are told; None where `params.members` asks for none.

    Returns:
        networks: in the order of `params.networks()`.
        trees: as many as there should be.
    """
    growing = [functools.partial(grow, params.trees, facts, params.seed + number)
               for number in range(params.members.trees)] if facts else []
    networks = [one for _, one in params.networks()]
    if len(networks) == 1 or device.type != "cpu" or group.processes > 1:
        result = []
        for number, (one, resume) in enumerate(zip(networks, resumes, strict=True)):
            if len(networks) > 1 and group.leads:
                say(f"train: network {number + 1} of {len(networks)}, {params.networks()[number][0]}")
            result.append(fit(one, splits, device, group, resume))
        return result, [trees() for trees in growing]
    workers = at_once(len(networks), min(torch.get_num_threads(), available_cores()))
    say(f"train: {len(networks)} networks, {workers} at a time")
    with Progress("train", sum(one.epochs for one in networks), "epochs") as progress:
        if workers > 1:
            return _in_processes(root, params, workers, resumes, growing, progress)
        result = []
        with one_thread():
            for number, (one, resume) in enumerate(zip(networks, resumes, strict=True)):
                with watched(told := _Told(progress.advance)):
                    result.append(_said(params, number, fit(one, splits, device, group, resume, quiet=True)))
                told(one.epochs, one.epochs)  # those that it did without
            return result, [trees() for trees in growing]


def at_once(networks: int, cores: int) -> int:
    """How many processes train so many networks on so many cores soonest, if all take the same time.

    More processes than cores share them: of five networks on two cores, three at a time and then two leave no core
    idle, where two, two and one would. Less than twice as many as cores, since each has its memory.
    """
    if cores == 1 or networks <= cores:
        return min(networks, cores)

    def time(processes: int) -> float:
        rounds, rest = divmod(networks, processes)
        return rounds * processes / cores + (max(1.0, rest / cores) if rest else 0.0)

    return min(range(cores, min(2 * cores, networks + 1)), key=time)  # of those that are as good, the fewest


def _in_processes(root: Path, params: TrainParams, workers: int, resumes: list[Resume],
                  growing: Sequence[Callable[[], Fitted]], progress: Progress) -> tuple[list[Fitted], list[Fitted]]:
    from pebble import ProcessExpired, ProcessPool

    networks = [one for _, one in params.networks()]
    done: dict[int, Fitted] = {}
    told = [0] * len(networks)
    context = fork_server(["model.training.side_by_side"])
    epochs = context.SimpleQueue()
    pool = ProcessPool(max_workers=workers, context=context, initializer=_begin, initargs=[epochs])
    try:
        # those of text first: the others, which come later, find compiled what the first of them had to compile
        running = {pool.schedule(_alone, args=[root, params, number, resumes[number]]): number
                   for number in reversed(range(len(resumes)))}
        # the trees come last, since they are soon done: they fill the time in which a core has no network left
        grown = [pool.schedule(_grown_alone, args=[trees]) for trees in growing]
        waiting = set(running)
        while waiting:
            ended, waiting = wait(waiting, LOOK_S, FIRST_COMPLETED)
            while not epochs.empty():
                number, more = epochs.get()
                told[number] += more
                progress.advance(more)
            for future in ended:
                number = running[future]
                done[number] = _said(params, number, future.result().unpacked(networks[number]))
                progress.advance(networks[number].epochs - told[number])  # those that it did without
        trees = [one.result().unpacked(params.trees) for one in grown]
    except ProcessExpired:
        raise UserError("a process that trained a network was killed, by the system for want of memory perhaps; run "
                        "again with OMP_NUM_THREADS=1, which trains one after the other and goes on where this one "
                        "stopped") from None
    finally:
        pool.stop()  # at once, whatever they do: a network that was begun goes on where it saved its state
        pool.join()
    return [done[number] for number in range(len(networks))], trees


@dataclass(frozen=True)
class _Packed:
    """A trained network, or trees, on the way between two processes."""

    weights: bytes
    text_dim: int
    mean: float
    std: float
    history: list[dict[str, float]]

    @classmethod
    def of(cls, fitted: Fitted, text_dim: int) -> Self:
        weights = {name: tensor.contiguous() for name, tensor in fitted.net.state_dict().items()}
        return cls(to_bytes(weights), text_dim, fitted.mean, fitted.std, fitted.history)

    def unpacked(self, params: TrainParams | TreesParams) -> Fitted:
        net = TextTrees(params) if isinstance(params, TreesParams) else MultimodalNet(params, self.text_dim)
        net.load_state_dict(from_bytes(self.weights))
        return Fitted(net, self.mean, self.std, self.history)


def _alone(root: Path, params: TrainParams, number: int, resume: Resume) -> _Packed:
    """One network, in this process."""
    deterministic()
    splits = load_splits(root, params)
    with one_thread(), watched(_Told(lambda more: _epochs.put((number, more)))):
        fitted = fit(params.networks()[number][1], splits, torch.device("cpu"), resume=resume, quiet=True)
    return _Packed.of(fitted, splits["train"].text_dim)


def _grown_alone(trees: Callable[[], Fitted]) -> _Packed:
    """Some trees, in this process."""
    with one_thread():
        return _Packed.of(trees(), 0)


class _Told:
    """Hands on how many more epochs of one network are done."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._told = advance, 0

    def __call__(self, done: int, _total: int) -> None:
        self._advance(done - self._told)
        self._told = done


def _begin(epochs: Any) -> None:
    global _epochs
    _epochs = epochs
    ready(())


def _said(params: TrainParams, number: int, fitted: Fitted) -> Fitted:
    kind, errors = params.networks()[number][0], [epoch["validation_mae_fused"] for epoch in fitted.history]
    say(f"train: network {number + 1}, {kind}: best epoch {errors.index(min(errors)) + 1} of {len(errors)}, "
        f"validation MAE {min(errors):.4f}")
    return fitted
