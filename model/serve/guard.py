"""Who is answered: pages of this server in a browser on this machine, and nobody else.

A web page of somebody else could send requests to a local port too, or let its own name point here (DNS rebinding). So
the host that a request names must be this machine's; whatever changes or computes something must come from this page;
and no permission for other origins (CORS) is ever given, so that a browser asks for none of what only scripts may send.
"""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
METHODS = ("GET", "POST")
READ_ONLY = ("GET",)
TYPES = ("application/json", "application/octet-stream")
"""Content types of a POST: none that a form of another page can send."""
HEADERS = {
    "content-security-policy": "frame-ancestors 'none'",  # what a page may do stands in the page itself
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses what does not come from this server's page, and says in each answer what a browser may do with it."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = {f"{host}:{port}" for host in HOSTS} | (set(HOSTS) if port == 80 else set())
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((name.encode(), value.encode())
                                                             for name, value in HEADERS.items())]
            await send(message)

        why = self._why_not(scope) if scope["type"] == "http" else (403, "only HTTP is spoken here")
        if why is None:
            await self.app(scope, receive, guarded)
        else:
            await _refuse(guarded, *why)

    def _why_not(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 403, "this server answers to the address that it printed, and to no other name"
        if scope["method"] not in METHODS:
            return 405, f"{' and '.join(METHODS)} are the methods here"
        if scope["method"] in READ_ONLY:
            return None
        origins = headers.get("origin", [])
        if len(origins) != 1 or origins[0].lower() not in self.origins:
            return 403, "only the page of this server may ask this"
        types = [value.split(";")[0].strip().lower() for value in headers.get("content-type", [])]
        if len(types) != 1 or types[0] not in TYPES:
            return 415, f"the content type must be {' or '.join(TYPES)}"
        return None


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
