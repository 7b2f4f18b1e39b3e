"""Moving `params.yaml` to the version of the database that the server has now."""

from __future__ import annotations

import json
import re
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


def move(root: Path) -> str:
    """Pin the server's version, and say what it changes. Returns the version.

    The new version is listed first (the next pull uses that listing), and `params.yaml` is changed last. With a
    listing of the old version at hand, the ids that are added, changed, withdrawn and removed are kept in
    `data/.downloads/materials_project/moves/<old>-<new>.json`.
    """
    params = load_section(root, "ingest", IngestParams).materials_project
    client = Client(params)
    version, pinned = client.database_version(), params.database_version
    if version == pinned:
        say(f"the server still has database version {version}; there is nothing to move to")
        return version
    draft = _pinned_text(root, version)
    pull = Pull(root, params, version)
    with pull.locked():
        new = pull.make_listing(client)
    old = Pull(root, params, pinned).records() if pinned else None
    if old is not None:
        _report(root, pinned or "", version, old, new)
    path = Paths(root).params
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(draft, encoding="utf-8")
    beside.replace(path)
    say(f"params.yaml: ingest.materials_project.database_version is now '{version}'; `dvc repro` pulls it")
    return version


def changes(old: list[Record], new: list[Record]) -> dict[str, list[str]]:
    """Ids by what became of them from one listing to another."""
    before, after = ({kept["material_id"]: kept for kept in records} for records in (old, new))
    live_before, live_after = ({i for i, kept in records.items() if not kept["deprecated"]}
                               for records in (before, after))
    return {
        "added": sorted(live_after - live_before),
        "changed": sorted(i for i in live_before & live_after if before[i] != after[i]),
        "deprecated": sorted(i for i in live_before - live_after if i in after),
        "removed": sorted(i for i in live_before if i not in after),
    }


def _report(root: Path, pinned: str, version: str, old: list[Record], new: list[Record]) -> None:
    found = changes(old, new)
    path = Paths(root).downloads / "materials_project" / "moves" / f"{pinned}-{version}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps({"from": pinned, "to": version, **found}, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
    for kind, ids in found.items():
        shown = f": {', '.join(ids[:SHOWN])}{', …' if len(ids) > SHOWN else ''}" if ids else ""
        say(f"{kind:>10} {len(ids)}{shown}")
    say(f"all ids: {path}")


def _pinned_text(root: Path, version: str) -> str:
    """`params.yaml` with the new version and not a character else changed."""
    path = Paths(root).params
    text = path.read_text(encoding="utf-8")
    draft, count = LINE.subn(lambda found: f"{found['name'].rstrip()} '{version}'", text)
    wanted = yaml.safe_load(text)
    ingest = wanted.setdefault("ingest", None) or {}
    wanted["ingest"] = ingest | {"materials_project": (ingest.get("materials_project") or {})
                                 | {"database_version": version}}
    if count != 1 or yaml.safe_load(draft) != wanted:
        raise UserError(f"{path} cannot be changed safely: write `database_version: '{version}'` below "
                        "ingest.materials_project yourself, then run `dvc repro`")
    return draft


def pin(root: Path, version: str | None) -> None:
    raise NotImplementedError
