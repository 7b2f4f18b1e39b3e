"""Moving `params.yaml` to the version of the database that the server has now."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.progress import say
from pipelines.params import IngestParams
from pipelines.sources.materials_project.client import Client
from pipelines.sources.materials_project.documents import Record
from pipelines.sources.materials_project.pull import Pull

LINE = re.compile(r"(?P<name>\bdatabase_version:[ \t]*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,}#]+)?")
SHOWN = 5


@dataclass(frozen=True)
class Move:
    """What became of the ids from one version to another; `new` is `old` if there was nothing to move to."""

    old: str | None
    new: str
    compared: bool = False
    """Whether there was a listing of the old version to compare with; without it the ids are not known."""
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deprecated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def move(root: Path) -> Move:
    """Pin the server's version, and say what it changes.

    The new version is listed first (the next pull uses that listing), and `params.yaml` is changed last. With a
    listing of the old version at hand, the ids that are added, changed, withdrawn and removed are kept in
    `data/.downloads/materials_project/moves/<old>-<new>.json`.
    """
    params = load_section(root, "ingest", IngestParams).materials_project
    client = Client(params)
    version, pinned = client.database_version(), params.database_version
    if version == pinned:
        say(f"the server still has database version {version}; there is nothing to move to")
        return Move(pinned, version)
    _pinned_text(root, version)  # before the listing, which takes a while
    pull = Pull(root, params, version)
    with pull.locked():
        new = pull.make_listing(client)
    old = Pull(root, params, pinned).records() if pinned else None
    made = Move(pinned, version) if old is None else Move(pinned, version, compared=True, **changes(old, new))
    if made.compared:
        _report(root, made)
    pin(root, version)
    say(f"params.yaml: ingest.materials_project.database_version is now '{version}'; `dvc repro` pulls it")
    return made


def pin(root: Path, version: str | None) -> None:
    """Set `database_version` in `params.yaml` (None: no version), and not a character else."""
    _replace(Paths(root).params, _pinned_text(root, version))


def changes(old: list[Record], new: list[Record]) -> dict[str, tuple[str, ...]]:
    """Ids by what became of them from one listing to another."""
    before, after = ({kept["material_id"]: kept for kept in records} for records in (old, new))
    live_before, live_after = ({i for i, kept in records.items() if not kept["deprecated"]}
                               for records in (before, after))
    return {
        "added": tuple(sorted(live_after - live_before)),
        "changed": tuple(sorted(i for i in live_before & live_after if before[i] != after[i])),
        "deprecated": tuple(sorted(i for i in live_before - live_after if i in after)),
        "removed": tuple(sorted(i for i in live_before if i not in after)),
    }


def _report(root: Path, made: Move) -> None:
    found = {kind: getattr(made, kind) for kind in ("added", "changed", "deprecated", "removed")}
    path = Paths(root).downloads / "materials_project" / "moves" / f"{made.old}-{made.new}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps({"from": made.old, "to": made.new, **found}, indent=1) + "\n")
    for kind, ids in found.items():
        shown = f": {', '.join(ids[:SHOWN])}{', …' if len(ids) > SHOWN else ''}" if ids else ""
        say(f"{kind:>10} {len(ids)}{shown}")
    say(f"all ids: {path}")


def _pinned_text(root: Path, version: str | None) -> str:
    """`params.yaml` with the new version and not a character else changed."""
    path = Paths(root).params
    text = path.read_bytes().decode("utf-8")  # as bytes, since reading as text changes the ends of lines
    value = "null" if version is None else f"'{version}'"
    draft, count = LINE.subn(lambda found: f"{found['name'].rstrip()} {value}", text)
    wanted = yaml.safe_load(text)
    ingest = wanted.get("ingest") or {}
    wanted["ingest"] = ingest | {"materials_project": (ingest.get("materials_project") or {})
                                 | {"database_version": version}}
    if count != 1 or yaml.safe_load(draft) != wanted:
        raise UserError(f"{path} cannot be changed safely: write `database_version: {value}` below "
                        "ingest.materials_project yourself, then run `dvc repro`")
    return draft


def _replace(path: Path, text: str) -> None:
    """Write a file beside its place and put it there."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(text.encode())
    if path.exists():
        shutil.copymode(path, beside)
    beside.replace(path)
