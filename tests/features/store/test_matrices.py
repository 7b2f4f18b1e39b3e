"""Matrices beside the tables: mapped, made again when damaged or outdated, and never needed."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features import vectors
from features.paths import Paths, project_of
from features.store import tables, versions
from tests.damage import flipped, seeded

SCHEMA = pa.schema([("material_id", pa.string()), ("variant", pa.int32()), ("pooled", pa.list_(pa.float16()))])
IDS = [f"mp-{number}" for number in range(20)]


def publish(root: Path, scale: float = 1.0) -> None:
    """Two parts; each crystal has a description and a paraphrase, and mp-7 no vector."""
    rows = [{"material_id": name, "variant": variant, "pooled": None if name == "mp-7" else
             np.array([number, scale, -variant, 0.5], np.float16)}
            for number, name in enumerate(IDS) for variant in (0, 1)]
    parts = [pa.Table.from_pylist(half, schema=SCHEMA) for half in (rows[:20], rows[20:])]
    tables.publish(Paths(root).table("text_embeddings"), SCHEMA, ("material_id", "variant"), iter(parts),
                   iter([{"parts": 2}, {"parts": 2}]))


def fresh(where: Path) -> vectors.Vectors:
    """As another process reads them."""
    vectors._pooled.cache_clear()
    return vectors.pooled(where)


def files(root: Path) -> list[Path]:
    return sorted(Paths(root).vectors.glob("*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path)
    return tmp_path


def test_a_matrix_is_mapped_from_its_file_and_is_that_of_the_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fresh(root)
    assert len(files(root)) == 1
    monkeypatch.setattr(tables, "read_parts", None)  # no table is read any more
    ids, matrix = fresh(root)
    assert sorted(ids) == sorted(set(IDS) - {"mp-7"})
    assert matrix.dtype == np.float16
    assert not matrix.flags.writeable
    assert [row.tolist() for row in matrix] == [[IDS.index(name), 1.0, 0.0, 0.5] for name in ids]
    assert (made[0], made[1].tolist()) == (ids, matrix.tolist())


def test_any_damage_is_noticed_and_mended(root: Path) -> None:
    expected = fresh(root)[1].tolist()
    (path,) = files(root)
    whole, generator = path.read_bytes(), seeded(1)
    for content in [b"", whole[:50], *(flipped(whole, generator) for _ in range(30))]:
        path.unlink()  # the mapped one stays as it is
        path.write_bytes(content)
        assert fresh(root)[1].tolist() == expected
        assert path.read_bytes() == whole
    path.rename(path.with_name(path.name[:-12] + "00000000.bin"))
    assert fresh(root)[1].tolist() == expected
    assert files(root) == [path]


def test_where_nothing_can_be_written_it_is_made_in_memory(root: Path) -> None:
    Paths(root).vectors.write_text("a file in its place, which root cannot write below either")
    assert len(fresh(root)[0]) == len(IDS) - 1


def test_unit_vectors_are_those_of_the_table(root: Path) -> None:
    ids, matrix = vectors.units(root)
    plain = vectors.pooled(root)[1].astype(float)
    assert ids == vectors.pooled(root)[0]
    assert matrix == pytest.approx(plain / np.linalg.norm(plain, axis=1, keepdims=True), abs=1e-6)
    assert not vectors.unit(np.zeros((1, 4), np.float16)).any()


def test_a_table_of_another_time_has_another_matrix(root: Path) -> None:
    vectors.pooled(root)
    publish(root, scale=2.0)
    assert set(vectors.pooled(root)[1][:, 1].tolist()) == {2.0}
    assert len(files(root)) == 2
    (Paths(root).table("text_embeddings") / "sums.json").unlink()  # of a version before sums: it could be any
    assert set(fresh(root)[1][:, 1].tolist()) == {2.0}
    assert len(files(root)) == 2


def test_a_published_version_and_the_work_tree_share_one(root: Path) -> None:
    versions.publish(root)
    where = versions.current(root)
    assert where != root
    assert fresh(where)[0] == fresh(root)[0]
    assert len(files(root)) == 1
    assert Paths(project_of(where)).vectors == Paths(root).vectors.absolute()


def test_makers_at_once_leave_one_whole_file(root: Path) -> None:
    found: list[vectors.Vectors] = []
    workers = [threading.Thread(target=lambda: found.append(fresh(root))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(files(root)) == 1
    assert [matrix.tolist() for _, matrix in found] == [fresh(root)[1].tolist()] * 4
