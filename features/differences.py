"""What differs between two headers of a table, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from features.libraries import complete


def differences(old: dict[str, Any], new: dict[str, Any], section: str) -> Iterator[str]:
    """Which parameter, library or other thing that decides values differs between two headers of a table.

    Args:
        old: a header as `features.view.FeatureView.header` makes it, or a footer, which holds one.
        new: a header.
        section: name of the parameters' section, which is put before their names.
    """
    if old.get("version") != new["version"]:
        yield f"version of the view {old.get('version')} → {new['version']}"
    yield from changed_values(old.get("params", {}), new["params"], section)
    before, after = old.get("libraries", {}), new["libraries"]
    yield from changed_values(complete(before, after), complete(after, before), "library")
    if old.get("digest") != new["digest"]:
        yield "other weights or arithmetic"


def changed_values(old: Any, new: Any, name: str) -> Iterator[str]:
    """`name.key old → new` for each value of nested mappings that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changed_values(old.get(key), new.get(key), f"{name}.{key}")
    elif old != new:
        yield f"{name} {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"
