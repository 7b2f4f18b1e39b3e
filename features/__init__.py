"""What a feature is: one file per feature view, the store that keeps tables, the SQL catalog over them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.opened import Store as Store
    from features.training_sets import TrainingSet as TrainingSet
    from features.training_sets import training_set as training_set

__all__ = ["Store", "TrainingSet", "open", "training_set"]

_AT = {"Store": "features.opened", "training_set": "features.training_sets", "TrainingSet": "features.training_sets"}
"""What is imported when it is first asked for, and where it is."""


def open(root: str | Path = ".", at: str | None = None) -> Store:  # noqa: A001 (`features.open` is how it is read)
    """Open the tables of a project: the published version, or that of a git revision or tag.

    ```python
    import features

    store = features.open()
    store.sql("select material_id, k_vrh from materials where k_vrh > 300")   # a data frame of polars
    store.table("descriptions", columns=["material_id", "text"], ids=["mp-149"])
    store.arrow("materials")                                                  # the same as an Arrow table
    store.torch("text_embeddings", columns=["pooled"])["pooled"]              # [rows, dimension]
    ```

    Raises `UserError` if there is no such revision, or if its files are on no disk and no remote.
    """
    from features.opened import Store  # reading tables needs libraries that `import features` does not

    return Store(Path(root), at)


def __getattr__(name: str) -> Any:
    if name not in _AT:
        raise AttributeError(f"module 'features' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_AT[name]), name)
