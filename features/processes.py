"""Worker processes of this machine: a fork server that has imported what they need, and how they begin and end."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_starting = threading.Lock()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fork_server(preload: Sequence[str]) -> Any:
    """A fork server that has imported what workers need: a new worker after a crash starts in no time.

    Workers inherit one thread for linear algebra from it, since the processes already fill the cores. A process has
    one such server: what a later job wants besides, its workers import themselves.
    """
    context = multiprocessing.get_context("forkserver")
    with _starting:
        before = {name: os.environ.get(name) for name in THREADS}
        context.set_forkserver_preload(list(preload))
        os.environ.update(dict.fromkeys(THREADS, "1"))
        multiprocessing.resource_tracker.ensure_running()  # which would unblock the signal
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the server's imports know no Ctrl-C
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
    return context


def ready(preload: Sequence[str]) -> None:
    """First thing in a worker. Ctrl-C is the parent's to handle, and a parent that was killed leaves no orphans."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for module in preload:
        with contextlib.suppress(ImportError):  # the run that needs it will stop and say so
            importlib.import_module(module)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
