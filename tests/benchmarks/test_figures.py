"""What a benchmark prints of its figures, and its exit code."""

import pytest

from benchmarks.figures import Figure, show


def test_a_bound_that_is_not_met_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    slow = Figure("similar", 0.7, "s", most=0.5)
    assert not slow.is_met
    assert str(slow).split() == ["similar", "0.7", "s", "at", "most", "0.5:", "NOT", "MET"]
    fast = Figure("publish", 50, "MB/s", least=50)
    assert fast.is_met
    assert show("20 crystals", [slow, fast]) == 1
    assert show("20 crystals", [fast, Figure("rows", 20, "")]) == 0
    assert capsys.readouterr().out.count("20 crystals") == 2
