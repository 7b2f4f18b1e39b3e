"""Options that commands of several programs share: both or none. They work where they are read; no command looks at
them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from features import progress


def _taken(name: str) -> Callable[[typer.Context, bool], bool]:
    def take(context: typer.Context, on: bool) -> bool:
        asked: dict[str, bool] = context.meta.setdefault(__name__, {})
        asked[name] = on
        if len(asked) == 2:  # what is asked for here goes before what the environment says of either
            progress.show(**asked if any(asked.values()) else progress.from_environment())
        return on

    return take


Verbose = Annotated[bool, typer.Option(
    "--verbose", callback=_taken("verbose"),
    help=f"Also say each batch, each reject and what is tried again; {progress.VERBOSE}=1 does the same.")]
Quiet = Annotated[bool, typer.Option(
    "--quiet", callback=_taken("quiet"),
    help=f"Say nothing but errors and, at the end, what was done; {progress.QUIET}=1 does the same.")]
