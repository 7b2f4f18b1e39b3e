"""What `dvc.lock` says."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from features.errors import UserError
from features.paths import Paths


def read(root: Path) -> dict[str, Any]:
    """Its content, empty where there is none. Raises `UserError` if it is damaged."""
    lock = Paths(root).lock
    if not lock.exists():
        return {}
    content = parsed(lock.read_bytes())
    if content is None:
        raise UserError(f"{lock} is damaged; `python -m pipelines repair` mends it")
    return content


def stage_of(where: Path, table: str) -> tuple[str, dict[str, Any]] | None:
    """The stage whose output a table is, and what the `dvc.lock` of a project folder says of it; None if it does not
    tell."""
    lock = Paths(where).lock
    content = parsed(lock.read_bytes()) if lock.exists() else None
    place = Paths(where).table(table).relative_to(where).as_posix()
    return next(((stage, told) for stage, told in (content or {}).get("stages", {}).items()
                 if any(out.get("path") == place for out in told.get("outs", ()))), None)


@functools.lru_cache(maxsize=4)  # asked for each table; nobody changes what it gives
def parsed(lock: bytes) -> dict[str, Any] | None:
    """The content of a `dvc.lock`; None if these are not the bytes of a whole one."""
    try:
        content = yaml.safe_load(lock.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "schema" not in content:
        return None
    stages = content.get("stages", {})
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) and "cmd" in stage for stage in stages.values()):
        return None
    return content


def outputs(root: Path) -> list[str]:
    """All outputs of the stages that `dvc.lock` knows, relative to the project."""
    stages = read(root).get("stages", {})
    paths = [out["path"] for stage in stages.values() for out in stage.get("outs", [])]
    outside = [path for path in paths if Path(path).is_absolute() or ".." in Path(path).parts]
    if outside:
        raise UserError(f"dvc.lock: the output {outside[0]} lies outside the project")
    return sorted(paths)
