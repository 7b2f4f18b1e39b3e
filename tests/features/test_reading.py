"""Whatever a name stands for, reading ends, and holds no more in memory than it may."""

from __future__ import annotations

import gzip
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from features.crystal_files import crystal_files, read_text
from features.errors import RowError
from features.reading import MB, read_bytes


def refused(path: Path, most: int = MB) -> str:
    with pytest.raises(RowError) as error:
        read_text(path, most)
    return f"{error.value.kind}: {error.value}"


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: path.mkdir(), "unreadable: a.cif: it is a folder, and only regular files are read"),
    (os.mkfifo, "unreadable: a.cif: it is a pipe, and only regular files are read"),
    (lambda path: path.symlink_to("/dev/zero"), "unreadable: a.cif: it is a device, and only regular files are read"),
    (lambda path: path.symlink_to(path.parent), "unreadable: a.cif: it is a folder, and only regular files are read"),
    (lambda path: path.symlink_to(path), "unreadable: a.cif: Too many levels of symbolic links"),
    (lambda path: path.symlink_to("nowhere"), "missing: a.cif: there is no such file"),
    (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2 * MB),
     "over_bound: a.cif: it is larger than 1 MB"),
])
def test_what_is_no_file_of_a_crystal(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "a.cif")  # type: ignore[operator]
    assert refused(tmp_path / "a.cif") == message


def test_a_socket_and_a_name_that_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.cif")
        assert refused(Path("a.cif")) == "unreadable: a.cif: it is a socket, and only regular files are read"
    assert "File name too long" in refused(Path("a" * 300))
    assert "null byte" in refused(Path("a\0"))


BOMB = """
import resource, sys
from pathlib import Path
from features.crystal_files import read_text
from features.errors import RowError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_text(Path(sys.argv[1]), 1_000_000)
except RowError as error:
    print(error.kind, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_bomb_is_unpacked_no_further_than_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "bomb.cif.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(50):
            file.write(bytes(MB))
    done = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=True)
    kind, more = done.stdout.split()
    assert kind == "over_bound"
    assert int(more) * resource.getpagesize() // 4096 < 15_000  # kB


def test_what_just_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cif"
    path.write_bytes(b"x" * 1000)
    assert read_bytes(path, 1000) == b"x" * 1000
    path.write_bytes(gzip.compress(b"x" * 1000))
    assert read_bytes(path, 1000, unpack=True) == b"x" * 1000
    with pytest.raises(RowError, match="unpacked it is larger"):
        read_bytes(path, 999, unpack=True)


def test_a_folder_with_links_that_lead_back(tmp_path: Path) -> None:
    for name in ("a.cif", "sub/b.cif", ".hidden/c.cif", "d.cif/e.cif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("data_x")
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    (tmp_path / "sub" / "again.cif").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in crystal_files(tmp_path)]
    assert found == ["a.cif", "d.cif/e.cif", "sub/again.cif", "sub/b.cif"]
