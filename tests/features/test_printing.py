"""Tables for people, on a terminal and elsewhere."""

import contextlib
import io
from collections.abc import Sequence

import pytest

from features.printing import print_table

NAMES = ("formula", "k_vrh", "note")
ROWS = [("Cu", 137.5, "a [bold]metal[/bold]"), ("NaCl", 24.04, None), ("Si", 1234567.891, "")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, and no bold either


def on_a_terminal(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    with contextlib.redirect_stdout(Terminal()) as stream:
        print_table(names, rows)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_plain_lines_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(NAMES, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "formula      k_vrh  note",
        "Cu           137.5  a [bold]metal[/bold]",
        "NaCl         24.04  null",
        "Si       1234567.9",
    ]


def test_nothing_is_cut_off_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("text", "vector"), [("word " * 500 + "end", [0.5] * 384)])
    _, line = capsys.readouterr().out.splitlines()
    assert line == "word " * 500 + "end  [" + ", ".join(["0.5"] * 384) + "]"


def test_texts_that_look_like_numbers_are_numbers_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("rows", "version"), [("1,181", "1"), ("", "10")])
    assert capsys.readouterr().out.splitlines() == [" rows  version", "1,181        1", "            10"]
    print_table(("version",), [("1",)], numbers=[False])
    assert capsys.readouterr().out.splitlines() == ["version", "1"]


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(NAMES, [])
    assert capsys.readouterr().out == "formula  k_vrh  note\n"


def test_a_row_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("cif",), [("data_Si\n_cell\t1",)])
    assert capsys.readouterr().out == "cif\ndata_Si _cell 1\n"


def test_a_terminal_gets_a_table_that_fits() -> None:
    lines = on_a_terminal((*NAMES, "text"), [(*row, "a long description " * 8) for row in ROWS])
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["formula", "k_vrh", "note", "text"]
    (copper,) = [line for line in lines if line.startswith("Cu")]
    assert copper.index("137.5") + len("137.5") == lines[0].index("k_vrh") + len("k_vrh")
    assert "[bold]" in "".join(lines)  # what looks like markup is shown
    assert "".join(lines).count("descript") == 24


def test_a_result_of_many_columns_is_one_line_a_value() -> None:
    lines = on_a_terminal([f"column_{k}" for k in range(12)], [[f"a value {k}" for k in range(12)]] * 2)
    assert len(lines) == 2 * 13
    assert lines[0] == "row 1"
    assert lines[12] == "column_11  a value 11"


def test_a_terminal_shows_the_first_of_a_vector() -> None:
    assert on_a_terminal(("pooled",), [([0.5] * 384,)])[-1].strip() == "[0.5, 0.5, 0.5, 0.5, … 384 items]"


def test_lists_and_maps_are_whole_where_there_is_room() -> None:
    few, many = dict.fromkeys("abcdef", 1), {f"property {k}": 1 for k in range(8)}
    words = "{" + ", ".join(f"{name}: 1" for name in few) + "}"
    assert words in on_a_terminal(("id", "map"), [("a", few)])[-1]
    in_a_table = " ".join(on_a_terminal(("id", "text", "map", "more"), [("a", "word " * 30, few, many)]))
    assert words not in in_a_table  # it is folded beside the text
    assert in_a_table.count("…") == 1
    record = " ".join(" ".join(on_a_terminal([f"column_{k}" for k in range(9)], [[*"12345678", many]])).split())
    assert "property 7: 1}" in record


def test_names_of_columns_stay_in_one_piece() -> None:
    name = "the_largest_longitudinal_modulus"
    assert on_a_terminal((name, f"{name}_2"), [(1, "text " * 30)])[0].split() == [name, f"{name}_2"]
    assert on_a_terminal((name, f"{name}_2", f"{name}_3"), [(1, 2, 3)])[0] == "row 1"
