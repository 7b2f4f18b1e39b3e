"""Moving `params.yaml` to the version of the database that the server has now."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode

from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.progress import say
from features.store.files import beside
from pipelines.params import IngestParams
from pipelines.sources.materials_project.client import Client
from pipelines.sources.materials_project.documents import Record
from pipelines.sources.materials_project.pull import Pull

KEYS = ("ingest", "materials_project", "database_version")
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
    before, after = ({record["material_id"]: record for record in records} for records in (old, new))
    live_before, live_after = ({i for i, record in records.items() if not record["deprecated"]}
                               for records in (before, after))
    return {
        "added": tuple(sorted(live_after - live_before)),
        "changed": tuple(sorted(i for i in live_before & live_after if before[i] != after[i])),
        "deprecated": tuple(sorted(i for i in live_before - live_after if i in after)),
        "removed": tuple(sorted(i for i in live_before if i not in after)),
    }


def _report(root: Path, made: Move) -> None:
    ids_by_kind = {kind: getattr(made, kind) for kind in ("added", "changed", "deprecated", "removed")}
    path = Paths(root).downloads / "materials_project" / "moves" / f"{made.old}-{made.new}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps({"from": made.old, "to": made.new, **ids_by_kind}, indent=1) + "\n")
    for kind, ids in ids_by_kind.items():
        shown = f": {', '.join(ids[:SHOWN])}{', …' if len(ids) > SHOWN else ''}" if ids else ""
        say(f"{kind:>10} {len(ids)}{shown}")
    say(f"all ids: {path}")


def _pinned_text(root: Path, version: str | None) -> str:
    """`params.yaml` with the new version and not a character else changed.

    ruamel.yaml says where the value stands, and the rest stays as it is; written out again by it, a file would lose
    its blanks within lines, its indentation and its spellings of `null`.
    """
    path = Paths(root).params
    text = path.read_bytes().decode("utf-8")  # as bytes, since reading as text changes the ends of lines
    value = "null" if version is None else f"'{version}'"
    start, end = _place(text)
    blank = " " if text[start - 1:start] == ":" else ""
    draft = f"{text[:start]}{blank}{value}{text[end:]}"
    wanted = yaml.safe_load(text)
    ingest = wanted.get("ingest") or {}
    wanted["ingest"] = ingest | {"materials_project": (ingest.get("materials_project") or {})
                                 | {"database_version": version}}
    if start == end == 0 or _parsed(draft) != wanted:
        raise UserError(f"{path} cannot be changed safely: write `database_version: {value}` below "
                        "ingest.materials_project yourself, then run `dvc repro`")
    return draft


def _place(text: str) -> tuple[int, int]:
    """Where the value of `database_version` begins and ends; (0, 0) if it is nowhere."""
    try:
        node = YAML().compose(text)
    except YAMLError:
        return 0, 0
    key = None
    for name in KEYS:
        entries = node.value if isinstance(node, MappingNode) else []
        key, node = next(((key, value) for key, value in entries if key.value == name), (None, None))
    if key is None or not isinstance(node, ScalarNode):
        return 0, 0
    if node.start_mark.index == node.end_mark.index:  # no value at all: its mark may be anywhere before the next word
        behind = text.find(":", key.end_mark.index) + 1
        return behind, behind
    return node.start_mark.index, node.end_mark.index


def _parsed(draft: str) -> object:
    """What a draft says; None if it is no YAML."""
    try:
        return yaml.safe_load(draft)
    except yaml.YAMLError:
        return None


def _replace(path: Path, text: str) -> None:
    """Write a file whole; one that was there keeps its permissions."""
    with beside(path) as draft:
        draft.write_bytes(text.encode())
        if path.exists():
            shutil.copymode(path, draft)
