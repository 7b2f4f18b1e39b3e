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
        if len(asked) == 2:  # before, what one says would hide what the environment says of the other
            progress.show(**asked)
        return on

    return take


Verbose = Annotated[bool, typer.Option(
    "--verbose", envvar=progress.VERBOSE, callback=_taken("verbose"),
    help="Also say each batch, each reject and what is tried again.")]
Quiet = Annotated[bool, typer.Option(
    "--quiet", envvar=progress.QUIET, callback=_taken("quiet"),
    help="Say nothing but errors and, at the end, what was done.")]
