"""`params.yaml`: one section per stage, parsed once at the edge into frozen models."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from features.errors import RowError, UserError
from features.paths import Paths
from features.reading import MB, read_bytes

STAGES = ("ingest", "describe", "paraphrase", "embed", "tokenize", "tensorize", "chgnet", "split", "train", "evaluate",
          "explain")

SECTIONS = (*STAGES, "refresh")
"""Sections of `params.yaml`: one for each stage, and one that is no stage's."""

RUNTIME = {"runtime": True}
"""Mark of a parameter that changes how a row is computed but not its value (a time-out, a device)."""


PARAMS_BYTES = MB
"""Largest `params.yaml`; ours has 3 kB."""
NODES = 20_000
"""Most values of it, what aliases stand for counted each time: nine lines of them can stand for a billion values."""
DEPTH = 30
"""How deep they may be nested."""
LONGEST_S = 30 * 86_400.0
"""Longest time-out. The system's timers end where those of threads do, at 292 years; nobody waits for a month."""
LARGEST_SEED = 2**32 - 1000
"""numpy's old generator takes 32 bits, and networks of one model have seeds that follow each other."""


class Section(BaseModel):
    """One section of `params.yaml`. Unknown keys are errors; instances never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the value of a row, as JSON types: what goes into fingerprints and footers."""
        fields = type(self).model_fields
        runtime = {name for name, field in fields.items() if isinstance(field.json_schema_extra, dict)
                   and field.json_schema_extra.get("runtime")}
        return self.model_dump(mode="json", exclude=runtime)


S = TypeVar("S", bound=Section)


class _Loader(yaml.SafeLoader):
    """YAML without what nobody means: a key that is given twice, of which the second would count in silence, and
    aliases within aliases."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _values(node, DEPTH, NODES) > NODES:
            raise yaml.YAMLError(f"it stands for more than {NODES:,} values")
        return node


def _values(node: Any, depth: int, most: int) -> int:
    """How many values a node stands for, as far as they are no more than `most`. Raises `YAMLError` for a key that is
    given twice, and for more than `depth` nodes within each other."""
    if depth == 0:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: it is nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return 1
    if isinstance(node, yaml.MappingNode):
        _once([key for key, _ in node.value])
    count = 1
    for inner in node.value:
        for part in inner if isinstance(inner, tuple) else (inner,):
            count += _values(part, depth - 1, most - count)
            if count > most:
                return count
    return count


def _once(keys: list[Any]) -> None:
    first: dict[Any, int] = {}
    for key in keys:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in first:
            raise yaml.YAMLError(f"line {line}: {_written(key.value)} is given a second time, after line "
                                 f"{first[key.tag, key.value]}")
        first[key.tag, str(key.value)] = line


def read_params(root: Path) -> dict[str, Any]:
    """Read `params.yaml` as plain data and check the names of its sections."""
    path = Paths(root).params
    try:
        content = _Loader(read_bytes(path, PARAMS_BYTES).decode("utf-8-sig")).get_single_data() or {}
    except RowError as error:
        raise UserError(f"{path} does not exist: run in a project folder or name one with --root"
                        if error.kind == "missing" else f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise UserError(f"{path} is not valid YAML: it is nested too deeply") from None
    except Exception as error:  # PyYAML lets out whatever its converters of numbers and dates raise
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold one section per stage: {', '.join(STAGES)}")
    for name in content:
        if name not in SECTIONS:
            raise UserError(f"{path}: unknown section {_written(name)}{_suggest(_written(name)[1:-1], SECTIONS)}")
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
    shown = "" if first["type"] == "value_error" else f" (got {_written(first['input'])})"
    return f"{where}: {message}{shown}"


def _written(value: Any) -> str:
    """A value for a message, as far as it fits into a line."""
    try:
        text = repr(value)
    except ValueError:  # of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}…"


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
