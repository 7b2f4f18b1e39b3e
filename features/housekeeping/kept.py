"""What is kept: the work tree, what is published, HEAD, the same of other checkouts of the repository, which may read
this one's cache, and the revisions that somebody names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from features.errors import UserError
from features.paths import Paths
from features.store import git, revisions, tables, versions
from features.store.objects import Cache, Missing, outs


@dataclass(frozen=True)
class Kept:
    """Versions of the tables that stay as they are."""

    commits: list[git.Commit] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    """Ids of published ones."""
    places: list[Path] = field(default_factory=list)
    """Project folders: the work tree, published versions, what a refresh would put back, other checkouts."""

    @classmethod
    def of(cls, root: Path, named: Sequence[str]) -> Kept:
        """Those that are always kept, and those that are named. Raises `UserError` for one that there is not."""
        kept = cls()
        others: list[Path] = []
        with contextlib.suppress(UserError):  # no git, or nothing of the tables in it
            others = [tree for tree in git.worktrees(root) if tree.is_dir() and not tree.samefile(root)]
        for tree in (root, *others):
            with contextlib.suppress(UserError):
                kept.commits.append(git.commit(tree, "HEAD"))
        manifest = versions.read_manifest(root)
        newest = [folder.name for folder in versions.newest_first(root)]
        kept.versions.update([manifest.version] if manifest is not None else newest[:1])
        for revision in named:
            if versions.ID.fullmatch(revision) and Paths(root).version(revision).is_dir():
                kept.versions.add(revision)
            elif revision not in (revisions.WORK, revisions.PUBLISHED):
                kept.commits.append(git.commit(root, revision))
        kept.places.extend(place for place in (root, *map(Paths(root).version, sorted(kept.versions)),
                                               Paths(root).last_good_files, *others) if place.is_dir())
        return kept

    def revisions(self) -> set[str]:
        """Names of their folders below `data/.revisions`."""
        return {revisions.key(commit) for commit in self.commits}

    def locks(self) -> Iterator[bytes]:
        """What `dvc.lock` says of each of them."""
        for place in self.places:
            with contextlib.suppress(FileNotFoundError):
                yield Paths(place).lock.read_bytes()
        for commit in self.commits:
            yield commit.lock

    def has_shape(self, root: Path, table: str, version: int, schema: pa.Schema) -> bool:
        """Whether one of them has a table of this version and these columns."""
        return any(found == version and columns.equals(schema) for found, columns in self._shapes(root, table))

    def _shapes(self, root: Path, table: str) -> Iterator[tuple[int | None, pa.Schema]]:
        for place in self.places:
            if tables.exists(place, table):
                part = tables.files(place, table)[0]
                yield tables.footer(part).get("version"), tables.schema_of(part)
        cache = Cache(root)
        for commit in self.commits:
            with contextlib.suppress(Missing, ValueError):  # what is not here has no shape, and a damaged lock none
                found, _ = outs(commit.lock)
                files = cache.files([out for path, out in found.items() if path == f"data/features/{table}"])
                for part in sorted(path for name, path in files.items() if name.endswith(".parquet"))[:1]:
                    yield tables.footer(part).get("version"), tables.schema_of(part)
