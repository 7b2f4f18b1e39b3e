"""Asking a web server that may be busy, slow or broken. The clients of all sources send their requests through here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import requests
from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.util.retry import Retry

from features.errors import UserError
from features.store.sums import read_sound
from pipelines.params import WebParams

AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers that another attempt may mend."""
LONGEST_WAIT_S = 120


class Session(requests.Session):
    """A session whose every answer is complete JSON, or an error that says in one line what is wrong.

    Time-outs, dropped connections, bodies that break off, 429 and 5xx are asked again with growing waits (urllib3's
    `Retry` knows how long, and heeds `Retry-After`). Redirections are refused: they would carry `secret` elsewhere.
    """

    def __init__(self, params: WebParams, headers: dict[str, str], secret: str | None = None) -> None:
        super().__init__()
        self.headers.update(headers)
        self.patience = params
        self.secret = secret
        self.meta: dict[str, Any] = {}
        """The `meta` of the latest answer, which clients keep to themselves."""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """The answer to a request. Raises `UserError` where asking again does not help or did not."""
        options |= {"timeout": self.patience.timeout_s, "allow_redirects": False}
        policy = Retry(total=self.patience.attempts - 1, backoff_factor=self.patience.backoff_s,
                       backoff_max=LONGEST_WAIT_S, retry_after_max=LONGEST_WAIT_S)
        while True:
            response: requests.Response | None = None
            try:
                response = super().request(method, url, **options)
                why = self._trouble(response)
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError,
                    requests.exceptions.ContentDecodingError) as error:
                why = "does not answer in time" if isinstance(error, requests.Timeout) else \
                    f"breaks off or cannot be reached ({type(error).__name__})"
            except requests.RequestException as error:
                raise UserError(f"{host(url)} cannot be asked: {self.shown(str(error))}") from None
            if why is None and response is not None:
                return response
            try:
                # the error only counts the attempt; what it is decides nothing
                policy = policy.increment(method, url, error=TimeoutError())
            except MaxRetryError:
                raise UserError(f"{host(url)} {why}, asked {self.patience.attempts} times; what was pulled is stored, "
                                "run the command again to go on") from None
            try:
                # not `response`: requests counts one of 400 and more as false
                policy.sleep(None if response is None else response.raw)
            except InvalidHeader:
                policy.sleep()

    def _trouble(self, response: requests.Response) -> str | None:
        """Why the answer should be asked for again; None if it is good."""
        status, where = response.status_code, host(response.url)
        if status in AGAIN:
            return f"answers {status}"
        if 300 <= status < 400:
            raise UserError(f"{where} sends us elsewhere ({status}); set the address it moved to")
        if status == 401:
            hint = "it does not accept the key in MP_API_KEY" if self.secret else "it wants a login"
            raise UserError(f"{where} refuses access (401): {hint}")
        if status >= 400:
            raise UserError(f"{where} refuses the request ({status}): {self.shown(_detail(response))}")
        try:
            content = response.json()
        except ValueError:
            return "gives broken JSON"
        if not isinstance(content, dict) or not isinstance(content.get("data", []), list):
            return "gives JSON of another kind"
        self.meta = content.get("meta") or {}
        return None

    def shown(self, text: str) -> str:
        """A foreign text as part of one line of ours: short, printable and without the secret."""
        if self.secret:
            text = text.replace(self.secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


def read_stored(path: Path, columns: list[str] | None = None) -> pa.Table | None:
    """A file of what was pulled; None if it is not there, or is damaged and removed, since it only saved work."""
    return read_sound(path, "it is pulled again", lambda file: file.read(columns))


def host(url: str) -> str:
    """The server of an address, as messages name it."""
    return urlsplit(url).netloc or url


def _detail(response: requests.Response) -> str:
    """What the server says is wrong: FastAPI's `detail`, OPTIMADE's `errors`, or its text."""
    try:
        content = response.json()
    except ValueError:
        return response.text
    if isinstance(content, dict):
        return str(content.get("detail") or content.get("errors") or content)
    return str(content)
