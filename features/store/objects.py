"""DVC's cache: the bytes of every output of every commit, as files that are named after their md5."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.store import git
from features.store.sums import SUMS

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
NAME = "published.json"
"""Names the version that readers read: of a project, not of a revision of it."""


@dataclass(frozen=True)
class Out:
    """An output of a stage, as `dvc.lock` names it."""

    path: str
    """Below the project, always below `data`."""
    md5: str
    """Of the file, or with `.dir` of the list of a folder's files."""
    size: int
    """Bytes of all its files."""


class Missing(Exception):  # noqa: N818 (it is told as a UserError by whoever knows the revision)
    """Outputs that no cache of this machine holds whole."""

    def __init__(self, outs: Sequence[Out]) -> None:
        super().__init__(", ".join(out.path for out in outs))
        self.outs = outs

    @property
    def size(self) -> int:
        return sum(out.size for out in self.outs)


def outs(lock: bytes) -> tuple[dict[str, Out], bool]:
    """The outputs below `data` that a `dvc.lock` names, by path, and whether stage `publish` ran with exactly those of
    the other stages.

    Raises `ValueError` if it is not one.
    """
    import yaml

    try:
        stages = yaml.safe_load(lock)["stages"]
        named = [Out(str(out["path"]), str(out["md5"]), int(out.get("size", 0)))
                 for stage in stages.values() for out in stage.get("outs", []) if "md5" in out]
        publish = stages.get("publish", {})
        seen = {str(dep["path"]): dep.get("md5") for dep in publish.get("deps", [])}
        own = {str(out["path"]) for out in publish.get("outs", [])}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is no dvc.lock that DVC wrote ({' '.join(str(error).split())})") from None
    found = {out.path: out for out in named if out.path.startswith("data/")}
    for out in found.values():
        if not _inside(out.path) or not MD5.fullmatch(out.md5):
            raise ValueError(f"its output {out.path} lies outside the project, or has no md5")
    return found, seen == {path: out.md5 for path, out in found.items() if path not in own}


def tables_of(lock: bytes) -> list[Out]:
    """The outputs that a version of the tables is made of: all that a `dvc.lock` names but its name. Raises as `outs`
    does."""
    return [out for path, out in outs(lock)[0].items() if path != f"data/{NAME}"]


def listing(content: bytes) -> dict[str, str]:
    """The md5 of each file of a folder, by its path in it, as DVC lists them in the object of the folder.

    Raises `ValueError` if it is no such list, or has a file outside of the folder.
    """
    try:
        found = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no list of DVC's ({error})") from None
    if not all(map(_inside, found)) or not all(map(MD5.fullmatch, found.values())):
        raise ValueError("it has a file outside of its folder, or without an md5")
    return found


def md5_of(place: Path) -> str | None:
    """The md5 by which DVC names an output as it lies on disk, of a folder that of its list; None if it is not there.
    """
    if place.is_file():
        return _md5_of_file(place)
    if not place.is_dir():
        return None
    listed = [{"md5": _md5_of_file(path), "relpath": path.relative_to(place).as_posix()}
              for path in place.rglob("*") if path.is_file()]
    listed.sort(key=lambda entry: entry["relpath"])
    return f"{_md5(json.dumps(listed, sort_keys=True).encode())}.dir"


def _whole(files: dict[str, Path]) -> dict[str, Path]:
    """The files, if none has been cut or changed, as far as nothing that they hold tells readers so."""
    if SUMS not in files:  # of an earlier version, or a file that stands alone
        for path in files.values():
            if _md5_of_file(path) != f"{path.parent.name}{path.name}":
                raise damaged(path)
    return files


