"""What is interrupted: a project, work on it, what mends it, and what must then lie there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import CRYSTALS, make_project, set_params
from tests.faults.commands import REPO, command, dvc, init, repaired
from tests.faults.forks import OK, Ended, in_a_fork
from tests.pipelines.toy import ToyParams, toy_view, units

FEW = ["mp-30", "mp-149", "mp-22862", "mp-127"]
BEFORE = units([(f"m{k}", k, "bad" if k % 7 == 0 else "good") for k in range(12)])
AFTER = units([(f"m{k}", k + 100 * (k == 5), "bug" if k % 9 == 0 else "good") for k in range(2, 18)])


@dataclass(frozen=True)
class Scene:
    """Work that may be interrupted anywhere."""

    name: str
    prepare: Callable[[Path], None]
    """Makes the project that the work begins with; runs in this process, with forks for whatever computes."""
    work: Callable[[Path], Any]
    """What is interrupted, and afterwards done again, in a fork."""
    counts: tuple[str, ...]
    """Places below the project of which every byte must be that of an undisturbed run."""
    repair: bool = True
    """Whether it is a project, in which `python -m pipelines repair` runs after a kill."""
    weight: float = 1.0
    """Its share of the time. Points are tried in an order that is evenly spread, until the time is over."""
    reads: bool = False
    """Whether there is a published version, which whoever reads right after the kill must see, or the new one."""
    again: Callable[[Path], Any] | None = None
    """What a user does after a kill, where that is not the work itself."""


def contents(root: Path, counts: tuple[str, ...]) -> dict[str, bytes]:
    """Name → bytes of all files in these places."""
    found = {}
    for place in counts:
        for path in [root / place, *sorted((root / place).rglob("*"))]:
            if path.is_file():
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


def read(root: Path) -> str:
    """What a reader sees of the tables: every row, or how the query ends."""
    def ask() -> None:
        from features import catalog

        for name in ("materials", "splits"):
            print(name, catalog.query(root, f"select * from {name} order by all").to_pylist())

    ended = in_a_fork(ask)
    return ended.out if ended.code == OK else ended.brief()


def litter(root: Path) -> list[str]:
    """What a killed process has left of its work: drafts, tables moved aside, states of training, locks of runs."""
    left = []
    for path in sorted(root.rglob("*")):
        within = path.relative_to(root)
        if within.parts[0] == ".dvc" or path.name == "lock":
            continue
        if path.suffix in (".tmp", ".new", ".old") or (
                path.is_file() and within.parts[:2] in (("data", ".training"), ("data", ".runs"))):
            left.append(str(within))
    return left


def mended(scene: Scene, root: Path) -> list[str]:
    """Do what a user does after a kill. What went wrong with it."""
    if scene.repair:
        ended = repaired(root)
        if ended is not None and ended.code != OK:
            return [f"repair: {ended.brief()}"]
    ended = in_a_fork(lambda: (scene.again or scene.work)(root))
    return [] if ended.code == OK else [f"again: {ended.brief()}"]


def must(ended: Ended, what: str) -> None:
    """An undisturbed run must do."""
    if ended.code != OK:
        raise RuntimeError(f"{what}, undisturbed: {ended.brief()}\n{ended.err[-3000:]}")


def small_segments() -> None:
    """Many appends, and merges of merged ones, within a run of few rows."""
    import pipelines.engine.materialize
    from features.store import placement, rowstore

    pipelines.engine.materialize.SEGMENT_ROWS = 4
    rowstore.MERGED = 3
    placement.MIN_PARTS = 2


def toy(root: Path, table: Any) -> None:
    """A run of the row store and of `tables.publish` with the toy view."""
    from pipelines.engine.materialize import materialize
    from pipelines.executors import Serial

    small_segments()
    materialize(toy_view(), ToyParams(copies=2), root, table, Serial())


def _toy_before(root: Path) -> None:
    root.mkdir()
    must(in_a_fork(lambda: toy(root, BEFORE)), "the toy view")


CHEAP = {
    "one": {"cmd": "cp input one && mkdir -p two && cp input two/a && cp one two/b", "deps": ["input"],
            "outs": ["one", "two"]},
    "three": {"cmd": "cat one two/a > three", "deps": ["one", "two"], "metrics": ["three"]},
}


def _cheap(root: Path) -> None:
    make_project(root, only=FEW[:1])
    (root / "input").write_text("a: 1\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": CHEAP}))
    init(root)


def _cheap_changed(root: Path) -> None:
    _cheap(root)
    must(in_a_fork(lambda: dvc(root, "repro")), "cheap stages")
    (root / "input").write_text("a: 2\n")


TABLES = {"ingest": ("materials", "data/input"), "split": ("splits", "data/features/materials"),
          "tensorize": ("structures", "data/features/materials")}
"""Stage → its table, and what it is made from."""


def real_stages(*names: str) -> dict[str, Any]:
    """Stages of the real `dvc.yaml`, in this process and from the tables that there are, and what publishes them."""
    real = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    stages = {name: {"cmd": f"python -m pipelines {name} --executor serial", "deps": [TABLES[name][1]],
                     "params": [name], "outs": real[name]["outs"]} for name in names if name in TABLES}
    tables = [f"data/features/{TABLES[name][0]}" for name in names if name in TABLES]
    if "train" in names:
        stages["train"] = {"cmd": "python -m model train", "deps": tables, "params": ["train"],
                           "outs": real["train"]["outs"]}
    if "evaluate" in names:
        stages["evaluate"] = {"cmd": "python -m model evaluate", "deps": ["data/model", *tables],
                              "params": ["evaluate"], **{key: real["evaluate"][key] for key in ("outs", "metrics")}}
    made = [*tables, *(["data/model"] if "train" in names else []),
            *(["data/features/predictions"] if "evaluate" in names else [])]
    publish = {key: value for key, value in real["publish"].items() if key not in ("deps", "params")}
    return {**stages, "publish": {**publish, "deps": made}}


def dvc_project(root: Path, *stages: str) -> None:
    """Make a folder with parameters a project of DVC's with some of the real stages."""
    set_params(root, **{stage: {} for stage in stages})  # DVC misses sections that are not there
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": real_stages(*stages)}))
    init(root)


