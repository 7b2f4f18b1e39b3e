"""What is said while something runs, where there is no terminal."""

import pytest

from features import progress
from features.progress import Progress, watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_first_lines_come_soon_and_later_ones_seldom(clock: list[float],
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("describe", 60) as shown:
        assert capsys.readouterr().err == "describe: 60 rows to do\n"
        told = []
        for second in range(1, 61):
            clock[0] = 100.0 + second
            shown.advance(1)
            if line := capsys.readouterr().err:
                told.append(second)
                assert line == f"describe: {second} of 60 rows, about {60 - second} s left\n"
    assert told == [2, 4, 8, 16, 31, 46]


def test_a_quiet_one_says_nothing_and_tells_its_watcher(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    outer: list[tuple[int, int]] = []
    with (watched(lambda done, total: outer.append((done, total))),
          Progress("train", 4, "epochs", quiet=True) as whole,
          watched(lambda done, _total: whole.advance(done - whole.done)), Progress("one", 2, quiet=True) as one):
        for _ in range(2):
            clock[0] += 5
            one.advance(1)
    assert outer == [(1, 4), (2, 4)]
    assert capsys.readouterr().err == ""
