"""Tables that are not what their views say."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.catalog import validate
from features.errors import UserError
from features.paths import Paths
from features.registry import view_of
from features.store import tables
from tests.damage import republish


def publish(root: Path, stage: str, keys: list[tuple[object, ...]]) -> None:
    """The table of a stage with these keys; all other columns are missing."""
    view = view_of(stage)
    columns = {name: [key[place] for key in keys] for place, name in enumerate(view.key)}
    rows = pa.table([pa.array(columns.get(field.name, [None] * len(keys)), field.type) for field in view.schema],
                    schema=view.schema)
    folder = Paths(root).table(view.name)
    shutil.rmtree(folder, ignore_errors=True)
    tables.publish(folder, view.schema, view.key, iter([rows]), iter([{"version": view.version}]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path, "ingest", [("mp-149",), ("mp-30",)])
    publish(tmp_path, "describe", [("mp-149",), ("mp-30",)])
    publish(tmp_path, "paraphrase", [("mp-149", 1), ("mp-149", 2), ("mp-30", 1)])
    publish(tmp_path, "embed", [("mp-149", 0), ("mp-149", 1), ("mp-149", 2), ("mp-30", 0), ("mp-30", 1)])
    return tmp_path


def test_tables_that_fit_together(root: Path) -> None:
    assert validate.check(root) == 4


@pytest.mark.parametrize(("stage", "keys", "message"), [
    ("embed", [("mp-149", 3)], "text_embeddings: 1 rows are not in descriptions or paraphrases"),
    ("embed", [("mp-30", 0), ("mp-30", 2), ("mp-48", 0)], "text_embeddings: 2 rows are not in"),
    ("paraphrase", [("mp-48", 1), ("mp-48", 2)], "paraphrases: 2 rows are not in descriptions"),
    ("describe", [("mp-149",), ("mp-30",), ("mp-48",)], "descriptions: 1 rows are not in materials"),
    ("describe", [("mp-149",), ("mp-149",), ("mp-30",)], "descriptions: a key occurs twice"),
])
def test_orphans_and_doubles(root: Path, stage: str, keys: list[tuple[object, ...]], message: str) -> None:
    publish(root, stage, keys)
    with pytest.raises(UserError, match=message):
        validate.check(root)


def test_a_text_that_is_gone_leaves_its_vectors_behind(root: Path) -> None:
    publish(root, "paraphrase", [("mp-149", 1), ("mp-30", 1)])
    with pytest.raises(UserError, match="text_embeddings: 1 rows"):
        validate.check(root)


def test_another_version_and_another_schema(root: Path) -> None:
    (part,) = tables.files(root, "materials")
    rows = pq.read_table(part)
    republish(rows.replace_schema_metadata({tables.FOOTER: b'{"version": 1}'}), part)
    with pytest.raises(UserError, match="materials: version 1 on disk"):
        validate.check(root)
    republish(rows.drop_columns(["formula"]), part)
    with pytest.raises(UserError, match="materials: columns differ"):
        validate.check(root)


def test_a_flipped_bit_where_no_key_lies(root: Path) -> None:
    (part,) = tables.files(root, "materials")
    column = pq.read_metadata(part).row_group(0).column(5)
    content = bytearray(part.read_bytes())
    content[column.data_page_offset + 1] ^= 4
    part.write_bytes(content)
    with pytest.raises(UserError, match=f"^{part} is damaged"):
        validate.check(root)
