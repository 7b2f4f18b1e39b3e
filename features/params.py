"""`params.yaml`: one section per stage, parsed once at the edge into frozen models."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from features.errors import UserError
from features.paths import Paths

STAGES = ("ingest", "describe", "paraphrase", "embed", "tokenize", "tensorize", "chgnet", "split", "train", "evaluate",
          "explain")

SECTIONS = (*STAGES, "refresh")
"""Sections of `params.yaml`: one for each stage, and one that is no stage's."""

RUNTIME = {"runtime": True}
"""Mark of a parameter that changes how a row is computed but not its value (a time-out, a device)."""


class Section(BaseModel):
    """One section of `params.yaml`. Unknown keys are errors; instances never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the value of a row, as JSON types: what goes into fingerprints and footers."""
        fields = type(self).model_fields
        runtime = {name for name, field in fields.items() if isinstance(field.json_schema_extra, dict)
                   and field.json_schema_extra.get("runtime")}
        return self.model_dump(mode="json", exclude=runtime)


S = TypeVar("S", bound=Section)


def read_params(root: Path) -> dict[str, Any]:
    """Read `params.yaml` as plain data and check the names of its sections."""
    path = Paths(root).params
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run in a project folder or name one with --root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold one section per stage: {', '.join(STAGES)}")
    for name in content:
        if name not in SECTIONS:
            raise UserError(f"{path}: unknown section '{name}'{_suggest(str(name), SECTIONS)}")
    return content


def load_section(root: Path, stage: str, model: type[S]) -> S:
    """Parse the section of one stage. What is absent takes its default; what is wrong is one clear line."""
    content = read_params(root).get(stage)
    return parse_section({} if content is None else content, stage, model)


def parse_section(content: object, stage: str, model: type[S]) -> S:
    """Turn plain data into the frozen model, or say in one line what is wrong with it."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"params.yaml: {_first_line(error, stage, model)}") from None


def _first_line(error: ValidationError, stage: str, model: type[Section]) -> str:
    first = error.errors()[0]
    where = ".".join([stage, *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        names = _fields_at(model, first["loc"][:-1])
        return f"{where} is not a parameter{_suggest(str(first['loc'][-1]), names)}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
    return f"{where}: {message}{shown}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Names of the parameters in the (possibly nested) section at `location`."""
    for part in location:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ()
        model = inner
    return tuple(model.model_fields)


def _suggest(name: str, names: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there are: {', '.join(names)}" if names else ""
