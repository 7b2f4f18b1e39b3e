"""What a reader does with a page in a browser, and what they see."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

VIEWS = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "narrow": (360, 740, "light"),
         "narrow and dark": (360, 740, "dark")}
"""Width, height and what the system prefers."""
DESK = (1000, 800, "light")
"""Where a picture is small, and so drawn soon."""


class Page:
    """An open page, and what a reader does with it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, place: Path | str, view: tuple[int, int, str] = DESK) -> None:
        self.look(view)
        self.driver.get("about:blank")  # else the same address with another fragment would not be loaded
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # what was before is another page's
        self.driver.get(place if isinstance(place, str) else place.as_uri())

    def look(self, view: tuple[int, int, str]) -> None:
        """From now on."""
        width, height, scheme = view
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme},
                         {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)  # type: ignore[no-untyped-call]

    def wait(self, holds: Callable[[], object]) -> None:
        WebDriverWait(self.driver, 10, 0.05).until(lambda _: holds())

    def point(self, element: WebElement, x: float = 0, y: float = 0) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        ActionChains(self.driver, duration=0).move_to_element_with_offset(element, int(x), int(y)).perform()

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def lit(self) -> tuple[set[str], set[str], set[str]]:
        """The atoms, polyhedra and facts that are lit."""
        stage = self.one(".stage")
        atoms, polyhedra = (set((stage.get_attribute(f"data-lit-{kind}") or "").split())
                            for kind in ("atoms", "polyhedra"))
        return atoms, polyhedra, {str(fact.get_attribute("data-fact")) for fact in self.all(".fact.lit")}

    def picture(self, selector: str) -> Any:
        """What is seen of an element, `[height, width, 3]`."""
        box = self.run("const b = document.querySelector(arguments[0]).getBoundingClientRect();"
                       "return [b.x + scrollX, b.y + scrollY, b.width, b.height]", selector)
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB"), np.int16)

    def complaints(self) -> list[str]:
        """Errors of scripts and of the page's policy; what software rendering says of its speed is none."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