def chain(root: Path) -> None:
    """A DVC project of two tables and what publishes them."""
    make_project(root, only=FEW, split={})
    dvc_project(root, "ingest", "split")


def _chain_changed(root: Path) -> None:
    chain(root)
    must(in_a_fork(lambda: dvc(root, "repro")), "ingest and split")
    (root / "data" / "input" / f"{FEW[0]}.cif").unlink()
    shutil.copy(CRYSTALS / "mp-361.cif", root / "data" / "input")


TRAIN = {"encoder": "cgcnn", "cgcnn": {"dim": 8, "layers": 1, "neighbours": 4}, "epochs": 2, "batch_size": 8,
         "warmup_steps": 2, "elements": "learned", "device": "cpu",
         "members": {"fused": 0, "structure": 1, "text": 0, "trees": 0}, "fusion": "structure_only",
         "text": "sentences"}


def tiny_model(root: Path) -> None:
    """All test crystals up to their tensors, and a model of some hundred weights that reads no text."""
    make_project(root, train=TRAIN, evaluate={"bootstrap": 100, "shuffles": 1})
    for stage in ("ingest", "tensorize", "split"):
        must(in_a_fork(lambda stage=stage: command(root, "pipelines", stage, "--executor", "serial")), stage)


def _trained(root: Path) -> None:
    tiny_model(root)
    must(in_a_fork(lambda: command(root, "model", "train")), "train")


SCENES = [
    Scene("store", lambda root: root.mkdir(), lambda root: toy(root, AFTER), ("data/features",), repair=False,
          weight=2),
    Scene("store-later", _toy_before, lambda root: toy(root, AFTER), ("data/features",), repair=False, weight=2),
    Scene("dvc", _cheap, lambda root: dvc(root, "repro"), ("one", "two", "three", "dvc.lock"), weight=4),
    Scene("dvc-later", _cheap_changed, lambda root: dvc(root, "repro"), ("one", "two", "three", "dvc.lock"), weight=4),
    Scene("train", tiny_model, lambda root: command(root, "model", "train"), ("data/model",), weight=2),
    Scene("evaluate", _trained, lambda root: command(root, "model", "evaluate"), ("data/features", "data/results"),
          weight=0.5),
    Scene("stages", _chain_changed, lambda root: dvc(root, "repro"), ("data/features", "data/published.json",
          "dvc.lock"), weight=0.5, reads=True),
    Scene("refresh", _chain_changed, lambda root: command(root, "pipelines", "refresh"), ("data/features",
          "data/published.json", "dvc.lock"), weight=0.5, reads=True),
]
