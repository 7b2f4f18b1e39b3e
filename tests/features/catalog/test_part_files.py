"""The file system of a SQL session: it reads the files it was given, and has no way to write."""

import contextlib
import threading
from pathlib import Path

import pytest

from features.catalog.part_files import PartFiles
from features.store import sums
from features.store.sums import Damaged


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.fixture
def files(part: Path) -> PartFiles:
    return PartFiles({"toys/part-00000.parquet": part})


NAME = "tables://toys/part-00000.parquet"


def test_a_part_is_read(files: PartFiles) -> None:
    with_scheme, without = files.open(NAME), files.open("toys/part-00000.parquet")
    assert with_scheme.size == 256
    assert with_scheme.seek(-6, 2) == 250
    assert with_scheme.read(100) == bytes(range(250, 256))
    assert with_scheme.read(1) == b""
    assert without.read() == bytes(range(256))
    assert files.info(NAME) == {"name": "toys/part-00000.parquet", "size": 256, "type": "file"}
    assert files.ls("tables://toys", detail=False) == ["toys/part-00000.parquet"]


def test_what_was_checked_is_not_checked_again_unless_the_file_has_changed(
        files: PartFiles, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums.write(part.parent)
    with contextlib.closing(files.open(NAME)) as first:
        first.read()
    with monkeypatch.context() as patch:
        patch.setattr(sums.zlib, "crc32", None)
        with contextlib.closing(files.open(NAME)) as again:
            assert again.read() == bytes(range(256))
    part.write_bytes(bytes(255) + b"x")  # of the same size
    with contextlib.closing(files.open(NAME)) as damaged, pytest.raises(Damaged, match="not what was written"):
        damaged.read()
    part.unlink()
    with pytest.raises(Damaged, match="it is missing"):
        files.open(NAME)


def test_threads_that_share_a_file_have_places_of_their_own(files: PartFiles) -> None:
    shared = files.open(NAME)
    shared.seek(10)

    def elsewhere() -> None:
        shared.seek(200)
        shared.read(5)

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert shared.read(2) == bytes([10, 11])


@pytest.mark.parametrize("name", ["tables://toys/../secret", "tables:///etc/hostname", "/etc/hostname", "tables://toys"])
def test_no_other_file_is_there(files: PartFiles, name: str) -> None:
    assert not files.exists(name)
    with pytest.raises(FileNotFoundError):
        files.open(name)


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b", "xb", "w", "rb+"])
def test_nothing_is_opened_for_writing(files: PartFiles, part: Path, mode: str) -> None:
    for name in (NAME, "tables://toys/new.parquet", str(part.with_name("new"))):
        with pytest.raises(PermissionError):
            files.open(name, mode)
    assert part.read_bytes() == bytes(range(256))


@pytest.mark.parametrize("verb", ["rm", "rm_file", "rmdir", "delete", "mkdir", "makedirs", "mkdirs", "touch", "copy",
                                  "cp", "cp_file", "mv", "move", "rename", "pipe", "pipe_file", "put_file",
                                  "write_text"])
def test_every_verb_that_changes_something_is_refused(files: PartFiles, part: Path, verb: str) -> None:
    more = {"copy": ["toys/new"], "cp": ["toys/new"], "cp_file": ["toys/new"], "mv": ["toys/new"], "move": ["toys/new"],
            "rename": ["toys/new"], "pipe": [b"x"], "pipe_file": [b"x"], "write_text": ["x"]}
    arguments = [str(part), NAME] if verb == "put_file" else [NAME, *more.get(verb, [])]
    with pytest.raises(PermissionError):
        getattr(files, verb)(*arguments)
    assert [path.name for path in part.parent.iterdir()] == [part.name]
    assert part.read_bytes() == bytes(range(256))
