"""A connection that never finishes its request keeps nobody out."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from model.serve import command
from model.serve.connections import Impatient

PATIENCE_S = 0.4


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after its caller's patience would be over."""
    await asyncio.sleep(2 * PATIENCE_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    class Sooner(Impatient):
        patience_s = PATIENCE_S

    with command.listen(0) as listening:
        server = uvicorn.Server(uvicorn.Config(slow, http=Sooner, lifespan="off", log_level="error",
                                               limit_concurrency=5))
        running = threading.Thread(target=server.run, args=[[listening]])
        running.start()
        yield listening.getsockname()
        server.should_exit = True
        running.join(20)


def test_who_says_nothing_is_left(address: tuple[str, int]) -> None:
    host, port = address
    crowd = [socket.create_connection((host, port), timeout=20) for _ in range(4)]
    for number, wire in enumerate(crowd):
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x"[:8 * number])
    deadline = time.monotonic() + 20
    while httpx.get(f"http://{host}:{port}/", timeout=20).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [wire.recv(100) for wire in crowd] == [b""] * 4


def test_an_answer_that_takes_long_comes(address: tuple[str, int]) -> None:
    """And a second request on the same connection is waited for as the first."""
    with socket.create_connection(address, timeout=20) as wire:
        for _ in range(2):
            wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            said = b""
            while b"\r\n\r\nok" not in said:  # head and body may come one after the other
                said += wire.recv(1000)
            assert said.startswith(b"HTTP/1.1 200 OK")
            time.sleep(PATIENCE_S / 4)
        wire.sendall(b"GET /")
        began = time.monotonic()
        while wire.recv(100):
            pass
        assert time.monotonic() - began < 3
