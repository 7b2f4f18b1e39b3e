"""A page is one file that asks nobody, believes no string, and is the same for the same data."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from model.records import Card, Method
from model.report import elements, page, pages, plots
from tests.model.report.example import METHODS, run_page

VENDORED = {
    "3Dmol-min.js": "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016",
    "3Dmol-LICENSE.txt": "4c6eaaed856f3f28a3b1a98e74f4a8a71618de7d51ea4155c29f6f793bcef861",
}
EVIL = "</script><img src=x onerror=alert(1)>'\"&<!--"


def hashes(text: str, element: str) -> list[str]:
    bodies = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies]


@pytest.fixture(scope="module", params=["cards", "run"])
def drawn(request: pytest.FixtureRequest, cards: list[Card], tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("drawn") / "page.html"
    if request.param == "run":
        run_page(path)
    else:
        pages.write_cards(path, "k_vrh", "GPa", "log10(GPa)", cards, METHODS)
    return path.read_text()


def test_a_page_holds_all_that_it_needs(drawn: str) -> None:
    """No element fetches anything, and the policy lets exactly the scripts and styles run that stand in the page."""
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", drawn, flags=re.DOTALL)
    assert set(re.findall(r'\b(?:src|href|xlink:href|action|data)="([^#"][^"]*)"', markup)) == {"data:,"}
    assert "@import" not in drawn
    assert not re.search(r'\s(?:style|on[a-z]+)="', markup)  # the policy would stop them
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', drawn)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";"))
    assert rules.pop("script-src").split() == hashes(drawn, "script")
    assert rules.pop("style-src").split() == hashes(drawn, "style")
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def test_the_same_data_are_the_same_bytes(cards: list[Card], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_page(tmp_path / f"{name}-run.html")
        pages.write_cards(tmp_path / f"{name}-cards.html", "k_vrh", "GPa", "log10(GPa)", cards, METHODS)
    for kind in ("run", "cards"):
        assert (tmp_path / f"one-{kind}.html").read_bytes() == (tmp_path / f"two-{kind}.html").read_bytes()


def test_what_comes_from_files_is_never_markup(cards: list[Card], tmp_path: Path) -> None:
    card = cards[0]
    near = replace(card.predicted.near_by_structure[0], material_id=EVIL, formula=EVIL, space_group=EVIL)
    bad = replace(card, predicted=replace(
        card.predicted, name=EVIL, formula=EVIL, space_group=EVIL, warnings=(EVIL,), text=EVIL, flags={EVIL: EVIL},
        trained_on=EVIL, near_by_structure=(near,), near_by_text=(near,)))
    pages.write_cards(tmp_path / "cards.html", EVIL, EVIL, EVIL, [bad], [Method(EVIL, EVIL, None, EVIL)])
    run_page(tmp_path / "run.html", name=EVIL)
    for kind in ("cards", "run"):
        text = (tmp_path / f"{kind}.html").read_text()
        assert EVIL not in text
        assert "<img" not in text
    (data,) = re.findall(r'id="data">(.*?)</script>', (tmp_path / "cards.html").read_text(), re.DOTALL)
    assert json.loads(data)["cards"][0]["predicted"]["formula"] == EVIL


def test_numbers_that_are_none_become_null() -> None:
    assert json.loads(page.embedded({"a": [math.nan, math.inf, 1.5], "b": "\u2028"})) == {"a": [None, None, 1.5],
                                                                                         "b": "\u2028"}


def test_a_file_that_would_end_its_element_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "bad.js").write_text("let text = '</SCRIPT>';")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"bad\.js cannot stand in a page"):
        page.render("cards.html", ["bad.js"], [])


@pytest.mark.parametrize("name", VENDORED)
def test_what_is_vendored_is_what_was_published(name: str) -> None:
    content = (resources.files("model.report") / "vendor" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == VENDORED[name]


def test_the_licence_stands_in_the_page(drawn: str) -> None:
    assert ("Redistributions in binary form must reproduce" in drawn) == ('id="data"' in drawn)


def test_formulas_and_space_groups() -> None:
    assert page.formula("Li13Sn5") == "Li<sub>13</sub>Sn<sub>5</sub>"
    assert page.space_group("P6_3/mmc") == "P6<sub>3</sub>/mmc"
    assert page.space_group("R-3m") == 'R<span class="bar-over">3</span>m'
    assert page.formula("<b>") == "&lt;b&gt;"


def test_every_element_has_one_place() -> None:
    names = [place[0] for row in elements.table({}) for place in row if place]
    assert len(names) == len(set(names)) == 118
    assert {len(row) for row in elements.table({})} == {18}


def test_steps_share_the_range() -> None:
    table = elements.table({"H": 0.6, "Fe": 0.35, "U": 0.0})
    assert {place for row in table for place in row if place and place[1] is not None} == {("H", 5), ("Fe", 3),
                                                                                           ("U", 0)}


def test_a_name_is_no_formula_of_matplotlib() -> None:
    """Signs of mathematics in a column's name are drawn as they are."""
    metrics: dict[str, Any] = {"target": r"a$\frac{1}{0}$<b>", "unit": "GPa"}
    row = {"y_true": 1.0, "y_fused": 1.1, "y_low": 0.5, "y_high": math.inf}
    drawn = str(plots.parity(metrics, [row, {**row, "y_true": 2.0}]))
    assert r"a$\frac{1}{0}$&lt;b&gt;, true / GPa" in drawn
    assert "style=" not in drawn
    assert plots.INK not in drawn


def test_a_project_without_experiments_says_so(tmp_path: Path) -> None:
    run_page(tmp_path / "none.html", experiments=[])
    assert "This project has no experiments." in (tmp_path / "none.html").read_text()
    assert "no experiments" not in run_page(tmp_path / "some.html")
