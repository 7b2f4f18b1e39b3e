"""The server's addresses: the page, and what it asks.

Bodies are read here and not by FastAPI, so that reading stops at a bound, whatever a request says of its length.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response

from model.report.page import plain
from model.serve.desk import Desk, Wanted
from model.serve.guard import Guard
from model.serve.limits import MB, Limits, RefusedError

T = TypeVar("T")
Name = Annotated[str, Query(min_length=1)]
Rows = Annotated[tuple[str, ...], Field(max_length=1000)]


class Edit(BaseModel):
    """An edited description."""

    model_config = ConfigDict(extra="forbid")
    digest: str
    rows: Rows


class Line(BaseModel):
    """As `Wanted`."""

    model_config = ConfigDict(extra="forbid")
    name: str
    digest: str | None = None
    rows: Rows | None = None
    error: str | None = None


class Lane:
    """Work of one kind: so much at once, and so much that waits; who comes then is told to come again."""

    def __init__(self, at_once: int, most: int) -> None:
        self.limiter, self.most, self.here = CapacityLimiter(at_once), most, 0

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        if self.here >= self.most:
            raise RefusedError(429, "the server has its hands full: try again in a moment")
        self.here += 1
        try:
            return await to_thread.run_sync(work, *arguments, limiter=self.limiter)
        finally:
            self.here -= 1


def create(desk: Desk, port: int) -> FastAPI:
    """The application of a model; its worker processes end with it."""
    limits = desk.limits

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        desk.warm()
        yield
        desk.workers.stop()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(Guard, port=port)
    describing = Lane(desk.workers.count, limits.waiting)
    explaining = Lane(1, limits.waiting)
    small = Lane(2, limits.waiting)

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(await small.run(desk.live))

    @app.post("/api/crystal")
    async def crystal(request: Request, name: Name) -> Response:
        _bounded(name, limits.name_characters, "the name of a file")
        raw = await body(request, limits.file_bytes, limits)
        digest, card = await describing.run(desk.crystal, name, raw)
        return _json({"digest": digest, "card": asdict(card)})

    @app.post("/api/explanation")
    async def explanation(request: Request) -> Response:
        (line,) = await lines(request, 1)
        return _json({"card": asdict(await explaining.run(desk.explained, line))})

    @app.post("/api/edit")
    async def edit(request: Request) -> Response:
        asked = _parsed(TypeAdapter(Edit), await body(request, limits.json_bytes, limits))
        _bounded("".join(asked.rows), limits.text_characters, "a description")
        return _json(asdict(await small.run(desk.edited, asked.digest, asked.rows)))

    @app.post("/api/table.csv")
    async def csv(request: Request) -> Response:
        return Response(await small.run(desk.csv, await lines(request, limits.crystals)), media_type="text/csv")

    @app.post("/api/table.json")
    async def table(request: Request) -> Response:
        return Response(await small.run(desk.json, await lines(request, limits.crystals)),
                        media_type="application/json")

    @app.post("/api/page.html")
    async def html(request: Request) -> Response:
        return HTMLResponse(await explaining.run(desk.page, await lines(request, limits.crystals)))

    async def lines(request: Request, most: int) -> list[Wanted]:
        found = _parsed(TypeAdapter(list[Line]), await body(request, limits.json_bytes, limits))
        if not 1 <= len(found) <= most:
            raise RefusedError(422, f"between 1 and {most} crystals may be asked for at once")
        for one in found:
            _bounded(one.name, limits.name_characters, "the name of a file")
            _bounded("".join(one.rows or ()), limits.text_characters, "a description")
        return [Wanted(one.name, one.digest, one.rows, one.error) for one in found]

    _say_errors(app)
    return app


async def body(request: Request, most: int, limits: Limits) -> bytes:
    """All of a request's body. Raises `RefusedError` at the first byte too many, or if it does not come in time."""
    too_large = RefusedError(413, f"larger than {most / MB:g} MB: no crystal file that can be used is")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise too_large
    result = bytearray()
    try:
        async with asyncio.timeout(limits.upload_s):
            async for part in request.stream():
                result += part
                if len(result) > most:
                    raise too_large
    except TimeoutError:
        raise RefusedError(408, f"the request did not arrive within {limits.upload_s:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the request was broken off") from None
    return bytes(result)


def _parsed(as_what: TypeAdapter[T], raw: bytes) -> T:
    try:
        return as_what.validate_json(raw)
    except ValidationError as error:
        where = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, where["loc"]))
        raise RefusedError(422, f"the request cannot be read: {place + ': ' if place else ''}{where['msg']}") from None


def _bounded(text: str, most: int, what: str) -> None:
    if len(text) > most:
        raise RefusedError(422, f"{what} may have {most} characters")


def _json(content: Any) -> Response:
    return Response(json.dumps(plain(content), ensure_ascii=False, allow_nan=False), media_type="application/json")


def _say_errors(app: FastAPI) -> None:
    """Whatever goes wrong is one sentence to whoever asked; what is a bug stands in the server's log too."""
    def said(status: int, why: str) -> JSONResponse:
        # what of a refused request is still to come is not waited for
        return JSONResponse({"error": why}, status, {"connection": "close"} if status >= 400 else None)

    async def refused(_request: Request, error: Exception) -> Response:
        return said(error.status, error.why)  # type: ignore[attr-defined]

    async def http(_request: Request, error: Exception) -> Response:
        return said(error.status_code, str(error.detail))  # type: ignore[attr-defined]

    async def unreadable(_request: Request, _error: Exception) -> Response:
        return said(422, "the request cannot be read")

    async def failed(_request: Request, _error: Exception) -> Response:
        return said(500, "the server failed at this; where it was started it says why")

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(Exception, failed)

