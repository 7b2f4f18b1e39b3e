"""Figures as they come, and all of them in a file."""

from __future__ import annotations

import csv
import json
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    subject: str
    figure: str
    value: float
    unit: str
    most: float | None
    """The bound that it may not pass, where there is one."""
    device: str
    torch: str


class Report:
    """What was measured, on one device, until a moment of `time.monotonic` after which no part begins."""

    def __init__(self, device: torch.device, until: float) -> None:
        self.device = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
        self.begun, self.until = time.monotonic(), until
        self.figures: list[Figure] = []
        self.wrong: list[str] = []
        self.skipped: list[str] = []
        print(f"{self.device}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)

    def add(self, subject: str, figure: str, value: float, unit: str = "", most: float | None = None) -> None:
        """Print a figure and keep it."""
        bound = ""
        if most is not None:
            good = value <= most
            bound = f" (at most {most:g}: {'ok' if good else 'NOT OK'})"
            if not good:
                self.wrong.append(f"{subject}, {figure}")
        print(f"{time.monotonic() - self.begun:6.1f} s  {subject}: {figure} {value:.4g}{' ' * bool(unit)}{unit}{bound}",
              flush=True)
        self.figures.append(Figure(subject, figure, value, unit, most, self.device, torch.__version__))

    def part(self, name: str, measure: Callable[..., None], *arguments: Any) -> None:
        """Measure a part, which gets this report and the arguments.

        What goes wrong in it is told, and does not take the others' figures away.
        """
        if time.monotonic() > self.until:
            print(f"        {name}: left out, for want of time", flush=True)
            self.skipped.append(name)
            return
        try:
            measure(self, *arguments)
        except Exception:
            traceback.print_exc()
            print(f"        {name}: FAILED", flush=True)
            self.wrong.append(name)

    def write(self, path: Path) -> None:
        """All figures as JSON or, by the file's name, as CSV."""
        rows = [asdict(figure) for figure in self.figures]
        if path.suffix == ".json":
            told = {"figures": rows, "wrong": self.wrong, "skipped": self.skipped}
            path.write_text(json.dumps(told, indent=1) + "\n")
            return
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Figure)])
            writer.writeheader()
            writer.writerows(rows)

    def conclude(self) -> int:
        """Say what was wrong; returns the exit code."""
        seconds = time.monotonic() - self.begun
        print(f"{len(self.figures)} figures in {seconds:.0f} s; {len(self.skipped)} parts left out; "
              f"{len(self.wrong)} wrong{': ' * bool(self.wrong)}{'; '.join(self.wrong)}")
        return int(bool(self.wrong))
