"""What a git revision says of the tables: its `dvc.lock` and its `params.yaml`, read without a checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from features.errors import UserError

ELSEWHERE = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY",
             "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
             "GIT_REPLACE_REF_BASE")
"""Variables that lead git to another repository than the folder's own: it sets some of them where a hook runs."""
_HASH = re.compile(r"[0-9a-f]{40,64}")
_ODD = re.compile(r"[\x00-\x20\x7f]")
"""What no name of a revision holds: git's own rule, `git check-ref-format`; dates (`HEAD@{2 days ago}`) aside."""


@dataclass(frozen=True)
class Commit:
    """A commit, as far as tables go."""

    sha: str
    lock: bytes
    """Its `dvc.lock`, which names the tables by the md5 of their bytes."""
    params: bytes | None
    """Its `params.yaml`; None if it has none."""


def commit(root: Path, revision: str) -> Commit:
    """The commit that a branch, a tag, a hash or an expression such as `HEAD~1` names; `root` may be a folder inside
    the repository.

    Raises `UserError` if there is none, more than one, or none with a `dvc.lock`.
    """
    sha = resolve(root, revision)
    lock, params = _contents(root, [f"{sha}:./dvc.lock", f"{sha}:./params.yaml"])
    if lock is None:
        raise UserError(f"revision '{revision}' ({sha[:8]}) has no dvc.lock here, so that it names no tables")
    return Commit(sha, lock, params)


def resolve(root: Path, revision: str) -> str:
    """The full hash of the commit that a revision names. Raises as `commit` does."""
    if not revision or revision.startswith(("-", "^")) or _ODD.search(revision):
        raise UserError(f"'{revision}' is no name of a revision; a tag, a branch, a hash or HEAD~1 is")
    done = _git(root, "rev-parse", "--verify", f"{revision}^{{commit}}")
    said = done.stderr.decode(errors="replace").strip()
    if "is ambiguous" in said:
        how = ("it is a tag and a branch: say tags/… or heads/…" if "refname" in said
               else "several commits begin with these digits: give more of them")
        raise UserError(f"revision '{revision}' is ambiguous; {how}")
    sha = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0 and _HASH.fullmatch(sha):
        return sha
    if "not a git repository" in said:
        raise UserError(f"{root.absolute()} is in no git repository, so that there is no revision '{revision}'")
    if "Needed a single revision" in said or "unknown revision" in said:
        shallow = _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        raise UserError(f"git knows no revision '{revision}' here" + (
            "; this clone has not the whole history, `git fetch --unshallow --tags` brings it" if shallow else ""))
    raise UserError(f"git does not find revision '{revision}': {said.splitlines()[0] if said else 'it says nothing'}")


def there_is(root: Path, reference: str) -> bool:
    """Whether there is a branch `refs/heads/…` or a tag `refs/tags/…`; none where there is no git."""
    try:
        return _git(root, "show-ref", "--verify", "--quiet", reference).returncode == 0
    except UserError:
        return False


def worktrees(root: Path) -> list[Path]:
    """The same project in other checkouts of the repository on this machine."""
    below = _git(root, "rev-parse", "--show-prefix").stdout.decode(errors="replace").strip()
    listed = _git(root, "worktree", "list", "--porcelain").stdout.decode(errors="replace").splitlines()
    return [Path(line.removeprefix("worktree ")) / below for line in listed if line.startswith("worktree ")]


def _contents(root: Path, names: list[str]) -> list[bytes | None]:
    """The bytes that objects of git hold; None of those that are not there."""
    answer = _git(root, "cat-file", "--batch", told="".join(f"{name}\n" for name in names).encode()).stdout
    found: list[bytes | None] = []
    for _ in names:
        header, _, answer = answer.partition(b"\n")
        kind, size = (header.split()[-2:] if header.count(b" ") == 2 else (b"", b"0"))
        found.append(answer[:int(size)] if kind == b"blob" else None)
        answer = answer[int(size) + 1:] if kind else answer
    return found


def _git(root: Path, *arguments: str, told: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None:
        raise UserError("git is not installed here, and revisions are those of git")
    if not root.is_dir():
        raise UserError(f"there is no folder {root}")
    return subprocess.run([program, *arguments], cwd=root, input=told, capture_output=True, check=False,
                          env=environment())


def environment() -> dict[str, str]:
    """Variables for a git that reads the repository of its folder, and says what it says in English."""
    own = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return {**own, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
