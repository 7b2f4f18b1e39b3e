"""Data-parallel training: `torchrun --nproc-per-node N -m model train`, over gloo on CPUs and nccl on GPUs.

Every process makes the same plan of batches and takes its share of each; gradients are summed before a step. Masks
follow from a crystal's place in the data set (`model.nets.network.draw_hidden`) and losses are divided by the counts
of the whole batch, so that the curve is that of one process, to rounding. What an encoder counts over its batch alone
(batch normalisation) it counts over its share, as is usual. All processes read the project's folder: several machines
need a disk that they share. `torchrun` goes past DVC, which trains again when it next runs the stage.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Team:
    """The processes of one run. One process alone is a team, too."""

    rank: int = 0
    processes: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def sum_gradients(self, net: nn.Module) -> None:
        """Replace each gradient by its sum over the team; a weight that nobody used keeps none."""
        if self.processes == 1:
            return
        weights = list(net.parameters())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
        used = torch.tensor([float(p.grad is not None) for p in weights], device=weights[0].device)
        self._reduce([*gradients, used], 1.0)
        for weight, gradient, users in zip(weights, gradients, used.tolist(), strict=True):
            weight.grad = gradient if users else None

    def mean_buffers(self, net: nn.Module) -> None:
        """Replace running statistics by their mean over the team."""
        buffers = [b for b in net.buffers() if b.is_floating_point()]
        if self.processes > 1 and buffers:
            self._reduce(buffers, 1.0 / self.processes)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the team."""
        if self.processes > 1:
            dist.all_reduce(values)
        return values

    def agreed(self, wish: bool) -> bool:
        """The leader's decision, on every process."""
        if self.processes == 1:
            return wish
        flag = torch.tensor([float(wish)], device=self.device)
        dist.broadcast(flag, 0)
        return bool(flag.item())

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, in the order of ranks. Values are the team's own, so that pickle is safe here."""
        if self.processes == 1:
            return [value]
        values: list[Any] = [None] * self.processes
        dist.all_gather_object(values, value)
        return values

    @staticmethod
    def _reduce(tensors: list[Tensor], factor: float) -> None:
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor) * factor)


ALONE = Team()


@contextlib.contextmanager
def team(device: str) -> Iterator[tuple[Team, str]]:
    """The team that torchrun has started, and this process's device; outside torchrun a team of one."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        yield Team(), device
        return
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Team(dist.get_rank(), processes, device), device
    finally:
        dist.destroy_process_group()