def damaged(path: Path) -> UserError:
    """What is said of an object that is not what its name says."""
    return UserError(f"{path} of DVC's cache is damaged; remove it, and the next `python -m features fetch` brings it "
                     "again where a remote has it")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _inside(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts and "\0" not in path


class Cache:
    """The caches of this machine that may hold the objects of a project: its own first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders = [folder for folder in [folder_of(root)] if folder]
        self._all = False

    def has_remote(self) -> bool:
        """Whether DVC knows where to fetch from."""
        return bool((_config(self.root) or {}).get("core", {}).get("remote"))

    def files(self, outs: Sequence[Out]) -> dict[str, Path]:
        """Where the cache holds each file of these outputs, by its path in the project.

        Raises `Missing` with those that are not there, and `UserError` if one is not what its name says.
        """
        found: dict[str, Path] = {}
        missing = []
        for out in outs:
            try:
                found |= {f"{out.path}/{path}".rstrip("/"): place for path, place in self._files(out).items()}
            except Missing:
                missing.append(out)
        if missing:
            raise Missing(missing)
        return found

    def _listed(self, outs: Sequence[Out]) -> set[str]:
        """The files of the outputs whose lists are here."""
        files: set[str] = set()
        for out in outs:
            with contextlib.suppress(Missing):
                files |= set(self._listing(out).values())
        return files

    def _files(self, out: Out) -> dict[str, Path]:
        """The same of one output, by their path in it; of one that is a file, under ""."""
        if not out.md5.endswith(".dir"):
            return _whole({"": self._object(out, out.md5)})
        return _whole({path: self._object(out, md5) for path, md5 in self._listing(out).items()})

    def _listing(self, out: Out) -> dict[str, str]:
        """The md5 of each file of an output that is a folder, by its path in it; empty for a file."""
        if not out.md5.endswith(".dir"):
            return {}
        content = self._object(out, out.md5).read_bytes()
        if _md5(content) != out.md5.removesuffix(".dir"):
            raise damaged(self._object(out, out.md5))
        try:
            return listing(content)
        except ValueError as error:
            raise UserError(f"the list {out.md5} of {out.path} is not read: {error}") from None

    def _object(self, out: Out, md5: str) -> Path:
        for folder in self._folders:
            if (path := folder / md5[:2] / md5[2:]).is_file():
                return path
        if not self._all:  # only where something is missing: git is asked once more
            self._all = True
            others = map(folder_of, git.worktrees(self.root))
            self._folders += [folder for folder in others if folder and folder not in self._folders]
            return self._object(out, md5)
        raise Missing([out])

    def drop_damaged(self, outs: Sequence[Out]) -> int:
        """Remove the objects of these outputs that are not what their names say: how many."""
        dropped = 0
        for out in outs:
            with contextlib.suppress(Missing, UserError):
                for md5 in [*self._listing(out).values(), out.md5]:
                    path = self._object(out, md5)
                    if _md5_of_file(path) != md5.removesuffix(".dir"):
                        path.unlink()
                        dropped += 1
        return dropped

    def has_all(self, outs: Sequence[Out]) -> bool:
        """Whether this machine or the remote has all of these outputs. A remote that has the list of a folder has its
        files: DVC sends them first. One that does not answer has nothing."""
        try:
            self.files(outs)
            return True
        except UserError:  # damaged
            return False
        except Missing as missing:
            wanted = {out.md5 for out in missing.outs}
        if not self.has_remote():
            return False
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        try:
            with Repo(str(self.root)) as repo:
                return wanted <= set(repo.cloud.get_remote_odb().list_oids_exists(wanted))
        except (DvcException, OSError):
            return False

    def fetch(self, missing: Missing) -> None:
        """Bring outputs from the remote into the project's cache, with a bar. What the remote lacks stays missing.

        Raises `UserError` if there is no remote, or if it does not answer.
        """
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
        from dvc_data.hashfile.hash_info import HashInfo

        logging.getLogger("dvc").setLevel(logging.ERROR)  # what it warns of, our caller says
        try:
            with Repo(str(self.root)) as repo:
                for wanted in (lambda: {out.md5 for out in missing.outs},  # first the lists of folders,
                               lambda: self._listed(missing.outs)):  # then their files
                    repo.cloud.pull({HashInfo("md5", md5) for md5 in wanted()})
        except (DvcException, OSError) as error:
            raise UserError(f"DVC cannot fetch {missing.outs[0].path}: {' '.join(str(error).split())}") from None


def folder_of(root: Path) -> Path | None:
    """The folder of md5 objects that DVC's configuration of a project names; None without DVC."""
    config = _config(root)
    if config is None:
        return None
    return Path(config["cache"].get("dir") or Path(config.dvc_dir) / "cache") / "files" / "md5"


def _config(root: Path) -> Any:
    """DVC's configuration of a project, whose folder may lie inside that of DVC; None without DVC."""
    here = root.absolute()
    inside = next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), None)
    if inside is None:
        return None
    from dvc.config import Config, ConfigError

    try:
        return Config(str(inside / ".dvc"))
    except ConfigError as error:
        raise UserError(f"{inside / '.dvc' / 'config'}: {' '.join(str(error).split())}") from None
