"""Every file that is published is what was written, or the reader is told which one is not."""

import contextlib
import pickle
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import catalog
from features.catalog import diff
from features.errors import UserError
from features.paths import Paths
from features.store import seal, sums, tables
from features.store.files import write_beside, write_parquet
from features.store.sums import Damaged
from pipelines.engine.materialize import materialize
from pipelines.executors import Serial
from pipelines.sources.web import read_stored
from tests.damage import flipped, seeded
from tests.pipelines.toy import ToyParams, toy_view, units

FLIPS = 300


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    rows = [(f"m{k}", k, "bad" if k % 9 == 0 else "good") for k in range(60)]
    materialize(toy_view(), ToyParams(), root, units(rows), Serial())
    return root


@pytest.fixture
def project(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "p")
    return tmp_path / "p"


def old(root: Path) -> Path:
    """The same as the last version left it: without sums."""
    (Paths(root).table("toys") / sums.SUMS).unlink()
    return root


def test_no_flipped_bit_of_a_table_is_believed(project: Path) -> None:
    expected = tables.read(project, "toys")
    generator = seeded(1)
    files = sorted(Paths(project).table("toys").iterdir())
    noticed, named = 0, []
    for _ in range(FLIPS):
        path = generator.choice(files)
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, generator))
        try:
            assert tables.read(project, "toys").equals(expected), f"other rows, and nothing was said of {path}"
        except Damaged as damage:
            noticed += 1
            named.append((damage.path, path))
        if path.name != sums.SUMS:
            assert [damage.path for damage in sums.damages(path.parent)] == [path]
        path.write_bytes(whole)
    assert noticed > FLIPS / 2  # Parquet has bytes that no reader looks at
    assert all(said == where for said, where in named)
    assert not tables.damages(project, "toys")


@pytest.mark.parametrize("table", ["toys", "rejects"])
def test_no_flipped_bit_reaches_sql(project: Path, table: str) -> None:
    query = f"select * from {table} order by material_id"  # noqa: S608 (names of ours)
    expected = catalog.query(project, query)
    path = Paths(project).rejects("toys") if table == "rejects" else tables.files(project, "toys")[3]
    whole = path.read_bytes()
    generator = seeded(2)
    said = []
    for _ in range(12):
        path.write_bytes(flipped(whole, generator))
        try:
            assert catalog.query(project, query).equals(expected)
        except UserError as error:
            said.append(str(error))
    assert said
    for line in said:
        assert re.fullmatch(rf"(SQL: )?{path} is damaged \(.*\); `python -m pipelines repair` mends it", line)


def test_no_flipped_bit_of_the_rejects_is_believed(project: Path) -> None:
    path = Paths(project).rejects("toys")
    whole, expected = path.read_bytes(), tables.read_parts([path])
    generator = seeded(3)
    noticed = 0
    for _ in range(FLIPS):
        path.write_bytes(flipped(whole, generator))
        with contextlib.suppress(Damaged):
            noticed += 1
            assert tables.read_parts([path]).equals(expected)
            noticed -= 1
    assert noticed == FLIPS


def test_a_flip_in_the_seal_does_not_hide_another(project: Path) -> None:
    path = Paths(project).rejects("toys")
    whole = path.read_bytes()
    start = whole.rindex(seal.KEY.encode()) - 2
    for place in range(start, start + 2 + len(seal.KEY) + 2 + 64):
        for bit in (0, 6):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            content[100] ^= 1
            path.write_bytes(content)
            with pytest.raises(Damaged):
                sums.read(path)


def test_a_file_without_a_seal_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    table = pa.table({"message": [f"it says {seal.KEY} and {seal.BLANK}"]})
    write_parquet(table, path)
    assert tables.read_parts([path]).equals(table)


