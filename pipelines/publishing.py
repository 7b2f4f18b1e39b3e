"""Making what the stages wrote the version that readers read: the last stage of `dvc repro`."""

from __future__ import annotations

import os
from pathlib import Path

from features import catalog, profiles, vectors
from features.catalog import validate
from features.params import read_params
from features.progress import say
from features.store import versions
from pipelines.engine import runs
from pipelines.engine.at_work import nobody_at_work

STAGE = "publish"


def publish(root: Path) -> None:
    """Check the tables, profile them, and publish them with model and results as one version.

    Raises `UserError` if they do not belong together, or if a stage is at work on them: then readers keep the version
    that they have.
    """
    read_params(root)
    if not _by_dvc(root):
        nobody_at_work(root)
    with runs.recorded(root, STAGE) as record:
        profiles.drop_damaged(root)  # made again below; damage of anything else stops this
        validate.check(root)
        profiles.write(root)
        version, is_new = versions.publish(root)
        catalog.refresh(root)
        vectors.prepare(versions.current(root))
        record.note = f"version {version}"
    say(f"published: version {version}" if is_new else f"nothing new to publish: version {version}")


def _by_dvc(root: Path) -> bool:
    """Whether `dvc repro` runs this as a stage: then it has seen to it that nobody else is at work."""
    here = os.environ.get("DVC_ROOT")
    return here is not None and Path(here).resolve() == root.resolve()
