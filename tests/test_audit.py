"""`make audit` says of a package what was found out, and of none what was not."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[1] / ".ci" / "audit.py"
CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
ILL = {"name": "jinja2", "version": "3.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"]},
                                                     {"id": "GHSA-2", "fix_versions": []}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("packages", "code", "said"), [
    ([CLEAN], 0, ["nothing is known against any of 1 packages"]),
    ([CLEAN, ILL], 1, ["jinja2 3.0: PYSEC-1, mended in 3.1", "jinja2 3.0: GHSA-2"]),
    ([CLEAN, SKIPPED], 2, ["error: 1 of 2 packages could not be looked up (torch), and nothing is said of them"]),
    ([SKIPPED, ILL], 1, ["jinja2 3.0: PYSEC-1, mended in 3.1", "jinja2 3.0: GHSA-2", "error: 1 of 2 packages"]),
    ([SKIPPED] * 7, 2, ["error: 7 of 7 packages could not be looked up (torch, torch, torch, torch, torch, …)"]),
])
def test_a_verdict(audit: Any, packages: list[dict[str, Any]], code: int, said: list[str]) -> None:
    lines, ends = audit.verdict({"dependencies": packages})
    assert ends == code
    assert len(lines) == len(said)
    assert all(line.startswith(begins) for line, begins in zip(lines, said, strict=True))


def test_without_an_answer_it_is_one_line(audit: Any, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audit.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(
        command, 1, "", "ERROR: Traceback\nERROR:pip_audit._cli:connection refused\n"))
    with pytest.raises(SystemExit) as end:
        audit.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == ("error: pip-audit could not ask pypi.org: "
                                       "ERROR:pip_audit._cli:connection refused\n")


def test_the_program_is_installed() -> None:
    assert subprocess.run([sys.executable, "-m", "pip_audit", "--version"], check=True, capture_output=True).stdout
