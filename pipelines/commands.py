"""Running other programs: their output line by line, their end with ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from features.errors import UserError

DAMAGED = ("RWLock-file", "dvc.lock' is invalid", "required key not provided", "not 'NoneType'", "corrupted")
"""What DVC says of files of its own that are damaged."""
GRACE_S = 10.0
"""How long a program that is told to end may take before it is killed."""


def run(command: list[str], cwd: Path, line: Callable[[str], None]) -> list[str]:
    """Run a command and give each line of its output to `line` at once; returns the last ones.

    Raises `UserError` with the program's own words if it fails. An exception that ends this call also ends the program
    and all that it has started.
    """
    tail: deque[str] = deque(maxlen=50)
    with subprocess.Popen(command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", start_new_session=True) as process:
        try:
            for text in process.stdout or ():
                if text.strip():
                    tail.append(text.rstrip())
                    line(tail[-1])
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code:
        named = command[1:3] if command[1].startswith("-") else command[1:2]
        raise UserError(f"{Path(command[0]).name} {' '.join(named)} failed: {_reason(list(tail), code)}")
    return list(tail)


def environment() -> dict[str, str]:
    """Ours, with the programs of this Python's environment first, whether or not it has been activated."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def program(name: str) -> str:
    """Path of a program: the one of this environment, or else of `PATH`."""
    beside_python = Path(sys.executable).with_name(name)
    path = str(beside_python) if beside_python.exists() else shutil.which(name)
    if path is None:
        raise UserError(f"the program '{name}' is not installed in this environment; run `make setup`")
    return path


def dvc_status(root: Path) -> dict[str, Any]:
    """What DVC has to say of each stage of `dvc.yaml`; nothing of those that are up to date.

    Stages of other files, such as the experiments, are no part of a refresh. Raises `UserError` if DVC is at work.
    """
    done = subprocess.run([program("dvc"), "status", "--json", "dvc.yaml"], cwd=root, env=environment(),
                          capture_output=True, text=True, check=False)
    if done.returncode and ("is busy" in done.stderr or "Unable to acquire lock" in done.stderr):
        raise UserError("DVC is at work here (`python -m pipelines status` says on what); try again when it is done")
    if done.returncode and any(words in done.stderr for words in DAMAGED):
        named = [name for name in ("dvc.lock", "rwlock") if name in done.stderr]
        raise UserError(f"{named[0] if named else 'the cache of runs'} is damaged, a file of DVC, perhaps by a kill; "
                        "`python -m pipelines repair` mends it")
    if done.returncode:
        raise UserError(f"dvc status: {_reason(done.stderr.splitlines(), done.returncode)}")
    content: dict[str, Any] = json.loads(done.stdout or "{}")
    return content


def changed(told: dict[str, Any], stage: str, kind: str) -> dict[str, Any]:
    """`{path: how}` of what DVC finds changed among the `deps` or the `outs` of a stage, from `dvc_status`."""
    return {path: how for entry in told.get(stage, []) if isinstance(entry, dict)
            for path, how in entry.get(f"changed {kind}", {}).items()}


def _reason(lines: list[str], code: int) -> str:
    """Why a program failed, in its own words: our `error:`, else DVC's `ERROR:`, else its last line."""
    ours = [line.split("error: ", 1)[1] for line in lines if "error: " in line and "for the reason above" not in line]
    theirs = [line for line in lines if line.startswith("ERROR: ") and "failed to reproduce" not in line]
    others = [line for line in lines if line.strip() and "failed to reproduce" not in line]
    return (ours[-1:] or theirs[:1] or others[-1:] or [f"exit code {code}"])[0]


def _end(process: subprocess.Popen[str]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.killpg(process.pid, how)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        return
