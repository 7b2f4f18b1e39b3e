"""What a model was made from. Training, resuming, evaluating, explaining and predicting compare this, and nothing else.

Of each table that a model reads, the header (view, version, parameters, libraries, weights: all that decides a value
besides the input) and a digest of the inputs of all its parts, both from the footers of the part files; and who wrote
the descriptions, which no header says.

- A run goes on only from a state of the same identity (`model.training.resume`).
- `evaluate` and `explain` read the tables, so the tables must have the identity of the model (`require_same`).
- `predict` reads no table but makes features anew, so this code and these libraries must make what the model was
  trained on (`require_reproducible`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow.compute as pc
from pydantic import ValidationError

from features.differences import differences
from features.errors import UserError
from features.registry import view_of
from features.store import tables
from features.text_encoder.weights import EncoderParams, same_weights
from model.params import TrainParams

HEADER = ("version", "params", "libraries", "digest")
COMPUTED = "computed"
"""The writer of a description that this project has computed (column `source` of `descriptions`)."""


@dataclass(frozen=True)
class TableIdentity:
    """What one table was made from."""

    header: dict[str, Any]
    """`version`, `params`, `libraries` and `digest` of its view when it was made."""
    inputs: str
    """sha256 over the digests of the inputs of its parts."""
    commit: str | None = None
    """Which commit of a hub id its weights were: where to find them, and no part of the comparison."""


@dataclass(frozen=True)
class Identity:
    """What a model was made from."""

    tables: dict[str, TableIdentity]
    """By the stage that makes the table."""
    text_writers: tuple[str, ...]
    """Who wrote the descriptions: `computed`, `materials_project`; none for a model without text."""

    @classmethod
    def of(cls, root: Path, params: TrainParams) -> Self:
        """The identity of the tables of a project as they are now, as far as `params` has the model read them.

        Raises `UserError` if a table is not there or was not written whole by one run.
        """
        stages = ["ingest", "split", "tensorize"]
        writers: tuple[str, ...] = ()
        if params.encoder == "chgnet":
            stages.append("chgnet")
        if params.with_text:
            stages += ["describe", "tokenize" if params.text == "words" else "embed"]
            column = tables.read(root, "descriptions", ["source"])["source"]
            writers = tuple(sorted(name for name in pc.unique(column).to_pylist() if name))
        return cls({stage: table_identity(root, view_of(stage).name) for stage in stages}, writers)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls({stage: TableIdentity(**one) for stage, one in content["tables"].items()},
                   tuple(content["text_writers"]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return json.loads(json.dumps(asdict(self)))

    def params(self, stage: str) -> Any:
        """The section of a stage as it was when the model's features were made."""
        view, table = view_of(stage), self.tables[stage]
        try:
            params = view.params.model_validate(table.header["params"])
        except ValidationError:
            raise UserError(f"the model was trained with parameters of '{stage}' that this code does not have; train "
                            "again with `dvc repro`") from None
        return params.at(table.commit) if isinstance(params, EncoderParams) else params

    def differences(self, now: Identity) -> Iterator[str]:
        """In words, what of `now` is not what this says."""
        for stage, old in self.tables.items():
            new = now.tables[stage]
            headers = list(differences(old.header, new.header, stage))
            yield from (f"{view_of(stage).name}: {why}" for why in headers)
            if not headers and old.inputs != new.inputs:
                yield f"{view_of(stage).name}: other inputs"
        if self.text_writers != now.text_writers:
            yield f"descriptions: written by {_listed(self.text_writers)} → {_listed(now.text_writers)}"


def table_identity(root: Path, name: str) -> TableIdentity:
    """The identity of one table. Raises `UserError` if its parts do not say the same of themselves."""
    footers = [tables.footer(path) for path in tables.files(root, name)]
    headers = [{key: footer.get(key) for key in HEADER} for footer in footers]
    if any(header != headers[0] for header in headers):
        raise UserError(f"the parts of table '{name}' were made in different ways; run `dvc repro`")
    inputs = hashlib.sha256("\n".join(str(footer.get("inputs_digest")) for footer in footers).encode()).hexdigest()
    return TableIdentity(headers[0], inputs, footers[0].get("commit"))


def require_same(identity: Identity, root: Path, params: TrainParams) -> None:
    """Raise `UserError` unless the tables below `root` are those that the model was made from."""
    changed = list(identity.differences(Identity.of(root, params)))
    if changed:
        raise UserError(f"the model was trained on other tables ({'; '.join(changed)}); train again with `dvc repro`")


def require_reproducible(identity: Identity) -> None:
    """Raise `UserError` unless the features that the model was trained on can be made here for another crystal.

    Of the text encoder the weights must be the same, and not the kind of arithmetic, across which vectors agree to a
    stated tolerance (docs/text.md).
    """
    for stage, table in identity.tables.items():
        if stage == "split":  # no feature of a crystal
            continue
        view, old = view_of(stage), table.header
        if old["version"] != view.version:
            raise UserError(f"the model was trained on version {old['version']} of '{view.name}', this code makes "
                            f"version {view.version}; train again with `dvc repro`")
        params = identity.params(stage)
        new = view.header(params)
        if stage == "embed" and same_weights(params, old["digest"]):
            new["digest"] = old["digest"]
        changed = list(differences(old, new, stage))
        if changed:
            raise UserError(f"'{view.name}' as the model knows it cannot be made here ({'; '.join(changed)}); install "
                            "the same versions, or train again with `dvc repro`")
    served = [writer for writer in identity.text_writers if writer != COMPUTED]
    if served:
        raise UserError(f"the model was trained on descriptions served by {_listed(served)}, and a file can only be "
                        "described here, in other words; train with describe.source: computed to predict for files")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "nobody"
