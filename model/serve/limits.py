"""How much of anything is taken, and what is said to those who bring more."""

from __future__ import annotations

from dataclasses import dataclass

from model.prediction.workers import GB

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds of one server."""

    file_bytes: int = 5 * MB
    """Of a crystal file, as it comes and unpacked."""
    json_bytes: int = 5 * MB
    """Of any other request."""
    name_characters: int = 300
    text_characters: int = 50_000
    """Of an edited description."""
    crystals: int = 200
    """On one page, in one table, and in the server's memory."""
    upload_s: float = 30.0
    """For a request to arrive."""
    crystal_s: float = 60.0
    """For the features of one crystal."""
    worker_bytes: int = 6 * GB
    """Address space of a process that describes."""
    waiting: int = 16
    """Requests of one kind that are in work or wait for it."""


class RefusedError(Exception):
    """A request that is not answered: the status of HTTP, and why in a sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class UnusableError(RefusedError):
    """A file or an edited text that no prediction can be made of: the request was right, and this is its answer."""

    def __init__(self, why: str) -> None:
        super().__init__(200, why)
