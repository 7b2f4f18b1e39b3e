"""What a run of the harness was asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

PARTS = ("kills", "damage", "inputs", "resources", "readers")
SHARES = {"kills": 0.43, "damage": 0.16, "inputs": 0.08, "resources": 0.13, "readers": 0.2}
"""How the time is shared out among the parts. Two idle cores need less, but for kills, which take what there is."""
LEAST_S = 20.0


@dataclass
class Settings:
    """Options of the command, and the folder that it may fill."""

    folder: Path
    seed: int = 0
    minutes: float = 25.0
    jobs: int = 2
    only: str = ""
    """One case, such as `scene:number`, or the beginning of the names of several."""
    sample: dict[str, int] = field(default_factory=dict)
    """For `make test`: section → how many cases of it."""
    patience_s: float = 300.0
    began: dict[str, float] = field(default_factory=dict)

    def wants(self, section: str) -> bool:
        """Whether cases of this section are wanted."""
        return not self.only or self.only.split(":")[0] == section

    def chosen(self, case: str) -> bool:
        """Whether a case of this name is wanted."""
        return not self.only or case == self.only or case.startswith(f"{self.only}:")

    def case(self, section: str) -> int:
        """The one case of a section that is wanted; 0: all."""
        name, _, number = self.only.partition(":")
        return int(number) if name == section and number.isdecimal() else 0

    def sampled(self, section: str | int) -> int | None:
        """How many cases of a section; None: all."""
        return self.sample.get(str(section))

    def until(self, part: str, share: float = 1.0) -> float:
        """The moment at which a share of what is left of a part's time is over; no case begins after it."""
        began = self.began.setdefault(part, time.monotonic())
        left = began + self.minutes * 60 * SHARES[part] - time.monotonic()
        return time.monotonic() + max(LEAST_S, left * share)
