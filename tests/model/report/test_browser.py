"""The pages as a reader has them: a real browser opens them from disk, points, types and looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from features.paths import Paths
from model.records import Card
from model.report import pages
from tests.model.report.example import METHODS, run_page
from tests.model.report.reader import VIEWS, Page

HERE = Path(__file__).parent
VISIBLE = yaml.safe_load((HERE / "visible.yaml").read_text())
LOOKS = (HERE / "looks.js").read_text()


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[Page]:
    """Afterwards no script has failed, and nothing was asked of anybody."""
    opened = Page(browser)
    yield opened
    assert opened.complaints() == []
    assert {address.split(":")[0] for address in opened.requests()} <= {"file", "data", "about", "blob"}


@pytest.fixture(scope="module")
def paths(cards_page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    report = tmp_path_factory.mktemp("run") / "run.html"
    run_page(report)
    return {"cards": cards_page, "run": report}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", VISIBLE)
def test_all_is_seen_and_can_be_read(name: str, view: str, page: Page, paths: dict[str, Path]) -> None:
    page.open(paths[name], VIEWS[view])
    seen = page.run(LOOKS, VISIBLE[name]["seen"])
    assert seen["problems"] == []
    assert seen["read"] > 50
    for selector in VISIBLE[name]["drawn"]:
        picture = page.picture(selector)
        ground = picture[2, 2]
        assert (np.abs(picture - ground).max(axis=2) > 40).mean() > 0.005, f"{selector} is blank"
        assert (ground.mean() < 70) == ("dark" in view)


def test_the_page_asks_for_itself_alone(page: Page, paths: dict[str, Path]) -> None:
    """And its policy stops a script that asks for more."""
    for path in paths.values():
        page.open(path)
        time.sleep(0.2)
        assert [one for one in page.requests() if not one.startswith("data:")] == [path.as_uri()]
    refused = page.driver.execute_async_script(  # type: ignore[no-untyped-call]
        "const done = arguments[0]; document.addEventListener('securitypolicyviolation', (event) => "
        "done(event.effectiveDirective)); fetch('http://127.0.0.1:9/').catch(() => 0)")
    assert refused == "connect-src"
    page.complaints()  # the browser's own word for that


def test_a_fact_lights_its_atoms_and_polyhedra(page: Page, cards_page: Path, cards: list[Card]) -> None:
    page.open(cards_page)
    before = page.picture(".stage")
    facts = cards[0].facts
    text = cards[0].predicted.text or ""
    number = next(place for place, fact in enumerate(facts) if text[fact.start:].startswith("Ti(1) is"))
    titanium = cards[0].shape.elements.index("Ti")
    page.point(page.one(f'.fact[data-fact="{number}"]'), x=-30)
    assert page.lit() == ({str(titanium)}, {str(titanium)}, {str(number)})
    assert (np.abs(page.picture(".stage") - before).max(axis=2) > 20).mean() > 0.02
    assert "coordination: atoms Ti ×1" in page.one(".information").text
    assert "effect" in page.one(".information").text
    page.point(page.one("h1"))
    assert page.lit() == (set(), set(), set())


def test_an_atom_lights_the_facts_that_speak_of_it(page: Page, cards_page: Path, cards: list[Card]) -> None:
    """In the picture, where strontium is in the middle of the cell, and in the row of elements below it."""
    page.open(cards_page)
    shape = cards[0].shape
    strontium = shape.elements.index("Sr")
    spoken = {str(number) for number, fact in enumerate(cards[0].facts) if strontium in fact.atoms}
    assert spoken
    at = page.run("const viewer = window.shownCard.crystal.viewer, stage = document.querySelector('.stage');"
                  "const box = stage.getBoundingClientRect(), [x, y, z] = arguments[0];"
                  "const at = viewer.modelToScreen({x, y, z});"
                  "return [at.x - box.x - scrollX - box.width / 2, at.y - box.y - scrollY - box.height / 2]",
                  (np.array(shape.frac_coords[strontium]) @ np.array(shape.lattice)).tolist())
    page.point(page.one(".stage"), *at)
    page.wait(lambda: page.lit()[0] == {str(strontium)})
    assert page.lit()[2] == spoken
    page.point(page.one("h1"))
    page.wait(lambda: page.lit()[2] == set())
    oxygen = next(chip for chip in page.all(".chip") if chip.text.startswith("O"))
    page.point(oxygen)
    atoms, _, facts = page.lit()
    assert atoms == {str(atom) for atom, element in enumerate(shape.elements) if element == "O"}
    assert facts == {str(number) for number, fact in enumerate(cards[0].facts)
                     if {shape.elements[atom] for atom in fact.atoms} & {"O"}}


def test_the_keyboard_does_all(page: Page, cards_page: Path, cards: list[Card]) -> None:
    """Tab reaches facts, Enter keeps one lit, Escape lets go; arrows move switches and turn the crystal."""
    page.open(cards_page)
    fact = page.one(".fact[tabindex]")
    page.run("arguments[0].focus()", fact)
    number = fact.get_attribute("data-fact")
    assert page.lit()[2] == {number}
    page.keys(Keys.ENTER, Keys.TAB)
    focused = page.run("return document.activeElement.dataset.fact")
    assert focused == str(int(number or 0) + 1)
    page.run("document.activeElement.blur()")
    assert page.lit()[2] == {number}
    assert fact.get_attribute("aria-pressed") == "true"
    page.run("document.querySelector('.fact').focus()")
    page.keys(Keys.ESCAPE)
    assert page.lit()[2] == set()

    page.run("document.querySelector('input[name^=method]:checked').focus()")
    was = page.run("return document.activeElement.value")
    page.keys(Keys.ARROW_LEFT)
    assert page.run("return document.querySelector('input[name^=method]:checked').value") != was

    page.run("document.querySelector('.stage').focus()")
    view = page.run("return window.shownCard.crystal.viewer.getView()")
    page.keys(Keys.ARROW_RIGHT)
    assert page.run("return window.shownCard.crystal.viewer.getView()") != view


def test_a_tap_keeps_a_fact_lit(page: Page, cards_page: Path) -> None:
    """A finger does not hover: what it taps stays, until it taps beside."""
    page.open(cards_page, VIEWS["narrow"])

    def tap(selector: str, right: float) -> None:
        page.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        x, y = page.run("const b = document.querySelector(arguments[0]).getClientRects()[0];"
                        "return [b.x + Math.min(b.width * arguments[1], innerWidth - 4), b.y + b.height / 2]",
                        selector, right)
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        tap('.fact[data-fact="3"]', 0.3)
        page.wait(lambda: page.lit()[2] == {"3"})
        assert page.one('.fact[data-fact="3"]').get_attribute("aria-pressed") == "true"
        tap(".information", 0.9)
        assert page.lit()[2] == {"3"}
        page.run("document.querySelector('.text').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
        assert page.lit() == (set(), set(), set())
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_methods_switch_and_a_failed_one_has_no_colours(page: Page, cards_page: Path) -> None:
    page.open(cards_page)
    pieces = ("return [...document.querySelectorAll('.text .piece')]"
              ".map((piece) => [piece.textContent, +piece.dataset.effect])")
    shown = dict(page.run(pieces))
    assert shown
    assert "passed its tests" in page.one("label:has(input[value=replacement])").text
    failed = page.one("label:has(input[value=gradients])")
    assert "failed its tests" in failed.text
    failed.click()
    assert page.all(".text .effect") == []
    assert page.all(".legend") == []
    assert "Not shown as an explanation" in page.one(".reason").text
    assert "beat random order by 0.02" in page.one(".reason").text
    page.one("label:has(input[value=shapley])").click()
    assert {effect for _, effect in page.run(pieces)} == {0.041, 0.006, -0.062}
    page.one("label:has(input[value=replacement])").click()
    assert dict(page.run(pieces)) == shown
    page.one("label:has(input[value=token])").click()
    assert {abs(effect) for _, effect in page.run(pieces)} == {0.004}


def test_one_scale_for_all_effects(page: Page, cards_page: Path) -> None:
    """A token of .004 has hardly a colour where the structure's effect is .258, and bars share the text's scale."""
    page.open(cards_page)
    page.one("label:has(input[value=token])").click()
    share = "return parseFloat(arguments[0].style.getPropertyValue('--share'))"
    token = page.run(share, page.one(".text .piece"))
    structure = page.run(share, page.one('rect[data-effect="-0.258"]'))
    assert structure == pytest.approx(72)
    assert token == pytest.approx(72 * 0.004 / 0.258, abs=0.01)
    white = page.picture("h1")[0, 0]
    seen = page.picture(".text .piece")
    colour = np.median(seen.reshape(-1, 3), axis=0)
    assert np.abs(colour - page.picture(".text-place")[-1, -1]).max() < 8
    assert white.mean() > 200
    assert "×1.81" in page.one(".legend").text


def test_facts_across_crystals_are_those_of_methods_that_passed(page: Page, cards_page: Path) -> None:
    """The strongest first; what a failed method says is neither shown nor part of the scale."""
    page.open(cards_page)
    rows = [row.text for row in page.all(".across tbody tr")]
    assert len(rows) == 2
    assert rows[0].startswith("Pm-3m")
    assert "−0.0540 ×0.883 −0.0640 … −0.0440 30 50 %" in rows[0]
    assert page.all('.across rect[data-effect="-0.054"]') != []


def test_attention_is_no_effect(page: Page, cards_page: Path) -> None:
    page.open(cards_page)
    page.one("label:has(input[value=attention])").click()
    assert page.all(".text .effect") == []
    weights = [float(str(piece.get_attribute("data-weight"))) for piece in page.all(".text .weight")]
    assert "no effect on the prediction" in page.one(".legend").text
    assert "no explanation" in page.one("label:has(input[value=attention])").text
    page.run("const s = document.querySelector('.level select'); s.value = '0/1'; s.dispatchEvent(new Event('change'))")
    other = [float(str(piece.get_attribute("data-weight"))) for piece in page.all(".text .weight")]
    assert other != weights


def test_atoms_take_the_colours_of_their_effects(page: Page, cards_page: Path) -> None:
    page.open(cards_page)
    before = page.picture(".stage")
    page.one("label:has(input[value=atom])").click()
    assert page.all(".text .piece") == []
    assert (np.abs(page.picture(".stage") - before).max(axis=2) > 30).mean() > 0.01


def test_crystals_are_chosen_from_the_table(page: Page, cards_page: Path, cards: list[Card]) -> None:
    page.open(cards_page)
    page.all("button.open")[2].click()
    assert page.one(".card h2").text.startswith("Si")
    assert page.run("return location.hash") == "#3"
    assert page.all(".truth") == []
    assert len(page.all(".stage canvas")) == 1
    assert len(page.all(".chip")) == len(set(cards[2].shape.orbit))


def test_tables_sort_and_copy(page: Page, paths: dict[str, Path]) -> None:
    page.open(paths["run"])
    table = page.one("#parity table")
    heads = table.find_elements(By.CSS_SELECTOR, "th")
    place = next(number for number, head in enumerate(heads) if head.text.startswith("true"))
    def column() -> list[float]:
        return [float(row.find_elements(By.TAG_NAME, "td")[place].text)
                for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")]
    unsorted = column()
    button = heads[place].find_element(By.TAG_NAME, "button")
    page.run("arguments[0].focus()", button)
    page.keys(Keys.ENTER)
    assert heads[place].get_attribute("aria-sort") == "descending"
    assert column() == sorted(unsorted, reverse=True) != unsorted
    page.keys(Keys.ENTER)
    assert heads[place].get_attribute("aria-sort") == "ascending"
    assert column() == sorted(unsorted)
    text = page.run("return tableText(arguments[0])", table)
    assert [float(line.split("\t")[place]) for line in text.splitlines()[1:]] == sorted(unsorted)
    copy = page.one("#parity .copy-table")
    page.run("arguments[0].click()", copy)
    page.wait(lambda: copy.text == "copied")
    rows = page.all("#experiments tbody tr")
    assert [row.is_displayed() for row in rows] == [True, False]  # of the target alone, until the reader says otherwise
    page.one("input.filter").clear()
    page.one("input.filter").send_keys("g_")
    assert [row.is_displayed() for row in rows] == [False, True]


def test_the_reader_chooses_the_colours(page: Page, paths: dict[str, Path]) -> None:
    for path in paths.values():
        page.open(path)
        light = page.picture("h2").mean()
        page.one("label:has(input[value=dark])").click()
        assert page.run(LOOKS, ["h1"])["problems"] == []
        assert page.picture("h2").mean() < 80 < 170 < light


def test_without_webgl_the_text_still_works(page: Page, cards_page: Path, cards: list[Card]) -> None:
    script = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {
        "source": "HTMLCanvasElement.prototype.getContext = () => null"})
    try:
        page.open(cards_page)
        assert "no WebGL" in page.one(".stage").text
        page.point(page.all(".chip")[1])
        assert page.lit()[2]
        page.point(page.one(".fact[data-fact='3']"), x=-20)
        assert page.lit()[0] == {str(atom) for atom in cards[0].facts[3].atoms}
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_evil_names_are_shown_as_they_are(page: Page, cards: list[Card], tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    card = cards[0]
    bad = replace(card, predicted=replace(card.predicted, name=evil, formula=evil, space_group=evil, warnings=(evil,),
                                          flags={evil: evil}, trained_on=evil))
    pages.write_cards(tmp_path / "cards.html", evil, "GPa", "log10(GPa)", [bad, bad], METHODS)
    page.open(tmp_path / "cards.html")
    assert page.all("img") == []
    assert page.one("h1").text == evil
    assert page.one(".warning").text == evil


def test_what_if_and_what_it_was_trained_on_are_said(page: Page, cards: list[Card], tmp_path: Path) -> None:
    card = cards[0]
    predicted = replace(card.predicted, low=None, high=None, trained_on="mp-5229", warnings=("No crystal like it.",),
                        what_if={"change": "without region local", "value": 50.0, "learned": 1.69897})
    pages.write_cards(tmp_path / "cards.html", "k_vrh", "GPa", "log10(GPa)", [replace(card, predicted=predicted)],
                      METHODS)
    page.open(tmp_path / "cards.html")
    said = page.one(".what-if").text
    assert "without region local: 53.3 GPa instead of 50 GPa" in said
    assert "+3.33 GPa (+0.0280 log10(GPa), ×1.07)" in said
    assert "trained on this crystal mp-5229" in page.one(".calls").text
    assert page.one(".ends").text.startswith("no interval")
    assert page.all("#overview table") == []


def test_the_pages_of_a_trained_model(page: Page, trained: Path) -> None:
    """What the stages write, with all that real results leave out: they can be read, on a phone, too."""
    for view in ("light", "narrow and dark"):
        for name, seen in (("report.html", ["h1", ".figure", "#kinds .two table"]),
                           ("explanations.html", ["h1", ".card h2", ".value b", ".stage", ".text", ".switches"])):
            page.open(Paths(trained).results / name, VIEWS[view])
            looks = page.run(LOOKS, seen)
            assert looks["problems"] == [], name
            assert looks["read"] > 50
