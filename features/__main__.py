"""`python -m features`: look at the tables."""

from __future__ import annotations

import typer

from features.commands import check, cite, diff, export, gc, look, page, query, training_set, travel, why
from features.errors import run_cli

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Look at the tables that the pipeline made.")
app.command("list")(look.list_tables)
app.command()(look.describe)
app.command()(query.sql)
app.command()(look.rejects)
app.command()(check.validate)
app.command()(page.profiles)
app.command()(page.page)
app.command()(export.export)
app.command()(diff.diff)
app.command()(travel.fetch)
app.command()(gc.gc)
app.command("training-set")(training_set.training_set)
app.command()(why.why)
app.command()(cite.cite)


if __name__ == "__main__":
    run_cli(app)
