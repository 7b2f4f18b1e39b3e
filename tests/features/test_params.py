from pathlib import Path

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
