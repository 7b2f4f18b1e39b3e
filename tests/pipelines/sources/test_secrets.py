"""Keys and passwords are nowhere but where they were given: a run with many failures, and then all that it has left."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from features import progress
from features.errors import UserError, run_cli
from features.paraphraser import llm
from pipelines import commands
from pipelines.__main__ import app
from pipelines.engine import runs
from tests.conftest import set_params
from tests.features.paraphraser.test_llm import KEY as ENDPOINT_KEY
from tests.features.paraphraser.test_llm import Endpoint, endpoint, reworded  # noqa: F401 (a fixture)
from tests.pipelines.sources.materials_project_server import KEY, Database, Fault, project

PROXY, REMOTE, LIBRARY = "proxy-walnut-1", "remote-walnut-2", "library-walnut-3"
MARKED = (KEY, ENDPOINT_KEY, PROXY, REMOTE, LIBRARY)


def command(*arguments: str) -> int | str | None:
    """The exit code of `python -m pipelines`."""
    try:
        run_cli(lambda: app(list(arguments), standalone_mode=False))
    except SystemExit as end:
        return end.code
    return 0


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """What commands set for the rest of their process."""
    yield
    progress.show()


def test_nothing_holds_a_secret(tmp_path: Path, server: Database, endpoint: type[Endpoint],  # noqa: F811
                                monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TEST_KEY", ENDPOINT_KEY)
    monkeypatch.setenv("LIBRARY_TOKEN", LIBRARY)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PROXY}@127.0.0.1:9")
    monkeypatch.setenv("https_proxy", f"http://me:{PROXY}@127.0.0.1:9")
    root = project(tmp_path / "p", server)
    settings = yaml.safe_load((root / "params.yaml").read_text())["ingest"]["materials_project"]
    set_params(root, ingest={"limit": 2}, paraphrase={
        "method": "llm", "variants": 1, "attempts": 2, "least_distance": 0.0,
        "llm": {"url": endpoint.url, "model": "tiny", "api_key_env": "TEST_KEY", "retries": 1}})
    went = {}

    def goes(what: str, *arguments: str) -> None:
        went[what] = command(*arguments, "--root", str(root), "--verbose")

    for kind in ("401", "404"):
        server.faults.append(Fault(kind, times=1000))
        goes(kind, "ingest", "--executor", "serial")
        server.faults.clear()
    set_params(root, ingest={"materials_project": {"endpoint": "https://127.0.0.1:9/", "attempts": 1}})
    goes("through a proxy that is not there", "ingest", "--executor", "serial")
    set_params(root, ingest={"materials_project": {"endpoint": f"https://me:{REMOTE}@127.0.0.1:9/"}})
    goes("an address with a password", "ingest", "--executor", "serial")
    set_params(root, ingest={"materials_project": settings})
    goes("ingest", "ingest", "--executor", "serial")
    goes("describe", "describe", "--executor", "serial")
    endpoint.statuses = [400]
    goes("a refusal that quotes the key", "paraphrase", "--executor", "serial")
    endpoint.statuses = [401]
    llm._client.cache_clear()
    goes("a key that is refused", "paraphrase", "--executor", "serial")
    endpoint.behaviour = staticmethod(lambda text, _number: f"{text} {ENDPOINT_KEY}")
    goes("an answer that quotes the key", "paraphrase", "--executor", "serial")
    assert {what for what, code in went.items() if code == 0} == {"ingest", "describe"}
    assert set(went.values()) == {0, 2}

    says = f"print('ERROR: failed to push to https://me:{REMOTE}@host/data, token {LIBRARY}'); raise SystemExit(1)"
    with pytest.raises(UserError), runs.recorded(root, "refresh"):
        commands.run([sys.executable, "-c", says], root, progress.say)

    def fails() -> None:
        raise ValueError(f"a bug that quotes {KEY} and {LIBRARY}")

    with pytest.raises(SystemExit) as end:
        run_cli(fails)
    assert end.value.code == 1
    shown = capfd.readouterr()
    everything = {"standard output": shown.out.encode(), "standard error": shown.err.encode(),
                  **{str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}}
    given = {"params.yaml"}  # where the test itself has put a password
    assert len(everything) > 15
    assert {(where, secret) for where, content in everything.items() for secret in MARKED
            if where not in given and secret.encode() in content} == set()
    assert "ERROR: failed to push to https://***@host/data, token ***" in shown.err
    assert "ValueError: a bug that quotes *** and ***" in shown.err
