"""Nothing that a file says does anything to a terminal, or to a spreadsheet."""

from __future__ import annotations

import errno

import pytest

from features.errors import UserError, run_cli
from features.printing import print_table
from features.progress import say
from features.terminal import no_formula, printable

EVIL = "\x1b]0;title\x07 \x9b2J\x7f\u202emoc.elif\u2066\udcff"


def test_controls_are_hidden_and_letters_stay() -> None:
    assert printable("Å é 東 \t\n") == "Å é 東 \t\n"
    assert printable(EVIL) == "�]0;title� �2J��moc.elif��"


def stopped(raised: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    def fails() -> None:
        raise raised

    with pytest.raises(SystemExit) as end:
        run_cli(fails)
    return end.value.code, capsys.readouterr().err


def test_every_way_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    print_table([EVIL], [[EVIL]])
    assert stopped(UserError(EVIL + "x" * 5000), capsys)[0] == 2
    say(EVIL)
    print_table([EVIL], [[[EVIL]]])
    stopped(UserError(EVIL), capsys)
    captured = capsys.readouterr()
    assert not any(sign in captured.out + captured.err for sign in "\x1b\x07\x9b\x7f\u202e\u2066\udcff")


@pytest.mark.parametrize(("number", "message"), [
    (errno.ENOSPC, "free the space"),
    (errno.EROFS, "make it writable or work in another folder"),
    (errno.EACCES, "change whose it is or who may read and write it"),
    (errno.EMFILE, "ulimit -n"),
    (errno.EIO, "the disk or network does not read or write"),
    *((number, "") for number in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR)),
])
def test_an_error_of_the_system_is_one_line(number: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = stopped(OSError(number, "strerror", "a\x1bfile"), capsys)
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "a�file" in said
    assert message in said
    assert ("free the space" in said) == (number == errno.ENOSPC)


def test_ctrl_c_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(KeyboardInterrupt(), capsys) == (130, "")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1"])
def test_a_cell_that_a_spreadsheet_would_compute(cell: str) -> None:
    assert no_formula(cell) == f"'{cell}"


def test_other_cells_stay() -> None:
    kept: list[object] = ["-", "NaCl", "a=b", "", -1.5, None]
    assert [no_formula(cell) for cell in kept] == kept
