"""Locks of the system, which end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


def is_held(lock: Path) -> bool:
    """Whether a process holds this lock; one that this user may not try is taken to be held."""
    try:
        handle = os.open(lock, os.O_RDONLY)  # which suffices, and may be another user's
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)  # else this file system has no locks at all
    finally:
        os.close(handle)
