"""What the pages promise is there: every command, and every parameter that they name."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

from features.registry import all_views
from model.params import EncoderName, EvaluateParams, ExplainParams, FusionName, TrainParams
from pipelines.params import IngestParams
from pipelines.refresh.guards import RefreshParams

REPO = Path(__file__).parents[1]
PAGES = [REPO / "README.md", REPO / "ARCHITECTURE.md", *sorted((REPO / "docs").glob("*.md"))]
PROGRAMS = ("features", "pipelines", "model", "model.experiments")
SECTIONS: dict[str, Any] = {**{view.stage: view.params for view in all_views()}, "ingest": IngestParams,
                            "train": TrainParams, "evaluate": EvaluateParams, "explain": ExplainParams,
                            "refresh": RefreshParams}


def options(command: Any) -> set[str]:
    return {"--help", *(name for param in command.params for name in param.opts if name.startswith("--"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_there(page: Path) -> None:
    """`python -m PROGRAM COMMAND`, with the options that stand behind it in the line."""
    missing = []
    for program, rest in re.findall(r"python -m ([\w.]+)([^`\n]*)", page.read_text()):
        if program not in PROGRAMS:
            if importlib.util.find_spec(program) is None:
                missing.append(program)
            continue
        group: Any = typer.main.get_command(importlib.import_module(f"{program}.__main__").app)
        for part in rest.split(" | "):
            words = part.split()
            named = words[0] if words and re.fullmatch("[a-z-]+", words[0]) and not words[0].startswith("-") else None
            if named is not None and named not in group.commands:
                missing.append(f"{program} {named}")
                continue
            known = options(group if named is None else group.commands[named])
            missing += [f"{program} {named} {one}" for one in re.findall(r"(?<!\S)--[a-z][a-z-]*", part)
                        if one not in known]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_parameter_is_there(page: Path) -> None:
    """`section.name` and `section.name.name`, such as `train.fusion`."""
    missing = []
    for section, path in re.findall(rf"`({'|'.join(SECTIONS)})\.([a-z_]+(?:\.[a-z_]+)*)\b(?!/)", page.read_text()):
        model = SECTIONS[section]
        for name in path.split("."):
            field = getattr(model, "model_fields", {}).get(name)
            if field is None:
                missing.append(f"{section}.{path}")
                break
            model = field.annotation
    assert missing == []


def test_encoders_and_fusions_are_all_named() -> None:
    readme = (REPO / "README.md").read_text()
    for name, known in (("encoder", EncoderName), ("fusion", FusionName)):
        (row,) = re.findall(rf"(?m)^\| `train\.{name}` \|(.*)\|$", readme)
        found = dict.fromkeys(one for one in re.findall("`([a-z_]+)`", row) if one in get_args(known))
        assert list(found) == list(get_args(known))
