"""What DVC would wait for stops everything before DVC is asked, in one line."""

import os
import socket
from pathlib import Path

import pytest

from features.errors import UserError
from pipelines.engine.plan import plan
from pipelines.sources.waiting import check
from tests.conftest import make_project, set_params


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_project(tmp_path / "p", only=["mp-30"])
    monkeypatch.chdir(root)  # a socket's name has at most 107 characters
    return root


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize(("make", "says"), [
    (os.mkfifo, "is a pipe; DVC would wait for it for ever: remove it"),
    (bound, "is a socket; DVC cannot read it: remove it"),
    (lambda path: path.symlink_to("/dev/zero"), "is a device; DVC would read it without end: remove it"),
    (lambda path: path.symlink_to(path.name), "is a link that leads in a circle; DVC cannot read it: remove it"),
    (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere; DVC cannot read it: remove it"),
])
def test_one_line_names_it_whatever_the_source_is(root: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    check(root)
    (root / "data" / "input" / "sub").mkdir()
    make(root / "data" / "input" / "sub" / ".a.cif")  # DVC reads what is hidden, too
    for source in ("folder", "matminer_archive"):
        set_params(root, ingest={"source": source})
        with pytest.raises(UserError) as error:
            check(root)
        assert str(error.value) == f"data/input/sub/.a.cif {says}"
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / ".dvc").mkdir()
    with pytest.raises(UserError, match=r"sub/\.a\.cif is a"):
        plan(root)


def test_their_number_and_a_path_that_is_one_itself(root: Path) -> None:
    for name in ("b.cif", "a.cif", "c.cif"):
        os.mkfifo(root / "data" / "input" / name)
    with pytest.raises(UserError, match=r"^data/input/a\.cif is a pipe; .* remove it \(and 2 more like it\)$"):
        check(root)
    (root / "zero.csv").symlink_to("/dev/zero")
    set_params(root, ingest={"source": "table", "path": "zero.csv"})
    with pytest.raises(UserError, match=r"^zero\.csv is a device; "):
        check(root)
    set_params(root, ingest={"source": "table", "path": "absent.csv"})
    check(root)  # that it is not there, ingest says


def test_what_dvc_does_not_follow_is_no_hindrance(root: Path) -> None:
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    os.mkfifo(elsewhere / "pipe")
    (root / "data" / "input" / "link").symlink_to(elsewhere)
    (root / "data" / "input" / "up").symlink_to("..")
    (root / "data" / "input" / ".git").mkdir()
    os.mkfifo(root / "data" / "input" / ".git" / "pipe")
    (root / "data" / "input" / "again.cif").symlink_to("mp-30.cif")
    check(root)
