"""The page about the tables, of a project that has them all: every query is answered, and a reader can use it.

It stands here for the sake of the trained project and of the browser.
"""

import base64
import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from typer.testing import CliRunner

from features import about, profiles
from features.__main__ import app
from features.page import atlas, drawing, examples, gather, write
from features.paths import Paths
from features.store import tables
from features.view import Reject
from pipelines.engine import stages
from tests.model.report.reader import VIEWS, Page

LOOKS = (Path(__file__).parent / "looks.js").read_text()
EVIL = "</script><img src=x onerror=alert(1)>'\"&<!--"
MAY_BE_EMPTY = {"Descriptions that speak of octahedra", "Prototypes and how often they occur",
                "Facts that move predictions most"}
"""Of made-up texts, which name formula and crystal system alone."""


@pytest.fixture(scope="module")
def root(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with all tables, and a reject whose words are markup."""
    root = Path(shutil.copytree(trained, tmp_path_factory.mktemp("whole") / "project"))
    stages.run("tokenize", root, "serial")
    rejected = [Reject(f"mp-0{EVIL}", "broken", EVIL)]
    with tables.Rejects(Paths(root).rejects("materials"), "materials", rejected).written():
        """They go into their place behind it."""
    profiles.write(root)
    return root


@pytest.fixture(scope="module")
def path(root: Path) -> Path:
    path = root / "tables.html"
    assert write(root, about.version(root), path, with_map=True) == len(tables.names(root)) + 1
    return path


@pytest.mark.parametrize("example", examples.all_examples(), ids=lambda example: example.title)
def test_every_example_has_the_answer_that_the_page_shows(example: examples.Example, root: Path, path: Path) -> None:
    assert example.table in example.needs
    answer = examples.answer(root, example)
    assert answer.rows or example.title in MAY_BE_EMPTY
    assert examples.answer(root, example) == answer
    assert f"<figcaption><span>{example.title}</span>" in path.read_text()


def test_the_page_says_of_each_column_what_its_table_says(root: Path, path: Path) -> None:
    shown = {table.name: table for table in gather.all_tables(root)}
    assert set(shown) == {*tables.names(root), "rejects"}
    for name in tables.names(root):
        schema = tables.schema(root, name)
        assert [column.name for column in shown[name].columns if column.name in schema.names] == schema.names
        assert all(column.description for column in shown[name].columns)
        assert shown[name].meaning
    assert shown["splits"].columns[0].rules[:2] == ["no two rows have the same material_id", "never missing"]
    assert shown["text_embeddings"].origin.upstream == ("descriptions", "paraphrases")
    assert "text_embeddings" in shown["descriptions"].downstream
    assert "splits" in shown["materials"].same_crystals
    of = shown["profiles"].origin
    assert (of.stage, {*of.upstream}) == ("publish", {*tables.names(root)} - {"profiles"})
    (hist,) = re.findall(r"<svg class=\"hist\".{0,300}Histogram of k_vrh,.*?</svg>", path.read_text(), re.DOTALL)
    row = next(row for row in profiles.read(root, "materials").to_pylist() if row["column_name"] == "k_vrh")
    assert [int(number) for number in re.findall(r"data-text=\"[^\"]*GPa: (\d+)\"", hist)] == row["counts"]


def test_it_is_one_file_that_believes_no_string_and_is_the_same_for_the_same_tables(root: Path, path: Path) -> None:
    text = path.read_text()
    assert EVIL not in text
    assert "<img" not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text
    policy = html.unescape(text.partition("<title>")[0])
    for element in ("script", "style"):
        (body,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" in policy
    write(root, about.version(root), root / "again.html", with_map=True)
    assert (root / "again.html").read_text() == text


@pytest.mark.parametrize("view", VIEWS)
def test_all_is_seen_and_can_be_read(view: str, browser: webdriver.Chrome, path: Path) -> None:
    page = Page(browser)
    page.open(path, VIEWS[view])
    seen = page.run(LOOKS, ["h1", ".graph a", "section > .facts", ".hist", ".words", ".rules", ".example pre",
                            "#t-rejects table", "#map-canvas", "input[name=theme]"])
    assert seen["problems"] == []
    assert seen["read"] > 500
    drawn = page.picture("#map-canvas")
    assert (np.abs(drawn - drawn[6, 6]).max(axis=2) > 40).mean() > 0.0005
    assert (drawn[6, 6].mean() < 70) == ("dark" in view)
    assert page.complaints() == []
    assert {address.split(":")[0] for address in page.requests()} <= {"file", "data", "about"}


def test_keys_and_pointer_ask_a_histogram_and_the_map(browser: webdriver.Chrome, root: Path, path: Path) -> None:
    page = Page(browser)
    page.open(path)
    row = next(row for row in profiles.read(root, "materials").to_pylist() if row["column_name"] == "volume")
    bars = drawing.bars(row, "Å³")
    page.run("document.querySelector('.hist[aria-label*=\"of volume\"]').focus()")
    page.keys(Keys.END, Keys.ARROW_LEFT)
    said = "return document.querySelector('.hist[aria-label*=\"of volume\"] + .range output').textContent"
    assert page.run(said) == bars[-2].text
    page.keys(Keys.HOME)
    assert page.run(said) == bars[0].text
    page.keys(Keys.ESCAPE)
    histogram = page.one(".hist[aria-label*='of volume']")
    page.point(histogram, histogram.size["width"] // 2 - 2)
    assert page.run(said) == bars[-1].text
    find = page.one("#map-find")
    page.point(find)
    find.send_keys("mp-149")
    page.run("const s = document.getElementById('map-value'); s.value = 'k_vrh'; s.dispatchEvent(new Event('change'))")
    value = tables.read(root, "materials", ["material_id", "k_vrh"], ids=["mp-149"])["k_vrh"][0].as_py()
    assert page.one("#map-said").text == f"Si (mp-149): k_vrh {value:.4g} GPa"
    assert page.complaints() == []


def test_the_map_shows_errors_of_test_crystals_and_says_where_its_colours_end(
        browser: webdriver.Chrome, root: Path, path: Path, tmp_path: Path) -> None:
    found = atlas.atlas(root)
    known = {name for name, value in zip(found["ids"], found["values"][atlas.ERROR], strict=True) if value is not None}
    said = tables.read(root, "predictions", ["material_id", "split", "value_true"]).to_pylist()
    assert known == {row["material_id"] for row in said if row["split"] == "test" and row["value_true"] is not None}
    assert 0 < len(known) < len(said)

    hundred = list(range(100))
    points = {**found, "ids": [f"m{k}" for k in hundred], "formulas": ["Si"] * 100, "x": hundred, "y": hundred,
              "values": {"k_vrh": hundred}, "units": {"k_vrh": "GPa"}}
    other = tmp_path / "many.html"
    other.write_text(re.sub(r'(id="data">).*?(</script>)', rf"\g<1>{json.dumps(points)}\g<2>", path.read_text()))
    page = Page(browser)
    page.open(other)
    assert page.one("#map-low").text == "2 and less, down to 0"
    assert page.one("#map-high").text == "97 and more, up to 99"


def test_an_example_that_the_tables_do_not_answer_is_left_out(root: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a revision that has not all of its columns."""
    asked = examples.Example("Facts", "splits", ("splits",), "select fact from splits")
    monkeypatch.setattr(examples, "all_examples", lambda: [asked])
    write(root, about.version(root), tmp_path / "page.html")
    assert ('<p class="note">Left out, since these tables do not answer it: Facts (SQL: Binder Error: '
            'Referenced column "fact" not found') in html.unescape((tmp_path / "page.html").read_text())


def test_the_command_writes_it_whole_or_not_at_all(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["page", "--out", str(out), "--root", str(root)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "<h1>What the tables hold</h1>" in out.read_text()
    assert "map-canvas" not in out.read_text().split("<script>")[0]
    empty = CliRunner().invoke(app, ["page", "--out", str(tmp_path / "no.html"), "--root", str(tmp_path)])
    assert str(empty.exception).startswith("there are no tables under")
    assert not (tmp_path / "no.html").exists()


def test_a_graph_has_each_table_right_of_what_it_is_made_from() -> None:
    upstream = {"materials": (), "descriptions": ("materials",), "text_embeddings": ("descriptions", "materials")}
    drawn = drawing.graph(upstream)
    places = {node.name: node.x for node in drawn.nodes}
    assert places["materials"] < places["descriptions"] < places["text_embeddings"]
    assert [edge[:2] for edge in drawn.edges] == [("materials", "descriptions"), ("descriptions", "text_embeddings")]
    assert gather.in_order({"a": ("b",), "b": ("c",), "c": (), "d": ("d",)}) == ["c", "b", "a", "d"]


@pytest.mark.parametrize(("low", "high", "words"), [
    (0.5, 1.5, "1 atoms"), (-0.5, 3.5, "0 to 3 atoms"), (-1.25, 2e7, "−1.25 to 2.000e+07 atoms"),
    (0.5, 1.0, "0.5 to 1 atoms")])
def test_bins_in_words(low: float, high: float, words: str) -> None:
    assert drawing.span(low, high, "atoms") == words
