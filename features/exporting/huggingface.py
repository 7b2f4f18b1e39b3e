"""A data set of the Hugging Face Hub: Parquet, a card, and a description in Croissant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import yaml

from features import about, exporting
from features.catalog import meanings
from features.errors import UserError
from features.exporting import croissant, parquet
from features.store import tables
from features.terminal import printable

LICENCES = {"cc-by-4.0", "cc0-1.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "mit", "apache-2.0", "odc-by", "odbl"}
"""The Hub's words for licences that sources of crystals use; others are `other`, named."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
TITLE = "Crystals, their descriptions and their tensors"


def export(where: Path, called: str, names: Mapping[str, list[Path]], folder: Path, by_split: bool = False) -> None:
    """Write tables as a data set. The bytes depend on the tables alone.

    Args:
        where: the project folder that they are read from.
        called: its version in words.
        names: files of each table.
        by_split: whether `train`, `validation` and `test` of the table `splits` become splits of every table.
    """
    splits = None
    if by_split:
        if not tables.exists(where, "splits"):
            raise UserError("there is no table splits here; leave out --by-split")
        read = tables.read(where, "splits", ["material_id", "split"])
        splits = dict(zip(*(read[name].to_pylist() for name in ("material_id", "split")), strict=True))
    told: list[dict[str, Any]] = []
    for name, files in names.items():
        schema = parquet.for_others(tables.schema_of(files[0])).remove_metadata()
        counts = parquet.write(files, schema, folder / name, splits)
        told.append({"name": name, "meaning": meanings.meaning(name), "schema": schema,
                     "splits": dict(sorted(counts.items())), "rows": sum(counts.values()), "columns": _columns(schema)})
    sources = about.sources(where)
    (folder / "README.md").write_text(_card(called, told, sources), encoding="utf-8")
    (folder / "croissant.json").write_text(
        json.dumps(croissant.metadata(TITLE, called, told, sources), indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8")
    exporting.mark(folder, {"to": "huggingface", "of": called, "rows": {one["name"]: one["rows"] for one in told}})


def _columns(schema: pa.Schema) -> list[dict[str, str]]:
    return [{"name": field.name, "type": str(field.type), "unit": about.text(field, "unit"),
             "description": about.text(field, "description")} for field in schema]


def _card(called: str, told: list[dict[str, Any]], sources: list[about.Source]) -> str:
    names = [one["name"] for one in told]
    first = about.CRYSTALS if about.CRYSTALS in names else names[0]
    most = max(one["rows"] for one in told)
    front = {
        "pretty_name": TITLE,
        **_licence(sources),
        "language": ["en"],
        "tags": ["chemistry", "materials-science", "crystal-structure", "tabular", "text"],
        "size_categories": [next((word for limit, word in SIZES if most < limit), "10M<n<100M")],
        "configs": [{"config_name": one["name"], **({"default": True} if one["name"] == first else {}),
                     "data_files": [{"split": split, "path": f"{one['name']}/{split}-*.parquet"}
                                    for split in one["splits"]]} for one in told],
    }
    template = jinja2.Environment(loader=jinja2.PackageLoader("features.exporting", "."), trim_blocks=True,  # noqa: S701 (Markdown: `safe` below)
                                  lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template.filters["safe_text"] = markdown
    body = template.get_template("card.md").render(title=TITLE, called=called, tables=told, sources=sources,
                                                   first=first)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{body}"


def _licence(sources: list[about.Source]) -> dict[str, Any]:
    found = sorted({(source.licence or "unknown").strip() for source in sources}) or ["unknown"]
    known = [name.lower() if name.lower() in {*LICENCES, "unknown"} else "other" for name in found]
    front: dict[str, Any] = {"license": known[0] if len(known) == 1 else sorted(set(known))}
    if "other" in known:
        front["license_name"] = printable(", ".join(found))
    return front


def markdown(text: object) -> str:
    """A text of a file as it stands in Markdown, where no sign of it means anything, also in a table."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", printable(" ".join(str(text).split())))