def test_a_file_is_decoded_in_the_thread_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of Arrow's that hold memory of Python's at the end of the program abort it."""
    path = tmp_path / "some.parquet"
    write_parquet(pa.table({name: list(range(1000)) for name in "abcdef"}), path)
    threads: list[int] = []
    pread = sums.Verified._pread
    monkeypatch.setattr(sums.Verified, "_pread", lambda *args: [threads.append(threading.get_ident()), pread(*args)][1])
    with sums.parquet(path) as file:
        whole = file.read()
        assert whole.equals(file.read_row_group(0))
        assert whole.equals(file.read_row_groups([0]))
        assert whole.equals(pa.Table.from_batches(file.iter_batches()))
    assert len(threads) > 4 * 6
    assert set(threads) == {threading.get_ident()}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def footless(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30] + b"x" * 30)


@pytest.mark.parametrize("harm", [cut, empty, footless, Path.unlink, longer])
@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("part", [0, 5, 7])
def test_every_reader_names_the_part(project: Path, harm: Callable[[Path], None], summed: bool, part: int) -> None:
    path = tables.files(project, "toys")[part]
    if not summed:
        old(project)
    other = Path(shutil.copytree(project, project.with_name("other")))
    harm(path)
    for reader in (lambda: tables.read(project, "toys"), lambda: tables.read(project, "toys", ["value"]),
                   lambda: tables.read(project, "toys", None, [f"m{k}" for k in range(60)]),
                   lambda: [tables.footer(one) for one in tables.files(project, "toys")],
                   lambda: [tables.rows(one) for one in tables.files(project, "toys")],
                   lambda: diff.compare(other, project), lambda: diff.compare(project, other)):
        with pytest.raises(Damaged, match=f"{path} is damaged .*repair"):
            reader()
    assert [damage.path for damage in tables.damages(project, "toys")] == [path]


def test_a_table_whose_parts_are_all_gone_is_damaged(project: Path) -> None:
    for part in tables.files(project, "toys"):
        part.unlink()
    assert tables.names(project) == ["toys"]
    with pytest.raises(Damaged, match=r"part-00000\.parquet is damaged \(it is missing\)"):
        tables.read(project, "toys")


def test_a_part_too_many_is_none_of_the_table(project: Path) -> None:
    parts = tables.files(project, "toys")
    shutil.copy(parts[0], parts[0].with_name("part-00008.parquet"))
    with pytest.raises(Damaged, match=r"part-00008\.parquet is damaged \(it is no part of this table\)"):
        tables.read(project, "toys")


def test_a_table_of_the_last_version_is_read_as_it_is(project: Path) -> None:
    expected = tables.read(project, "toys")
    assert tables.read(old(project), "toys").equals(expected)
    assert catalog.query(project, "select count(*) as n from toys")["n"].to_pylist() == [len(expected)]


def test_damage_found_by_another_process_is_told_here() -> None:
    damage = Damaged(Path("a/b.parquet"), "it is missing")
    travelled = pickle.loads(pickle.dumps(damage))  # noqa: S301 (our own bytes)
    assert (str(travelled), travelled.path) == (str(damage), damage.path)


def test_sums_depend_on_the_files_alone(project: Path, tmp_path: Path) -> None:
    folder = Paths(project).table("toys")
    before = (folder / sums.SUMS).read_bytes()
    shutil.copytree(folder, tmp_path / "elsewhere")
    sums.write(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / sums.SUMS).read_bytes() == before


def test_other_readers_find_damage_too(project: Path) -> None:
    """Those that check the sums of Parquet's pages."""
    path = tables.files(project, "toys")[0]
    column = pq.read_metadata(path).row_group(0).column(2)
    content = bytearray(path.read_bytes())
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_threads_share_a_file_and_each_chunk_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = seeded(4).randbytes(3 * sums.CHUNK + 1000)
    path.write_bytes(content)
    sums.write(tmp_path)
    with contextlib.closing(sums.verified(path)) as file:
        wrong: list[int] = []

        def read(seed: int) -> None:
            generator = seeded(seed)
            for _ in range(200):
                start, count = generator.randrange(len(content)), generator.randrange(2 * sums.CHUNK)
                file.seek(start)
                if file.read(count) != content[start:start + count] or file.tell() != min(start + count, len(content)):
                    wrong.append(start)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with contextlib.closing(sums.verified(path)) as file:
        assert file.read(3 * sums.CHUNK) == content[:3 * sums.CHUNK]
        with pytest.raises(Damaged, match=r"bytes 786432 to 787432 are not what was written"):
            file.read(1)


def test_a_table_swapped_while_it_is_opened_is_not_taken_for_damaged(project: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Paths(project).table("toys")
    path = tables.files(project, "toys")[0]
    expected = path.read_bytes()
    find = sums._sums_in

    def swapped(descriptor: int, of: Path) -> sums.Sums | None:
        found = find(descriptor, of)
        folder.rename(folder.with_name("old"))
        folder.mkdir()
        path.write_bytes(b"of another version")
        return found

    monkeypatch.setattr(sums, "_sums_in", swapped)
    assert sums.read(path) == expected


def test_a_damaged_download_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.parquet"
    table = pa.table({"material_id": [f"mp-{k}" for k in range(50)], "mark": [b"m" * 32] * 50})
    write_beside(table, path)
    whole = path.read_bytes()
    assert read_stored(path, ["mark"]).equals(table.select(["mark"]))
    write_beside(read_stored(path), path)
    assert path.read_bytes() == whole
    generator = seeded(5)
    dropped = 0
    for damaged in (whole[:100], b"", *(flipped(whole, generator) for _ in range(FLIPS))):
        path.write_bytes(damaged)
        stored = read_stored(path)
        assert stored is None or stored.equals(table)
        assert path.exists() == (stored is not None)
        dropped += stored is None
        assert capsys.readouterr().err.count("\n") == (stored is None)
    assert dropped > FLIPS * 0.9
