"""The shim's stand-in where there is no C compiler: functions of `os` and pyarrow's writer, wrapped in one process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from tests.faults.disk import COUNT, KILL, Control

ON_FILES = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "link", "symlink", "write", "fsync", "open")
"""Functions of `os` through which all of a stage's changes of the disk go, but for the writing of Parquet files."""
ON_PARQUET = ("__init__", "write_table", "close")
"""A file begun, half-written, and without its end."""


def attach(control: Control) -> None:
    """Have this process obey a block until it ends."""
    for name in ON_FILES:
        writes = _opens_to_write if name == "open" else (lambda *_, **__: True)
        setattr(os, name, _counted(control, name, getattr(os, name), writes))
    for name in ON_PARQUET:
        setattr(pq.ParquetWriter, name, _counted(control, name, getattr(pq.ParquetWriter, name)))


def _counted(control: Control, name: str, function: Any,
             changes: Callable[..., bool] = lambda *_, **__: True) -> Any:
    action = control.action

    def call(*arguments: Any, **options: Any) -> Any:
        if changes(*arguments, **options):
            control.count += 1
            if action == KILL and control.count == control.number:
                control.say(f"{name} {arguments[:1]}")
                os.killpg(os.getpgrp(), signal.SIGKILL)
            if action not in (COUNT, KILL) and control.number and control.count >= control.number:
                control.say(f"{name} {arguments[:1]}")
                raise OSError(control.error, os.strerror(control.error), str(arguments[0]))
        return function(*arguments, **options)

    return call


def _opens_to_write(_path: Any, flags: int, *_: Any, **__: Any) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
