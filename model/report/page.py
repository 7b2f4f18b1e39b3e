"""A page is one file: scripts, styles and data stand in it, and its own policy lets it ask nobody for anything."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

VIEWER = "vendor/3Dmol-min.js"
"""3Dmol 2.5.5 (`build/3Dmol-min.js` of the npm package 3dmol), BSD-3-Clause; its licence stands beside it."""
LICENCE = "vendor/3Dmol-LICENSE.txt"


@functools.cache
def environment() -> jinja2.Environment:
    """Templates that escape whatever they are given."""
    made = jinja2.Environment(loader=jinja2.PackageLoader("model.report"), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    made.filters |= {"formula": formula, "space_group": space_group}
    return made


def formula(text: str) -> Markup:
    """A formula with its numbers below the line."""
    return Markup("").join(Markup("<sub>{}</sub>").format(part) if place % 2 else part
                           for place, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", text)))


def space_group(symbol: str) -> Markup:
    """A Hermann-Mauguin symbol such as P6_3/mmc or Fm-3m, with screw axes below the line and bars above."""
    mark = {"_": Markup("<sub>{}</sub>"), "-": Markup('<span class="bar-over">{}</span>')}
    return Markup("").join(mark[part[0]].format(part[1:]) if place % 2 else part
                           for place, part in enumerate(re.split(r"(_\d|-\d)", symbol)))


def render(template: str, scripts: Sequence[str], styles: Sequence[str], data: Mapping[str, Any] | None = None,
           connects: bool = False, **context: Any) -> str:
    """A whole page.

    Args:
        template: its name in `templates/`.
        scripts: names in `static/`, and `VIEWER`, in the order in which they run.
        styles: names in `static/`.
        data: what the scripts draw; they find it as JSON in the element `data`.
        connects: whether the page may ask the server that it came from.
        context: what the template says.
    """
    code = [_content(name, "script") for name in scripts]
    looks = [_content(name, "style") for name in styles]
    return environment().get_template(template).render(
        policy=_policy(code, looks, connects), scripts=code, styles=looks,
        licence=Markup(_content(LICENCE, "script")) if VIEWER in scripts else None,  # noqa: S704 (in a comment)
        data=None if data is None else embedded(data), **context)


def embedded(data: Any) -> Markup:
    """JSON that may stand in a script element, whatever its strings hold; numbers that are not finite become null."""
    text = json.dumps(plain(data), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (no sign is left that HTML reads)


def plain(value: Any) -> Any:
    """The same as JSON types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@functools.cache
def _content(name: str, element: str) -> Markup:
    """A file of this package that may stand in an element as it is. Raises `ValueError` for one that would end it."""
    folder = resources.files("model.report")
    text = (folder / (name if "/" in name else f"static/{name}")).read_text(encoding="utf-8").strip()
    if f"</{element}" in text.lower() or "<!--" in text or "-->" in text or "\r" in text:
        raise ValueError(f"{name} cannot stand in a page")
    return Markup(f"\n{text}\n")  # noqa: S704 (a file of this package)


def _policy(scripts: Sequence[str], styles: Sequence[str], connects: bool) -> str:
    """Content security policy: these scripts, these styles, images that stand in the page, and nothing else; with
    `connects` also requests to the server that the page came from."""
    def hashes(texts: Sequence[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"

    connect = "connect-src 'self'; " if connects else ""
    return (f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; img-src data:; "
            f"{connect}base-uri 'none'; form-action 'none'")
