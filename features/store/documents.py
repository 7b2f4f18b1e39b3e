"""JSON files that others read later: each holds the digest of its own content, so that no damaged value is believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.store.files import write_text
from features.store.sums import Damaged

DIGEST = "content_sha256"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document whole, its keys sorted; `content_sha256` is added to it."""
    plain = json.loads(json.dumps(content))  # as it will be read
    write_text(path, json.dumps({**plain, DIGEST: _digest(plain)}, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """The content of a document; None if there is none. Raises `Damaged` if it is not what was written; one of an
    earlier version, without a digest, is read as it is.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise Damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise Damaged(path, "it holds no object")
    if DIGEST in content and content.pop(DIGEST) != _digest(content):
        raise Damaged(path, "it does not hold what was written")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
