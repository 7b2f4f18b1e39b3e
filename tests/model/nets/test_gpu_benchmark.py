"""`python -m benchmarks.gpu` on a CPU: that every part runs and says what it is for, not how fast."""

from pathlib import Path

import pytest
import torch

from benchmarks import figures, sheet
from benchmarks.gpu import structure, text, training
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.report import Report


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("no GPU")


def test_the_same_code_on_a_cpu(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    """But for chgnet, whose vectors the small project has not, and torch.compile, which calls a C++ compiler."""
    monkeypatch.setattr(structure, "COMPARED", 4)
    monkeypatch.setattr(text, "COMPARED", 1)
    monkeypatch.setattr(training, "UNCOUNTED", 0)
    table = tmp_path / "figures.csv"
    monkeypatch.setenv(figures.TABLE, str(table))
    given = f"--root {project} --device cpu --no-compile --batch 4 --batches 1 --texts 2"
    assert main(given.split()) == 0, capsys.readouterr().out
    rows = sheet.read(table)
    told = {tuple(row["what"].split(": ")) for row in rows.values()}
    told |= {(subject, what.split(",")[0]) for subject, what in told}
    for name in ("crystalformer", "comformer", "cgcnn"):
        assert {(name, f"{precision} {what}") for precision in ("float32", "bfloat16")
                for what in ("tokens", "gradients")} <= told
        assert {(f"{name}, step of 4", part) for part in ("loading", "transfer", "forward", "backward", "optimiser")} \
            <= told
    assert {("text encoder", "float32 vectors"), ("text encoder", "bfloat16 vectors"),
            ("loader.bucket 16", "padding of atoms"), ("loader.bucket 16", "whole steps")} <= told
    attention = rows["gpu_code_on_cpu.crystalformer_float32_tokens_relative_difference_from_the_cpu"]
    assert float(attention["value"]) > 0  # torch operations beside compiled code, not itself
    assert all(float(row["value"]) > 0 for row in rows.values() if row["unit"].endswith("/s"))


def test_what_fails_or_differs_is_told_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(torch.device("cpu"), float("inf"))

    def broken(_report: Report, divisor: int) -> None:
        report.add("first", "difference", 0.5, most=0.1)
        report.add("second", "rate", 1 / divisor, "a second")

    report.part("halves", broken, 0)
    report.part("whole", broken, 1)
    assert report.conclude() == 1
    assert [figure.what for figure in report.figures] == ["first: difference", "first: difference", "second: rate"]
    assert report.wrong == ["first: difference", "halves", "first: difference"]
    said = capsys.readouterr()
    assert "halves: FAILED" in said.out
    assert "ZeroDivisionError" in said.err
