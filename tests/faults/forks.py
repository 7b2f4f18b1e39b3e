"""Work in forks: everything is imported once, and each case runs in a process of its own that may die."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.faults.disk import Control, attach

OK, SAID, TRACEBACK, HUNG = 0, 2, 1, 124
KILLED = -signal.SIGKILL
PATIENCE_S = 120.0
T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    """Exit code; negative for a signal."""
    out: str
    err: str

    @property
    def one_line(self) -> bool:
        """Whether it ended as a user's mistake does: one line `error: …` at its end, exit code 2, no traceback."""
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return self.code == SAID and len(errors) == 1 and "Traceback" not in self.err

    @property
    def traceback(self) -> bool:
        """Whether anything of it is a traceback, or it died without a word."""
        return self.code not in (OK, SAID) or "Traceback (most recent call last)" in self.err

    def brief(self) -> str:
        """The last line that says something, and is no picture of the place above it."""
        lines = [line for line in self.err.splitlines() if line.strip(" ^~")]
        return f"exit code {self.code}: {(lines or [''])[-1][:300]}"


def in_a_fork(work: Callable[[], Any], control: Control | None = None, patience_s: float = PATIENCE_S,
              memory: int | None = None) -> Ended:
    """Do it in a child that leads a process group of its own. `UserError`s end it as they end a command.

    Args:
        control: what happens to its changes of the disk.
        memory: bytes that it may take beside what it has at its start.
    """
    # files, not pipes: what the child starts may hold them open
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _be_the_child(work, control, memory, out.fileno(), err.fileno())
        code = _wait(child, patience_s)
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read().decode(errors="replace"), err.read().decode(errors="replace"))


def _be_the_child(work: Callable[[], Any], control: Control | None, memory: int | None, out: int, err: int) -> None:
    code = TRACEBACK
    try:
        os.setpgid(0, 0)
        ends_with_its_parent()
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True)
        if memory is not None:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
        if control is not None:
            attach(control)
        from features.errors import run_cli

        run_cli(work)
        code = OK
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else SAID if end.code else OK
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ends_with_its_parent() -> None:
    """Have the system end this process with its parent, so that a harness that is stopped leaves nothing at work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)


def _wait(child: int, patience_s: float) -> int:
    """How the child ended; what it has left of its group is ended with it."""
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    limit, nap = time.monotonic() + patience_s, 0.001
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > limit:
            with contextlib.suppress(OSError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG
        time.sleep(nap)
        nap = min(0.02, nap * 1.5)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    return code


def spread(cases: Iterable[T], work: Callable[[T], dict[str, Any] | None], jobs: int,
           until: float | None = None) -> Iterator[dict[str, Any]]:
    """What `work` makes of each case, over `jobs` forks that take them in turns. No case begins after `until`."""
    with tempfile.TemporaryDirectory() as folder:
        children = [_worker(cases, work, number, jobs, until, Path(folder, str(number))) for number in range(jobs)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        for number, code in enumerate(codes):
            for line in Path(folder, str(number)).read_text().splitlines():
                yield json.loads(line)
            if code:
                raise RuntimeError(f"a worker of the harness ended with {code}")


def _worker(cases: Iterable[T], work: Callable[[T], dict[str, Any] | None], number: int, jobs: int,
            until: float | None, path: Path) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        ends_with_its_parent()
        with path.open("w") as file:
            for turn, case in enumerate(cases):
                if turn % jobs != number:
                    continue
                if until is not None and time.monotonic() > until:
                    break
                if os.environ.get("FAULTS_TELL"):
                    print(f"[{number}] {case}", file=sys.stderr, flush=True)
                result = work(case)
                if result is not None:
                    file.write(json.dumps(result) + "\n")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
