"""The two ways in which something can fail without being a bug."""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Callable

from features.redaction import redacted
from features.terminal import printable

LONGEST = 2000
"""Characters of an error, however much of a file it quotes."""
STOPPED = 130
"""Exit code after Ctrl-C."""


class UserError(Exception):
    """Something the user can put right. Shown as one line; the process ends with exit code 2."""


class RowError(Exception):
    """One row cannot be computed, for a known reason. `kind` is what SQL groups rejects by."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _redacted(run: Callable[[Callable[[], None]], None]) -> Callable[[Callable[[], None]], None]:
    """The same, but the traceback of a bug, which may quote anything, is printed without secrets."""
    @functools.wraps(run)
    def outer(app: Callable[[], None]) -> None:
        try:
            run(app)
        except Exception:
            print(printable(redacted(traceback.format_exc())), end="", file=sys.stderr)
            sys.exit(1)

    return outer


@_redacted
def run_cli(app: Callable[[], None]) -> None:
    """Run a command-line application: a user's mistake becomes one line and exit code 2, a bug keeps its traceback."""
    try:
        app()
    except UserError as error:
        _stop(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("features", "pipelines", "model"):
            raise
        _stop(f"the package {error.name} is not installed here; run `make setup`")
    except MemoryError as error:
        _stop(f"not enough memory ({str(error) or 'no more could be had'}); finished rows are stored")
    except OSError as error:
        if error.errno is None:
            raise
        _stop(of_the_machine(error))
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        _stop("not enough memory, or no more threads allowed (`ulimit -u`), to start another thread; finished rows are "
              "stored")
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def of_the_machine(error: OSError) -> str:
    """What an error of the system means, and what to do about it, in a line."""
    where = f": {error.filename}" if error.filename else ""
    said, number = f"{error.strerror or error}{where}", error.errno
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write: {said}; finished rows are stored, free the space and run again"
    if number == errno.EROFS:
        return f"cannot write: {said}; the disk can only be read, so make it writable or work in another folder"
    if number in (errno.EACCES, errno.EPERM):
        return f"not allowed: {said}; change whose it is or who may read and write it"
    if number in (errno.EMFILE, errno.ENFILE):
        return f"{said}; finished rows are stored, allow more open files (`ulimit -n`) or close other programs"
    if number == errno.EIO:
        return f"the disk or network does not read or write ({said}); finished rows are stored"
    return said


def _stop(message: str) -> None:
    line = printable(redacted(" ".join(message.split())))
    print(f"error: {line if len(line) <= LONGEST else f'{line[:LONGEST]}…'}", file=sys.stderr)
    sys.exit(2)
