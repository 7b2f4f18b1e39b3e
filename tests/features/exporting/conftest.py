"""Eight crystals with what exports have to carry: words, numbers, lists, lists of vectors, a map, missing values."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from features.paths import Paths
from features.store import tables
from features.view import column
from pipelines.engine import stages
from tests.conftest import make_project

IDS = ["mp-30", "mp-127", "mp-149", "mp-984", "mp-361", "mp-22862", "mp-938", "mp-2534"]
TEXTS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "0 is the description"),
    column("pooled", pa.list_(pa.float16()), "vector of the text"),
    column("sentence_vectors", pa.list_(pa.list_(pa.float16())), "vectors of sentences"),
    column("spans", pa.list_(pa.struct([("start", pa.int32())])), "where they are"),
])


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("exported"), only=IDS, split={})
    properties = root / "data" / "input" / "properties.csv"
    lines = properties.read_text().splitlines()
    properties.write_text("\n".join([f"{lines[0]},hardness", *(f"{line},{number}.5" if number % 2 else f"{line},"
                                                               for number, line in enumerate(lines[1:]))]) + "\n")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["ingest"]["units"] = {"hardness": "GPa"}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for stage in ("ingest", "split", "tensorize"):
        stages.run(stage, root, "serial")
    ids = tables.read(root, "materials", ["material_id"])["material_id"].to_pylist()
    rng = np.random.default_rng(0)
    rows = [{"material_id": name, "variant": 0, "pooled": rng.normal(size=4).astype(np.float16).tolist(),
             "sentence_vectors": rng.normal(size=(number % 3 + 1, 4)).astype(np.float16).tolist(),
             "spans": [{"start": number}]} for number, name in enumerate(ids)]
    tables.publish(Paths(root).table("text_embeddings"), TEXTS, ("material_id", "variant"),
                   iter([pa.Table.from_pylist(rows[:5], TEXTS), pa.Table.from_pylist(rows[5:], TEXTS)]),
                   iter([{"view": "text_embeddings", "version": 1, "parts": 2}] * 2))
    return root
