"""What the harness found: counts for the bar, and each failure with the command that repeats it alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """Counts of one part, by name, and what failed."""

    part: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Case and what went wrong with it."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and no failure."""
    seconds: float = 0.0
    cpu: float = 0.0

    def failed(self, kind: str, case: str, why: str) -> None:
        """Count a failure of a kind."""
        self.counts[kind] += 1
        self.failures.append((case, f"{kind}: {why}"))

    def line(self) -> str:
        """The part's numbers in one line."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        return f"{self.part}: {counts}  ({self.seconds:.0f} s, of CPU {self.cpu:.0f} s)"


SHOWN = 25
"""Failures of a part that are listed one by one."""


def show(reports: list[Report]) -> int:
    """Print it all; the exit code."""
    for report in reports:
        for note in report.notes:
            print(f"{report.part}: {note}")
    for report in reports:
        for case, why in report.failures[:SHOWN]:
            print(f"FAILED python -m tests.faults {report.part} --case '{case}'\n       {why}")
        if len(report.failures) > SHOWN:
            print(f"       … and {len(report.failures) - SHOWN:,} more in {report.part}")
    print()
    for report in reports:
        print(report.line())
    return int(any(report.failures for report in reports))
