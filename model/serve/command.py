"""`python -m model serve`: from the command line to a running server."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import UserError
from features.paths import Paths
from features.processes import available_cores
from model.header import MODEL
from model.prediction.recipe import Recipe
from model.prediction.workers import Workers
from model.serve.limits import Limits

if TYPE_CHECKING:
    from model.serve.desk import Desk

HOST = "127.0.0.1"
MOST_WORKERS = 8
MOST_CONNECTIONS = 256
PATIENCE_S = 2
"""For answers that are on their way when the server is told to end."""


def serve(root: Path, port: int, opens: bool, timeout_s: float) -> None:
    """Serve the page of a project's model until Ctrl-C.

    Raises `UserError` if the port is in use or there is no model.
    """
    limits = replace(Limits(), crystal_s=timeout_s)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(contextlib.closing(listen(port)))
        recipe = Recipe.early(Paths(root).model / MODEL)
        workers = None
        if recipe is not None:  # the processes import what they need while torch and the model are read
            workers = stack.enter_context(Workers(recipe, min(available_cores(), MOST_WORKERS), limits.crystal_s,
                                                  limits.worker_bytes))
        from model import checkpoint
        from model.prediction.predictor import Predictor

        predictor = Predictor.of(checkpoint.load(root))
        if workers is None:
            raise UserError(f"{Paths(root).model / MODEL} cannot be read; train again with `dvc repro`")
        from model.serve.desk import Desk

        _run(Desk(predictor, workers, limits), listening, opens)


def listen(port: int) -> socket.socket:
    """A socket of this machine alone; port 0 is any that is free. Raises `UserError` if it cannot be had."""
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()  # else two could bind it
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use: name another with --port, or 0 for any that is free") from None
        raise UserError(f"port {port} cannot be had: {error.strerror}") from None
    return made


def _run(desk: Desk, listening: socket.socket, opens: bool) -> None:
    import uvicorn

    from model.serve import app
    from model.serve.connections import Impatient

    port = listening.getsockname()[1]
    address = f"http://{HOST}:{port}/"

    class Server(uvicorn.Server):
        """One that says when it is there."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"{address} predicts {desk.predictor.target} of crystals that are dropped there; Ctrl-C ends it",
                  flush=True)
            if opens:
                webbrowser.open(address)

    config = uvicorn.Config(app.create(desk, port), http=Impatient, ws="none", log_level="error", access_log=False,
                            server_header=False, date_header=False, proxy_headers=False,
                            limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=PATIENCE_S)
    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
        Server(config).run(sockets=[listening])
