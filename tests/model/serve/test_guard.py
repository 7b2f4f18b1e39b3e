"""Who is answered, and what an answer lets a browser do."""

from html import unescape

import pytest
from starlette.testclient import TestClient

from tests.model.serve.conftest import JSON, PORT, RAW


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80",
                                  f"127.0.0.2:{PORT}", f"127.0.0.1.evil.example:{PORT}",
                                  f"localhost:{PORT}@evil.example", ""])
def test_another_name_is_not_answered(client: TestClient, host: str) -> None:
    for answer in (client.get("/", headers={"host": host}),
                   client.post("/api/edit", headers={**JSON, "host": host}, content="{}")):
        assert answer.status_code == 403
        assert answer.json() == {"error": "this server answers to the address that it printed, and to no other name"}


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}"])
def test_names_of_this_machine_are(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200
    answer = client.post("/api/edit", headers={**JSON, "host": host, "origin": f"http://{host}"}, content="{}")
    assert "digest: Field required" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:8051",
                                    "http://127.0.0.1", None])
def test_another_page_cannot_ask(client: TestClient, origin: str | None) -> None:
    headers = {name: value for name, value in {**RAW, "origin": origin}.items() if value is not None}
    for path in ("/api/crystal?name=a.cif", "/api/explanation", "/api/edit", "/api/table.csv", "/api/page.html"):
        answer = client.post(path, headers=headers, content=b"data_x")
        assert answer.status_code == 403
        assert answer.json() == {"error": "only the page of this server may ask this"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  ""])
def test_what_a_form_can_send_is_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/api/crystal?name=a.cif", headers={**RAW, "content-type": kind}, content=b"data_x")
    assert answer.status_code == 415


def test_no_other_origin_gets_a_permission(client: TestClient) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST",
             "access-control-request-headers": "content-type"}
    answer = client.options("/api/crystal", headers=asked)
    assert answer.status_code == 405
    for one in (answer, client.get("/", headers={"origin": "https://evil.example"})):
        assert not any(name.startswith("access-control") for name in one.headers)


def test_every_answer_says_what_a_browser_may_do(client: TestClient) -> None:
    answers = [client.get("/"), client.get("/nowhere"), client.get("/", headers={"host": "evil.example"}),
               client.post("/api/edit", headers=JSON, content="{}")]
    assert [one.status_code for one in answers] == [200, 404, 403, 422]
    for one in answers:
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert one.headers["cross-origin-resource-policy"] == "same-origin"
        assert one.headers["cache-control"] == "no-store"
        assert "server" not in one.headers


def test_the_page_may_ask_its_server_alone(client: TestClient) -> None:
    policy = unescape(client.get("/").text.split('Content-Security-Policy" content="')[1].split('"')[0])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.endswith("; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/live.js", "/api", "/../../etc/passwd",
                                  "/api/crystal"])
def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == (405 if path == "/api/crystal" else 404)
    assert set(answer.json()) == {"error"}

