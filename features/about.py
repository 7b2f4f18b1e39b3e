"""What can be told of tables to those who only see them: what they mean, where they come from, whose data they hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from features import registry
from features.errors import UserError
from features.paths import Paths
from features.profiles import NAME as PROFILES
from features.store import dvc_lock, tables, versions
from features.store.tables import REJECTS

CRYSTALS = "materials"
DOI = "10."


@dataclass(frozen=True)
class Source:
    """What one source gave, as its rows in `materials` say."""

    name: str
    version: str | None
    licence: str | None
    citation: str | None
    """DOIs, parted by blanks."""
    crystals: int

    @property
    def dois(self) -> list[str]:
        return [word for word in (self.citation or "").split() if word.startswith(DOI)]


@dataclass(frozen=True)
class Origin:
    """How a table came to be."""

    stage: str | None
    upstream: tuple[str, ...]
    """Tables that its stage reads."""
    footer: dict[str, Any]
    """Version, parameters, libraries: what its files say of themselves."""


def parts(where: Path) -> dict[str, list[Path]]:
    """Files of each table in a project folder, and of the rejects if there is one."""
    found = {name: tables.files(where, name) for name in tables.names(where)}
    rejects = [path for path in tables.reject_files(where) if tables.rows(path)]
    return found | ({REJECTS: rejects} if rejects else {})


def chosen(where: Path, names: str | None) -> dict[str, list[Path]]:
    """The tables of a list of names parted by commas; without one, all that have rows and belong to the version.

    Raises `UserError` if one of them is not there, or if there are none.
    """
    found = parts(where)
    if names is None:
        found = {name: files for name, files in found.items() if name not in (PROFILES, *versions.APART)
                 and any(map(tables.rows, files))}
    else:
        asked = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
        if missing := [name for name in asked if name not in found]:
            raise UserError(f"no table '{missing[0]}'; there are: {', '.join(found) or 'none yet'}")
        found = {name: found[name] for name in asked}
    if not found:
        raise UserError(f"there are no tables under {Paths(where).features} yet; run `dvc repro` to make them")
    return found


def sources(where: Path) -> list[Source]:
    """Who gave how many crystals on what terms, the largest first; nothing without `materials`."""
    if not tables.exists(where, CRYSTALS):
        return []
    columns = ["source", "source_version", "license", "citation"]
    counted = tables.read(where, CRYSTALS, columns).group_by(columns).aggregate([([], "count_all")]).to_pylist()
    found = [Source(row["source"], row["source_version"], row["license"], row["citation"], row["count_all"])
             for row in counted]
    return sorted(found, key=lambda source: (-source.crystals, str(source)))


def origin(where: Path, name: str, files: list[Path]) -> Origin:
    """How a table came to be: what its files and the `dvc.lock` beside it say."""
    stage, upstream = _stage(where, name)
    return Origin(stage, tuple(upstream), tables.footer(files[0]) if name != REJECTS else {})


def _stage(where: Path, name: str) -> tuple[str | None, list[str]]:
    if (found := dvc_lock.stage_of(where, name)) is not None:
        stage, told = found
        deps = [Path(dep["path"]).parts for dep in told.get("deps", ())]
        return stage, sorted({dep[2] for dep in deps if dep[:2] == ("data", "features") and dep[2] != REJECTS})
    view = registry.view_named(name)
    return (view.stage, sorted(view.inputs)) if view is not None else (None, [])


def version(where: Path, at: str | None = None) -> str:
    """What the tables that are shown are called."""
    if at is not None:
        return f"revision {at}"
    return f"version {where.name}" if versions.ID.fullmatch(where.name) else "the work tree, since nothing is published"


def text(field: pa.Field, what: str) -> str:
    """Description or unit of a column; empty if it has none."""
    return (field.metadata or {}).get(what.encode(), b"").decode()
