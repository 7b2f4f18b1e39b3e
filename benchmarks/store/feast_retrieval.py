"""Feast's offline retrieval of a training set, run by a Python that has feast: `feast_retrieval.py FOLDER`.

The folder holds `entities.parquet` (material_id, k_vrh, event_timestamp) and a Parquet file for each of three feature
views, which is what Feast can read. Prints JSON. Needs nothing of this project.
"""

import json
import resource
import sys
import time
from importlib import metadata
from pathlib import Path

VIEWS = {"materials": {"density": float, "volume": float}, "descriptions": {"n_words": int, "dimensionality": int},
         "structures": {"n_edges": int}}


def main(folder: Path) -> None:
    """Retrieve twice; the second counts."""
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64, Int32

    crystal = Entity(name="crystal", join_keys=["material_id"])
    views = [FeatureView(name=name, entities=[crystal], ttl=None, source=FileSource(
        path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp"), schema=[
            Field(name=column, dtype=Float64 if kind is float else Int32) for column, kind in columns.items()])
        for name, columns in VIEWS.items()]
    store = FeatureStore(config=RepoConfig(project="benchmark", provider="local", registry=str(folder / "registry.db"),
                                           entity_key_serialization_version=3))
    store.apply([crystal, *views])
    wanted = [f"{name}:{column}" for name, columns in VIEWS.items() for column in columns]
    entities = pd.read_parquet(folder / "entities.parquet")
    for _ in range(2):
        began = time.perf_counter()
        rows = store.get_historical_features(entity_df=entities, features=wanted).to_df()
        seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "rows": len(rows), "version": metadata.version("feast"),
                      "sum": float(rows["n_words"].sum()), "missing": int(rows.isna().sum().sum()),
                      "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
