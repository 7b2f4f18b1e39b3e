"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.commands.output import Format

Root = Annotated[Path, typer.Option(help="Project folder.")]
At = Annotated[str | None, typer.Option("--at", metavar="REV", help="Read the tables of this git revision or tag.")]
Output = Annotated[Format, typer.Option("--format", help="How the result is written; parquet goes to standard output.")]
