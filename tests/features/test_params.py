import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from features.errors import UserError
from features.params import SECTIONS, Section, load_section, parse_section
from features.registry import all_views
from features.views.splits import SplitParams
from model.params import EvaluateParams, ExplainParams, TrainParams
from pipelines.params import IngestParams
from pipelines.refresh.guards import RefreshParams

REPO = Path(__file__).parents[2]


def write(root: Path, text: str) -> Path:
    (root / "params.yaml").write_text(text)
    return root


def test_absent_section_takes_its_defaults(tmp_path: Path) -> None:
    assert load_section(write(tmp_path, "embed: {encoder: minilm}"), "split", SplitParams) == SplitParams()


def test_instances_never_change() -> None:
    with pytest.raises(ValidationError):
        SplitParams().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(("text", "message"), [
    ("splt: {}", "unknown section 'splt'; did you mean 'split'?"),
    ("split: {sed: 1}", "split.sed is not a parameter; did you mean 'seed'?"),
    ("split: {seed: one}", "split.seed: Input should be a valid integer (got 'one')"),
    ("split: {test: 0.7, validation: 0.4}", "test and validation together must be less than 1"),
    ("split: [1]", "split: Input should be a valid dictionary"),
    ("split: {", "is not valid YAML"),
    ("- 1", "must hold one section per stage"),
])
def test_a_mistake_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_section(write(tmp_path, text), "split", SplitParams)
    assert message in str(error.value)


def test_nested_parameter_is_named_in_full(tmp_path: Path) -> None:
    root = write(tmp_path, "train: {loss: {fusd: 1.0}}")
    with pytest.raises(UserError, match=r"train.loss.fusd is not a parameter; did you mean 'fused'\?"):
        load_section(root, "train", TrainParams)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--root"):
        load_section(tmp_path, "split", SplitParams)


def test_runtime_parameters_decide_no_value() -> None:
    class Example(Section):
        size: int = 1
        device: str = Field(default="auto", json_schema_extra={"runtime": True})

    assert Example(device="cuda").deciding() == {"size": 1}


def test_impossible_combinations() -> None:
    for content, model, message in (
        ({"source": "folder", "dataset": "union"}, IngestParams, "belongs to source matminer_archive"),
        ({"source": "table", "path": "x.xlsx"}, IngestParams, "must be a .parquet, .csv, .tsv or .jsonl file"),
        ({"source": "cif_folder"}, IngestParams, "x.source: 'cif_folder' is now called 'folder'"),
        ({"blocks": "all"}, IngestParams, "belongs to sources folder and table, not to matminer_archive"),
        ({"crystalformer": {"dim": 10, "heads": 4}}, TrainParams, "not a multiple of heads"),
        ({"encoder": "cgcnn", "cgcnn": {"dim": 12}}, TrainParams, "is no multiple of it"),
        ({"masking": {"drop_text": 0.6, "drop_structure": 0.6}}, TrainParams, "one modality always stays"),
    ):
        with pytest.raises(UserError, match=message):
            parse_section(content, "x", model)


def test_the_repository_names_every_parameter_with_its_default_meaning() -> None:
    """`params.yaml` parses, and each section of the design is there."""
    models = {view.stage: view.params for view in all_views()}
    models |= {"ingest": IngestParams, "train": TrainParams, "evaluate": EvaluateParams, "explain": ExplainParams,
               "refresh": RefreshParams}
    assert set(models) == set(SECTIONS)
    for stage, model in models.items():
        load_section(REPO, stage, model)


@pytest.mark.parametrize(("text", "message"), [
    ("split:\n  seed: 1\n  test: 0.2\n  seed: 2\n", "line 4: 'seed' is given a second time, after line 2"),
    ("split: {seed: 1, seed: 2}", "line 1: 'seed' is given a second time"),
    ("split: {}\nsplit: {}", "line 2: 'split' is given a second time"),
    ("a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
     "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
     "split: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]", "it stands for more than 20,000 values"),
    ("split: &a [*a]", "nested too deeply"),
    ("split: " + "[" * 5000, "nested too deeply"),
    ("split: " + "[" * 100 + "]" * 100, "nested too deeply"),
    ("split: {seed: " + "9" * 5000 + "}", "Exceeds the limit"),
    ("split: {seed: 0x" + "f" * 5000 + "}", "a number of thousands of digits"),
    ("split: {seed: 99999999999}", "split.seed: Input should be less than or equal to 4294966296"),
    ("split: {test: .nan}", "split.test: Input should be a finite number"),
    ("split: {seed: 2020-99-99}", "month must be in"),
    ("split: {seed: !!int ''}", "is not valid YAML"),
    ("split: {seed: \0}", "is not valid YAML"),
])
def test_what_no_parameter_is(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_section(write(tmp_path, text), "split", SplitParams)
    assert message in str(error.value)


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: path.mkdir(), "it is a folder"),
    (os.mkfifo, "it is a pipe"),
    (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 10**9), "it is larger than 1 MB"),
    (lambda path: path.write_bytes(b"split: {seed: \xff}"), "is not valid YAML: 'utf-8' codec"),
])
def test_a_file_that_is_none_of_parameters(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "params.yaml")
    with pytest.raises(UserError, match=message):
        load_section(tmp_path, "split", SplitParams)


@pytest.mark.parametrize(("section", "model", "content"), [
    ("train", TrainParams, {"seed": 10**20}), ("train", TrainParams, {"epochs": 10**12}),
    ("train", TrainParams, {"learning_rate": float("inf")}), ("evaluate", EvaluateParams, {"bootstrap": 10**9}),
    ("evaluate", EvaluateParams, {"shuffles": 10**6}), ("ingest", IngestParams, {"limit": 10**30}),
    ("ingest", IngestParams, {"timeout_s": 1e30}), ("ingest", IngestParams, {"max_sites": 10**9}),
])
def test_no_number_is_so_large_that_it_breaks_what_uses_it(section: str, model: Any, content: dict[str, Any]) -> None:
    (name,) = content
    with pytest.raises(UserError, match=rf"params\.yaml: {section}\.{name}: Input should be"):
        parse_section(content, section, model)
