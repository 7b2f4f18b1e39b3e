"""The command as its user has it: a process with the real describer, asked by sockets and by a browser."""

from __future__ import annotations

import csv
import gzip
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from features.errors import UserError
from model.serve import command
from tests.conftest import CRYSTALS
from tests.model.report.reader import VIEWS, Page

LOOKS = (Path(__file__).parents[1] / "report" / "looks.js").read_text()
SEEN = ["h1", ".drop", ".choose", "table.files", ".problem", ".remove", "#download-csv", "#download-page", ".card h2",
        ".value b", ".stage", ".shapley .step-row", ".told > .head .switch", ".edited-band", ".editor", ".now",
        ".moved", ".sentence textarea", ".step", ".restore", ".near table"]
SILICON = CRYSTALS / "mp-149.cif"
Server = tuple[subprocess.Popen[str], str]


def post(address: str, path: str, body: bytes, kind: str = "application/json") -> Any:
    answer = httpx.post(address + path, content=body, headers={"Origin": address, "Content-Type": kind}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def talk(address: str, *parts: bytes) -> bytes:
    """Send bytes as long as the server takes them; what it answers."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as wire:
        sent = 0
        try:
            for part in parts:
                wire.sendall(part)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            assert sent < len(parts)
        answer = b""
        try:
            while part := wire.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def test_the_real_describer_speaks(server: Server) -> None:
    got = post(server[1], "/api/crystal?name=mp-22862.cif", (CRYSTALS / "mp-22862.cif").read_bytes(),
               "application/octet-stream")
    assert got["card"]["predicted"]["text"].startswith("NaCl is Halite, Rock Salt structured")
    assert got["card"]["facts"]
    rows = [got["card"]["predicted"]["text"][start:end] for start, end, _ in got["card"]["sentences"]]
    began = time.monotonic()
    answer = post(server[1], "/api/edit", json.dumps({"digest": got["digest"], "rows": ["It is.", *rows[1:]]}).encode())
    assert time.monotonic() - began < 5
    assert answer["predicted"]["what_if"]["difference"]["learned"] == pytest.approx(answer["steps"][0][1])


def test_an_endless_upload_is_cut_off(server: Server) -> None:
    """Whatever it says of its length."""
    address = server[1]
    head = (f"POST /api/crystal?name=a.cif HTTP/1.1\r\nHost: {address[7:]}\r\nOrigin: {address}\r\n"
            "Content-Type: application/octet-stream\r\n").encode()
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    answer = talk(address, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 60)
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""
    with_length = talk(address, head + b"Content-Length: 90000000000\r\n\r\n")
    assert with_length.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 5 MB" in with_length
    short = talk(address, head + b"Content-Length: 4\r\n\r\n", SILICON.read_bytes())
    assert b"no_sites" in short.split(b"HTTP/1.1")[1]  # in those four bytes
    bomb = post(address, "/api/crystal?name=a.cif", gzip.compress(bytes(100_000_000)), "application/octet-stream")
    assert bomb["error"] == "too_large: unpacked the file is larger than 5 MB"


def test_a_head_without_end_is_cut_off(server: Server) -> None:
    address = server[1]
    begin = f"GET / HTTP/1.1\r\nHost: {address[7:]}\r\n".encode()
    for endless in (b"a" * 65536, b"X-A: " + b"a" * 65000 + b"\r\n", b"X: y\r\n" * 10_000):
        answer = talk(address, begin, *[endless] * 200)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert httpx.get(address, timeout=60).status_code == 200


def test_many_connections_keep_nobody_out_for_long(server: Server) -> None:
    """More than are taken at once: who comes then is told so, and is answered when they are gone."""
    address = server[1]
    host, port = address.removeprefix("http://").split(":")
    crowd = [socket.create_connection((host, int(port)), timeout=60) for _ in range(command.MOST_CONNECTIONS + 20)]
    assert httpx.get(address, timeout=60).status_code == 503
    for wire in crowd:
        wire.close()
    began = time.monotonic()
    while httpx.get(address, timeout=60).status_code == 503:
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def test_another_host_is_not_answered(server: Server) -> None:
    port = server[1].split(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1"):
        assert httpx.get(server[1], headers={"Host": host}).status_code == 403
    assert httpx.get(server[1], headers={"Host": f"localhost:{port}"}).status_code == 200


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    port = int(server[1].split(":")[2])
    with pytest.raises(UserError, match=f"port {port} is in use: name another with --port, or 0 for any that is free"):
        command.listen(port)
    with pytest.raises(UserError, match="a port is a number from 0 to 65535"):
        command.listen(65536)
    with command.listen(0) as free:
        assert free.getsockname()[0] == "127.0.0.1"


@pytest.fixture
def page(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> Iterator[Page]:
    """The open page, which must have been `alone` when it is left."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    opened = Page(browser)
    opened.open(f"{server[1]}/")
    yield opened
    alone(opened, server)
    browser.get("about:blank")


def alone(page: Page, server: Server, *others: str) -> None:
    """No script has failed, and nobody but the server was asked."""
    assert page.complaints() == []
    asked = {one.split("/")[2] if one.startswith("http") else one.split(":")[0] for one in page.requests()}
    assert asked - {"data", "about", "blob"} <= {server[1].removeprefix("http://"), *others}


def drop(page: Page, *files: tuple[str, str]) -> None:
    """As a reader does who lets go of files above the page."""
    page.run("const data = new DataTransfer(); for (const [name, text] of arguments[0]) "
             "data.items.add(new File([text], name)); document.body.dispatchEvent(new DragEvent('drop', "
             "{ dataTransfer: data, bubbles: true, cancelable: true }))", files)


def wait(page: Page, selector: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := page.all(selector)):
        assert time.monotonic() < deadline, f"{selector} does not come"
        time.sleep(0.05)
    return found[0]


def write(page: Page, row: int, *keys: str) -> None:
    area = page.all(".sentence textarea")[row]
    page.run("arguments[0].focus()", area)
    area.send_keys(Keys.CONTROL, "a")
    area.send_keys(*keys)


def test_drop_read_edit_and_download(page: Page, server: Server, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>.cif"
    drop(page, ("mp-149.cif", SILICON.read_text()), (evil, "no crystal"))
    wait(page, ".card h2")
    wait(page, "tr.failed")
    problem = page.one("tr.failed")
    assert evil in problem.text
    assert "The file is no CIF" in problem.text
    assert page.all("img") == []
    page.wait(lambda: "1 predicted, 1 could not be used." in page.one("#said").text)
    assert page.one(".ends").text
    assert len(page.all(".near tbody tr")) == 10
    assert "trained on this crystal mp-149" in page.one(".calls").text

    wait(page, ".text .piece")
    page.wait(lambda: not page.all(".explaining"))
    shown = page.run("return document.querySelector('input[name^=method]:checked').value")
    other = page.one("input[value=replacement]" if shown != "replacement" else "input[value=shapley]")
    page.run("arguments[0].click()", other)
    assert page.one("input[name^=method]:checked").get_attribute("value") != shown

    page.run("arguments[0].click()", page.one("input[value=edit]"))
    own = page.one(".now").text
    write(page, 0, "Si crystallizes in the hexagonal P6_3/mmc space group.")
    wait(page, ".step")
    write(page, 2, Keys.DELETE)
    page.wait(lambda: len(page.all(".step")) == 2)
    steps = [float(step.text.split(" ")[0].replace("−", "-")) for step in page.all(".step")]
    edited = page.run("return entries[0].edited")
    difference = edited["predicted"]["what_if"]["difference"]
    assert sum(steps) == pytest.approx(difference["learned"], abs=2e-4)
    assert page.one(".now").text != own or abs(difference["value"]) < 1
    assert "edited: " in page.one("tr.predicted").text
    assert "With your edited description" in page.one(".edited-band").text
    for view in VIEWS.values():
        page.look(view)
        assert page.run(LOOKS, SEEN)["problems"] == []

    for kind in ("csv", "json", "page"):
        page.run("arguments[0].click()", page.one(f"#download-{kind}"))
    files = {name: tmp_path / f"predictions.{name}" for name in ("csv", "json", "html")}
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in files.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    good, bad = csv.DictReader(files["csv"].open(encoding="utf-8"))
    assert (good["name"], bad["name"]) == ("mp-149.cif", evil)
    assert float(good["difference"]) == pytest.approx(difference["value"])
    assert bad["error"].startswith("unreadable: the file is no CIF")
    assert json.loads(files["json"].read_text())[0]["text"] == edited["text"]

    page.run("arguments[0].click()", page.one(".editor-tools .restore"))
    page.wait(lambda: not page.all(".step"))
    assert page.one(".now").text == own
    assert "edited" not in page.one("tr.predicted").text
    alone(page, server)
    page.open(files["html"])
    assert page.one(".what-if").text.startswith("What if")
    assert page.one(".card h2").text.startswith("Si")
    alone(page, server, "file")


def test_many_files_by_the_button_and_their_removal(page: Page) -> None:
    names = ["mp-149", "mp-22862", "mp-30"]
    page.one("#files").send_keys("\n".join(str(CRYSTALS / f"{name}.cif") for name in names))
    page.run("take([new File([new Uint8Array(5000001)], 'large.cif')])")
    page.wait(lambda: len(page.all("tr.failed")) == 1)
    assert "Larger than 5 MB" in page.one("tr.failed").text
    page.wait(lambda: page.one("#said").text == "3 predicted, 1 could not be used.")
    assert [row.text.split()[0] for row in page.all("#rows tr")] == ["Si", "NaCl", "Cu", "large.cif"]
    page.run("arguments[0].click()", page.all("button.open")[2])
    assert page.one(".card h2").text.startswith("Cu")
    page.run("arguments[0].click()", page.all(".remove")[2])
    assert page.one(".card h2").text.startswith("Si")
    page.run("arguments[0].click()", page.one("#remove-all"))
    assert page.all(".card") == []
    assert not page.one("#dropped").is_displayed()


def test_a_forgotten_crystal_is_sent_again(page: Page, server: Server) -> None:
    """As after a restart of the server, under the same address."""
    drop(page, ("mp-149.cif", SILICON.read_text()))
    page.wait(lambda: page.run("return entries[0].explained === true"))
    page.run("entries[0].digest = 'forgotten'")
    page.run("arguments[0].click()", page.one("input[value=edit]"))
    write(page, 0, "It is.")
    wait(page, ".step")
    assert page.run("return entries[0].digest") != "forgotten"
    assert [one for one in page.complaints() if "404" not in one] == []
