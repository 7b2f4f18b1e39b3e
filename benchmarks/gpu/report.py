"""Figures as they come, and all of them in a table."""

from __future__ import annotations

import os
import platform
import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import figures
from benchmarks.figures import Figure


class Report:
    """What was measured, on one device, until a moment of `time.monotonic` after which no part begins."""

    def __init__(self, device: torch.device, until: float) -> None:
        self.device = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
        self.kind = "gpu" if device.type == "cuda" else "gpu_code_on_cpu"
        self.begun, self.until = time.monotonic(), until
        self.figures: list[Figure] = []
        self.wrong: list[str] = []
        self.skipped: list[str] = []
        print(f"{self.device}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)

    def add(self, subject: str, what: str, value: float, unit: str = "", most: float | None = None) -> None:
        """Print a figure and keep it."""
        key = re.sub(r"[^a-z0-9]+", "_", f"{subject} {what}".lower()).strip("_")
        figure = Figure(f"{subject}: {what}", value, unit, most, key=f"{self.kind}.{key}",
                        note=f"{self.device}, torch {torch.__version__}")
        if not figure.is_met:
            self.wrong.append(figure.what)
        print(f"{time.monotonic() - self.begun:6.1f} s  {figure}", flush=True)
        self.figures.append(figure)

    def part(self, name: str, measure: Callable[..., None], *arguments: Any) -> None:
        """Measure a part, which gets this report and the arguments.

        What goes wrong in it is told, and does not take the others' figures away. Its figures are kept at once where a
        table is asked for.
        """
        if time.monotonic() > self.until:
            print(f"        {name}: left out, for want of time", flush=True)
            self.skipped.append(name)
            return
        before = len(self.figures)
        try:
            measure(self, *arguments)
        except Exception:
            traceback.print_exc()
            print(f"        {name}: FAILED", flush=True)
            self.wrong.append(name)
        if os.environ.get(figures.TABLE):
            figures.keep(Path(os.environ[figures.TABLE]), self.figures[before:])

    def conclude(self) -> int:
        """Say what was wrong; returns the exit code."""
        seconds = time.monotonic() - self.begun
        print(f"{len(self.figures)} figures in {seconds:.0f} s; {len(self.skipped)} parts left out; "
              f"{len(self.wrong)} wrong{': ' * bool(self.wrong)}{'; '.join(self.wrong)}")
        return int(bool(self.wrong))
