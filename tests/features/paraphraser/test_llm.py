"""The client of an OpenAI-compatible endpoint, against a server that speaks the protocol."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from features import sentences
from features.errors import RowError, UserError
from features.params import parse_section
from features.paraphraser import llm
from features.views import paraphrases
from features.views.paraphrases import ParaphraseParams
from tests.features.texts import MOS2

KEY = "sk-never-written-down"


class Endpoint(BaseHTTPRequestHandler):
    """Answers with what `behaviour` makes of the numbered sentences."""

    behaviour: ClassVar[Any] = None
    requests: ClassVar[list[dict[str, Any]]] = []
    statuses: ClassVar[list[int]] = []
    raw: ClassVar[bytes] = b""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).requests.append({"path": self.path, "key": self.headers["Authorization"], **body})
        status = self.statuses.pop(0) if self.statuses else 200
        content = type(self).behaviour(body["messages"][-1]["content"], len(self.requests))
        answer = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}]}
        payload = self.raw or json.dumps(answer if status == 200 else {"error": {"message": f"no, {KEY}"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Endpoint]]:
    Endpoint.requests, Endpoint.statuses, Endpoint.raw = [], [], b""
    Endpoint.behaviour = staticmethod(lambda text, _number: reworded(text))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"  # type: ignore[attr-defined]
    monkeypatch.setenv("TEST_KEY", KEY)
    llm._client.cache_clear()
    yield Endpoint
    server.shutdown()
    server.server_close()


def reworded(numbered: str) -> str:
    return numbered.replace("bond lengths are", "bonds measure").replace("is bonded to", "has bonds with")


def swapped_lines(numbered: str) -> str:
    """The words of line 2 under the number of line 3, and the other way round: every sentence in the wrong region."""
    lines = [line.split(". ", 1)[1] for line in numbered.splitlines()]
    lines[1], lines[2] = lines[2], lines[1]
    return "\n".join(f"{number}. {words}" for number, words in enumerate(lines, start=1))


def params(endpoint: Any, **changes: Any) -> ParaphraseParams:
    asked = {"url": endpoint.url, "model": "tiny", "api_key_env": "TEST_KEY", "retries": 2, "timeout_s": 10.0}
    return ParaphraseParams.model_validate({"method": "llm", "variants": 1, "attempts": 3, "least_distance": 0.0,
                                            "llm": {**asked, **changes}})


def unit() -> dict[str, Any]:
    return {"material_id": "mp-1", "text": MOS2, "sentences": sentences.to_rows(sentences.tag(MOS2))}


def test_an_answer_becomes_a_row(endpoint: type[Endpoint]) -> None:
    (row,) = paraphrases.compute.function(unit(), params(endpoint))
    assert "All Mo(1)-S(1) bonds measure 2.41 Å." in row["text"]
    assert (row["method"], row["model"], row["attempts"], row["n_reworded"]) == ("llm", "tiny", 1, 2)
    assert [tag["region"] for tag in row["sentences"]] == [tag.region for tag in sentences.tag(MOS2)]
    (request,) = endpoint.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == f"Bearer {KEY}"
    assert request["messages"][0]["content"] == llm.prompt()
    assert "Keep every number" in llm.prompt()
    assert KEY not in json.dumps(row)
    assert KEY not in json.dumps(params(endpoint).model_dump())


def test_an_unfaithful_answer_is_asked_again(endpoint: type[Endpoint]) -> None:
    endpoint.behaviour = staticmethod(
        lambda text, number: reworded(text).replace("2.41", "2.14") if number == 1 else reworded(text))
    (row,) = paraphrases.compute.function(unit(), params(endpoint))
    assert row["attempts"] == 2
    assert "2.41" in row["text"]
    assert endpoint.requests[0]["seed"] != endpoint.requests[1]["seed"]


@pytest.mark.parametrize("behaviour", [
    lambda text, _: reworded(text).replace("six", "five"),
    lambda text, _: re.sub(r"\d+\. ", "", text),
    lambda text, _: text.splitlines()[0],
    lambda *_: "",
    lambda text, _: text,
    lambda text, _: swapped_lines(reworded(text)),
])
def test_what_never_is_faithful_is_dropped(endpoint: type[Endpoint], behaviour: Any) -> None:
    endpoint.behaviour = staticmethod(behaviour)
    with pytest.raises(RowError, match="none of 3 wordings"):
        paraphrases.compute.function(unit(), params(endpoint))
    assert len(endpoint.requests) == 3


def test_a_busy_server_is_asked_again(endpoint: type[Endpoint]) -> None:
    endpoint.statuses = [429, 503]
    assert len(paraphrases.compute.function(unit(), params(endpoint))) == 1
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(("statuses", "message"), [([401], "refuses the key in TEST_KEY"),
                                                   ([500] * 3, r"cannot be asked \(InternalServerError\)")])
def test_a_server_that_fails_stops_the_run(endpoint: type[Endpoint], statuses: list[int], message: str) -> None:
    endpoint.statuses = statuses
    with pytest.raises(UserError, match=message) as error:
        paraphrases.compute.function(unit(), params(endpoint))
    assert KEY not in str(error.value)


def test_without_a_key(endpoint: type[Endpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(UserError, match="set the environment variable TEST_KEY"):
        paraphrases.compute.function(unit(), params(endpoint))


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?key=secret", "host/v1", "file:///etc"])
def test_no_secret_in_the_address(url: str) -> None:
    with pytest.raises(UserError, match="without user, password or query") as error:
        parse_section({"method": "llm", "llm": {"model": "m", "url": url}}, "paraphrase", ParaphraseParams)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("answer", [b"<html>hello</html>", b'{"error": "quota"}', b"[]"])
def test_an_endpoint_of_another_kind_stops_the_run(endpoint: type[Endpoint], answer: bytes) -> None:
    endpoint.raw = answer
    with pytest.raises(UserError, match=r"does not answer as|cannot be asked"):
        paraphrases.compute.function(unit(), params(endpoint))
