"""Making the page: one file whose own policy lets its style and script work and nothing be fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from features import about
from features.page import atlas, drawing, gather
from features.store import files

BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def write(where: Path, called: str, path: Path, with_map: bool = False) -> int:
    """Write the page about the tables of a project folder: how many there are. The bytes depend on the tables alone.

    Raises `UserError` if there are none, or if there is no map of them.
    """
    found = gather.all_tables(where)
    about.chosen(where, None)  # says what to do where there is nothing
    graph = drawing.graph({table.name: table.origin.upstream for table in found})
    points = atlas.atlas(where) if with_map else None
    style, script = _own("page.css"), _own("page.js")
    text = _environment().get_template("page.html").render(
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
               "base-uri 'none'; form-action 'none'",
        style=style, script=script, called=called, tables=found, graph=graph, sources=about.sources(where),
        reasons=gather.rejects(where), map=points, data=None if points is None else embedded(points))
    files.write_text(path, text)
    return len(found)


def _environment() -> jinja2.Environment:
    """Templates that escape whatever they are given."""
    made = jinja2.Environment(loader=jinja2.PackageLoader("features.page", "."), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    made.filters |= {"number": drawing.number, "size": size}
    made.globals |= {"bars": drawing.bars, "is_logarithmic": drawing.is_logarithmic, "width": drawing.WIDTH,
                     "height": drawing.HEIGHT, "box": drawing.BOX}
    return made


def size(count: int) -> str:
    """A number of bytes."""
    return next((f"{count / unit:.3g} {name}" for name, unit in BYTES if count >= unit), f"{count} B")


def embedded(data: Any) -> Markup:
    """JSON that may stand in a script element, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (no sign is left that HTML reads)


def _own(name: str) -> Markup:
    """A file of this package that may stand in an element as it is."""
    text = (resources.files("features.page") / name).read_text(encoding="utf-8").strip()
    if "</" in text or "<!--" in text:
        raise ValueError(f"{name} cannot stand in a page")
    return Markup(f"\n{text}\n")  # noqa: S704 (a file of this package)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
