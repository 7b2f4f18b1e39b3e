"""Removing what takes space and nobody needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from features.commands.options import Root

Keep = Annotated[list[str] | None, typer.Option(metavar="REV", help="Keep this revision, too; may be given again.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")]
Lose = Annotated[bool, typer.Option("--lose", help="Also remove from DVC's cache what no remote has: it is gone then.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def gc(root: Root = Path(), keep: Keep = None, dry_run: DryRun = False, lose: Lose = False, yes: Yes = False) -> None:
    """Remove what neither the work tree, what is published, HEAD nor a kept revision needs, and say what that frees."""
    from features.errors import UserError
    from features.housekeeping.gc import plan
    from features.printing import print_table
    from features.progress import conclude, say
    from features.store.revisions import size

    made = plan(root, keep or [], lose)
    for note in made.notes:
        say(note)
    would = made.carry_out(dry=True)
    if would:
        print_table(("what may go", "number", "frees", "what that costs"),
                    ((kind.name, count, size(freed), kind.loss) for kind, count, freed in would))
    if not would or dry_run:
        conclude(f"{size(sum(freed for *_, freed in would))} would be freed" if would else "nothing is to be removed")
        return
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UserError("nothing was removed, since nobody could be asked; --yes removes all of this")
        typer.confirm("Remove all of this?", abort=True, err=True)
    told = len(made.notes)
    done = made.carry_out()
    for kind, count, freed in done:
        stays = len(kind.paths) - count
        say(f"{kind.name}: {count} removed, {size(freed)} freed{f'; {stays} in use and left' if stays else ''}")
    conclude(f"{size(sum(freed for *_, freed in done))} freed")
    if stopped := made.notes[told:]:
        raise UserError("; ".join(stopped))
