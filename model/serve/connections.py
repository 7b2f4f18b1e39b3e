"""Connections that say nothing are closed: uvicorn waits for the rest of a request for ever, and whoever opens many of
those would keep everybody else out."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Impatient(H11Protocol):
    """HTTP/1.1 on a connection that is closed when no whole request has begun after `patience_s`."""

    patience_s = 30.0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Go on waiting, unless the head of a request is there: reading the rest has a bound of its own."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to wait for."""
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def _watch(self) -> None:
        if self._is_idle() and self._waiting is None:
            self._waiting = self.loop.call_later(self.patience_s, self._end)
        elif not self._is_idle() and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _end(self) -> None:
        self._waiting = None
        if self._is_idle():
            self.transport.close()
