"""`python -m model evaluate --reproduce`: the metrics of a model once more, from the very rows that it was made from.

Nothing is written. The metrics are those of the stage to the last bit on a machine that computes as the one did that
trained: the same processor, libraries and number of threads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.progress import conclude, say
from features.store import documents, revisions
from model import checkpoint, training_rows
from model.evaluation import stage
from model.forward import load_splits
from model.params import EvaluateParams

NAMED = 10
"""Differences that are said, of each kind."""


def reproduce(root: Path, at: str | None = None, within: float = 0.0) -> None:
    """Compare the metrics of a published or earlier model with those that its training set gives now.

    Args:
        root: the project.
        at: a git revision; the published version by default.
        within: largest difference of a number that counts as none.

    Raises:
        UserError: if the tables do not hold the training set, or the metrics are others.
    """
    where = revisions.at(root, at)
    trained = checkpoint.load(where)
    chosen = training_rows.read(Paths(where).model, where)
    before = documents.read(Paths(where).results / "metrics.json")
    if before is None:
        raise UserError(f"{Paths(where).results / 'metrics.json'} does not exist: there is nothing to compare with; "
                        "run `dvc repro`")
    say(f"evaluate: {chosen.name}, {chosen.in_words()}")
    if others := chosen.differences(where):
        for other in others[:NAMED]:
            say(f"evaluate: {other}")
        raise UserError(f"the tables do not hold the training set of the model: {_counted(len(others))}; --at REV "
                        "reads those of another revision")
    say(f"evaluate: the rows in {', '.join(chosen.views)} are those that it was trained on")
    params = load_section(where, "evaluate", EvaluateParams)
    splits = load_splits(where, trained.params, chosen.split_of)
    found = stage.computed(where, trained, splits, params).metrics
    count, differing = compared(before, json.loads(json.dumps(found)), within)
    for line in differing[:NAMED]:
        say(f"evaluate: {line}")
    if differing:
        raise UserError(f"of {count} values of metrics.json {len(differing)} are others now; a processor, library or "
                        "number of threads (OMP_NUM_THREADS) other than in training moves the last digits: --within "
                        "1e-6 lets them pass")
    how = f"within {within:g}" if within else "to the last bit"
    conclude(f"evaluate: all {count} values of metrics.json are the same {how}; test MAE "
             f"{found['test']['mae']:.4f} {found['unit']}")


def compared(before: dict[str, Any], now: dict[str, Any], within: float = 0.0) -> tuple[int, list[str]]:
    """How many values metrics have, and in words those that differ by more than `within`, the furthest first."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    found = []
    for name in old.keys() | new.keys():
        one, other = old.get(name), new.get(name)
        far = _distance(one, other)
        if far > within:
            by = f", by {far:.2g}" if math.isfinite(far) else ""
            found.append((-far, f"{name} is {other}, and was {one}{by}"))
    return len(old), [line for _, line in sorted(found)]


def _distance(one: Any, other: Any) -> float:
    if one == other:
        return 0.0
    if isinstance(one, float) and isinstance(other, float) and math.isfinite(one) and math.isfinite(other):
        return abs(one - other)
    return math.inf


def _leaves(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, content


def _counted(count: int) -> str:
    return f"{count} difference{'' if count == 1 else 's'}"
