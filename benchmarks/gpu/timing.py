"""Seconds of what runs on a device, which the host does not wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor


def wait(device: torch.device) -> None:
    """Until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, steps: Iterable[Callable[[], object]], rounds: int = 3) -> float:
    """Of all steps, one behind the other: the median of several rounds after one that is not counted."""
    ways, taken = list(steps), []
    for _ in range(1 + rounds):
        wait(device)
        begun = time.perf_counter()
        for way in ways:
            way()
        wait(device)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken[1:]))


def apart(measured: Tensor, expected: Tensor) -> float:
    """The length of the difference as a share of that of what is expected."""
    measured, expected = (tensor.detach().double().cpu() for tensor in (measured, expected))
    return float((measured - expected).norm() / expected.norm())
