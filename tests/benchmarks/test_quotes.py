"""docs/benchmarks.csv, and the pages that quote it."""

from pathlib import Path

import pytest

from benchmarks import figures, quotes, sheet
from benchmarks.figures import Figure, show
from features.errors import UserError

PROJECT = Path(__file__).parents[2]
ROW = {"key": "a.b", "what": "one", "value": "1234.5", "unit": "times", "bound": "at least 3", "note": "of 2",
       "command": "python -m benchmarks.a", "machine": "a machine", "date": "2026-01-01"}


def test_pages_say_what_the_table_says() -> None:
    rows = sheet.read(PROJECT / quotes.SHEET)
    for page in quotes.pages(PROJECT):
        text = page.read_text(encoding="utf-8")
        assert quotes.quoted(text, rows, page.name) == text, f"{page.name}: run `python -m benchmarks --quote`"


def test_only_what_stands_between_the_marks_is_written() -> None:
    text = "It is <!-- figure a.b -->9<!-- / --> or <!-- figure a.b .1f --><!-- / --> times.\n"
    said = quotes.quoted(text, {"a.b": ROW}, "a page")
    assert said == "It is <!-- figure a.b -->1,230<!-- / --> or <!-- figure a.b .1f -->1234.5<!-- / --> times.\n"
    assert quotes.quoted(said, {"a.b": ROW}, "a page") == said
    whole = quotes.quoted("<!-- figures -->\nold\n<!-- figures: end -->", {"a.b": ROW}, "a page")
    assert "| one (of 2) | 1,230 times | at least 3 | `python -m benchmarks.a` | 2026-01-01 |" in whole
    assert "On a machine." in whole
    assert "old" not in whole
    with pytest.raises(UserError, match=r"a page quotes a\.c, which is not in docs/benchmarks\.csv"):
        quotes.quoted("<!-- figure a.c -->1<!-- / -->", {"a.b": ROW}, "a page")
    with pytest.raises(UserError, match=r"in the format zz"):
        quotes.quoted("<!-- figure a.b zz -->1<!-- / -->", {"a.b": ROW}, "a page")


@pytest.mark.parametrize("text", [
    "It is <!-- figure a.b -->9 times.\n\nA paragraph.\n\nOr <!-- figure a.b -->9<!-- / --> times.",
    "It is <!--figure a.b-->9<!-- / --> times.",
    "It is 9<!-- / --> times.",
    "<!-- figures -->\n\nA paragraph.",
    "<!-- figures -->\n\nIt is <!-- figure a.b -->9<!-- / -->.\n\n<!-- figures: end -->"])
def test_a_mark_without_its_other_half_takes_nothing_away(text: str) -> None:
    with pytest.raises(UserError, match=r"a page has \d marks of figures, of which \d are whole"):
        quotes.quoted(text, {"a.b": ROW}, "a page")


def test_commands_can_be_typed() -> None:
    words = ["/bin/python", "-X", "importtime", "-m", "benchmarks.a", "--root=/home/me/x", "--at", "1/2", "a b", "/"]
    assert sheet.command(words) == "python -m benchmarks.a --root=x --at 1/2 'a b' /"


def test_a_benchmark_replaces_its_own_figures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "benchmarks.csv"
    shown = [Figure("one", 2, "times", least=3, key="a.b"), Figure("two", 1 / 3, "s", most=1, key="a.c", note="a, b"),
             Figure("three", 1, "")]
    assert show("a title", shown) == 1
    assert not table.exists()
    monkeypatch.setenv(figures.TABLE, str(table))
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python", "-u", "-m", "benchmarks.a", "--table", "/home/x.parquet"])
    assert show("a title", shown) == 1
    assert show("another", [Figure("two", 5, "s", key="a.c")]) == 0
    rows = sheet.read(table)
    assert {key: row["value"] for key, row in rows.items()} == {"a.b": "2", "a.c": "5"}
    assert rows["a.b"]["command"] == "python -m benchmarks.a --table x.parquet"
    assert rows["a.b"]["bound"] == "at least 3"
    assert "NOT MET" in capsys.readouterr().out
    with pytest.raises(ValueError, match="two figures"):
        show("twice", [Figure("one", 2, "s", key="a.d"), Figure("two", 3, "s", key="a.d")])
    assert sheet.read(table) == rows
    table.write_text("key\na\n")
    with pytest.raises(UserError, match="is no table of figures"):
        sheet.read(table)
