"""A Prefect server and a worker as the README starts them, for a project whose Materials Project is a stand-in."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

README = Path(__file__).parents[1] / "README.md"
RUN = "prefect deployment run 'refresh/nightly' --watch"


@dataclass
class Nightly:
    """A project with its deployment."""

    root: Path
    env: dict[str, str]

    def shell(self, line: str, code: int = 0) -> str:
        """Run a line as a user types it; what it printed."""
        done = subprocess.run(["bash", "-c", line], cwd=self.root, env=self.env, capture_output=True, text=True,  # noqa: S607 (bash of PATH)
                              check=False, timeout=600)
        assert done.returncode == code, done.stdout[-5000:] + done.stderr[-5000:]
        return done.stdout + done.stderr

    def refresh(self, state: str = "COMPLETED") -> str:
        """Run the deployment and wait for it; the message of its last state."""
        self.shell(RUN, code=0 if state == "COMPLETED" else 1)
        last = self.runs("refresh")[-1]
        assert last["state"]["type"] == state, last["state"]
        return str(last["state"]["message"])

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """All runs of a flow, in their order."""
        wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_ASC"}
        return [run for run in self._ask("flow_runs/filter", wanted) if run["start_time"]]

    def artifacts(self, key: str) -> list[str]:
        """The artifacts of a key, oldest first."""
        artifacts = self._ask("artifacts/filter", {"artifacts": {"key": {"any_": [key]}}})
        return [artifact["data"] for artifact in sorted(artifacts, key=lambda artifact: artifact["created"])]

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{self.env['PREFECT_API_URL']}/{path}", json.dumps(body).encode(),  # noqa: S310 (the test's own server)
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (the test's own server)
            return json.load(answer)


@contextlib.contextmanager
def as_the_readme_says(root: Path, home: Path, **env: str) -> Iterator[Nightly]:
    """Type the README's lines up to the one that runs the deployment; at the end, stop what they started."""
    (block,) = (part for part in README.read_text().split("```")[1::2] if RUN in part)
    first, *lines, last = block.strip().splitlines()
    assert last == RUN
    address = dict(setting.split("=", 1) for setting in first.removeprefix("export ").split())
    port = str(_free_port())
    started: list[subprocess.Popen[bytes]] = []
    project = Nightly(root, {
        **os.environ, **address, **env, "PREFECT_API_URL": address["PREFECT_API_URL"].replace("4200", port),
        "PREFECT_SERVER_API_PORT": port, "PREFECT_HOME": str(home), "DVC_NO_ANALYTICS": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    try:
        for line in lines:
            command = line.split("#")[0].rstrip()
            if command.endswith("&"):
                with (home / f"{command.split()[1]}.log").open("wb") as log:
                    started.append(subprocess.Popen(["bash", "-c", command[:-1]], cwd=root, env=project.env, stdout=log,  # noqa: S607 (bash of PATH)
                                                    stderr=log))
            else:
                project.shell(line)
        yield project
    finally:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it has ended, or it is not ours
                if process.environ().get("PREFECT_HOME") == str(home):
                    process.kill()
        for one in started:
            one.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
