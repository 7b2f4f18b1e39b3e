"""Features of many crystals at once, by processes, in the order in which the crystals were given.

A crystal that hangs is ended after its time, and one that kills its process costs nothing but itself.
"""

from __future__ import annotations

import itertools
import resource
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Self

from features.errors import RowError, UserError
from features.processes import fork_server, ready
from model.prediction.inputs import Given
from model.prediction.recipe import Made, Recipe, failed, make

TIMEOUT_S = 300.0
"""Longest time for the features of one crystal, unless another is asked for."""
AHEAD = 4
"""Crystals for each process that are out or wait to be asked for: no process idles, and the memory stays bounded."""
GB = 1_000_000_000
WORKER_BYTES = 6 * GB
"""Address space of a process that describes: a gigabyte of libraries, and what the largest crystals need."""


class Workers:
    """Processes that make features by a recipe. They begin to import what they need at once; leaving the context ends
    them, whatever they are doing. `memory_bytes` bounds the address space of each; a crystal that needs more fails."""

    def __init__(self, recipe: Recipe, count: int, timeout_s: float = TIMEOUT_S,
                 memory_bytes: int | None = None) -> None:
        from pebble import ProcessPool

        self.recipe, self.count, self.timeout_s, self.memory_bytes = recipe, count, timeout_s, memory_bytes
        context = fork_server(recipe.preload)
        self._pool: Any = ProcessPool(max_workers=count, context=context, initializer=_begin,
                                      initargs=[recipe.preload, memory_bytes])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes, whatever they are doing."""
        self._pool.stop()
        self._pool.join()

    def one(self, given: Given) -> Made:
        """The features of one crystal. Any thread may ask, and waits until a process is free and done."""
        return self._result(*self._started(given))

    def map(self, crystals: Iterable[Given]) -> Iterator[Made]:
        """The features of each, the first of them in work at once.

        The iterator raises the errors of `features.view.ENVIRONMENT`, which are no crystal's.
        """
        coming = iter(crystals)
        out = deque(self._started(given) for given in itertools.islice(coming, AHEAD * self.count))
        return self._in_order(coming, out)

    def _started(self, given: Given) -> tuple[Given, Any]:
        return given, self._pool.schedule(make, args=[self.recipe, given], timeout=self.timeout_s)

    def _in_order(self, coming: Iterator[Given], out: deque[tuple[Given, Any]]) -> Iterator[Made]:
        try:
            while out:
                yield self._result(*out.popleft())
                out.extend(self._started(given) for given in itertools.islice(coming, 1))
        finally:
            for _, future in out:
                future.cancel()

    def _result(self, given: Given, future: Any) -> Made:
        from pebble import ProcessExpired

        try:
            made: Made = future.result()
        except BrokenExecutor:
            raise UserError("processes that describe crystals cannot be started; in a script the work must stand below "
                            "`if __name__ == \"__main__\":`, since they import it") from None
        except (TimeoutError, FutureTimeoutError):
            return failed(given.name, RowError("timeout", f"took longer than {self.timeout_s:g} s"))
        except ProcessExpired as error:
            code = error.exitcode
            how = signal.Signals(-code).name if code and code < 0 else code
            return failed(given.name, RowError("crash", f"the process that read it died ({how})"))
        except MemoryError:
            if self.memory_bytes is None:
                raise
            return failed(given.name, RowError("memory", f"needs more than {self.memory_bytes / GB:g} GB of memory"))
        return made


def _begin(preload: Sequence[str], memory_bytes: int | None) -> None:
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    ready(preload)
