"""A headless Chromium that pages are opened in, from disk, as a reader does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from model.records import Card
from model.report import pages
from tests.model.report.example import ACROSS, METHODS, small_cards

INSTALLING = Path(__file__).parents[3] / ".venv" / "browser.installing"
"""There while `make test` installs the browser in the background."""
PATIENCE_S = 300
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1280,900")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Skips where there is no browser."""
    while _being_installed():
        time.sleep(1)
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no browser: Debian's packages chromium and chromium-driver are not installed (make test installs "
                    "them where it may)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_page_load_timeout(60)
    yield started
    started.quit()


def _being_installed() -> bool:
    """What a run left that was stopped in the middle of it is old."""
    try:
        return time.time() - INSTALLING.stat().st_mtime < PATIENCE_S
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def cards() -> list[Card]:
    return small_cards()


@pytest.fixture(scope="session")
def cards_page(cards: list[Card], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three crystals on disk."""
    path = tmp_path_factory.mktemp("pages") / "cards.html"
    pages.write_cards(path, "k_vrh", "GPa", "log10(GPa)", cards, METHODS, ACROSS)
    return path
