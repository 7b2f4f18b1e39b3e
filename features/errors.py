"""The two ways in which something can fail without being a bug."""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Callable

from features.redaction import redacted


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
            print(redacted(traceback.format_exc()), end="", file=sys.stderr)
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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f" ({error.filename})" if error.filename else ""
        _stop(f"cannot write: {error.strerror}{where}; finished rows are stored, free the space and run again")


def _stop(message: str) -> None:
    print(f"error: {redacted(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)

