"""`--verbose` and `--quiet`, and the variables of the environment that say the same."""

import logging
import os

import pytest
import typer

from features import progress
from features.errors import UserError, run_cli
from features.options import Quiet, Verbose

LEVELS = {"verbose": logging.DEBUG, "quiet": progress.SUMMARY, "usual": logging.INFO}


def asked(*arguments: str) -> int:
    """The level that a command shows."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command(_verbose: Verbose = False, _quiet: Quiet = False) -> None:
        """Nothing."""

    app(list(arguments), standalone_mode=False)
    return progress._terminal.level


@pytest.mark.parametrize(("environment", "arguments", "shows"), [
    ({}, [], "usual"), ({}, ["--quiet"], "quiet"), ({"CPF_QUIET": "yes"}, [], "quiet"),
    ({"CPF_VERBOSE": "True"}, [], "verbose"), ({"CPF_VERBOSE": "0", "CPF_QUIET": ""}, [], "usual"),
    ({"CPF_QUIET": "1"}, ["--verbose"], "verbose"), ({"CPF_VERBOSE": "1"}, ["--quiet"], "quiet"),
    ({"CPF_QUIET": "1", "CPF_VERBOSE": "1"}, ["--verbose"], "verbose"),
    ({"CPF_VERBOSE": "banana"}, ["--quiet"], "quiet"),
])
def test_the_command_line_goes_before_the_environment(environment: dict[str, str], arguments: list[str], shows: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (progress.VERBOSE, progress.QUIET):
        monkeypatch.setenv(name, environment.get(name, ""))
    assert asked(*arguments) == LEVELS[shows]
    told = {name for name in (progress.VERBOSE, progress.QUIET) if os.environ.get(name)}
    assert told == {f"CPF_{shows.upper()}"} - {"CPF_USUAL"}  # for the processes that a command starts


@pytest.mark.parametrize(("environment", "arguments", "message"), [
    ({"CPF_VERBOSE": "banana"}, [], "error: CPF_VERBOSE is 'banana', and 1 or 0 is expected\n"),
    ({"CPF_VERBOSE": "1", "CPF_QUIET": "1"}, [],
     "error: --verbose and --quiet (or CPF_VERBOSE and CPF_QUIET) exclude each other\n"),
    ({}, ["--verbose", "--quiet"], "error: --verbose and --quiet (or CPF_VERBOSE and CPF_QUIET) exclude each other\n"),
])
def test_what_cannot_be_meant_is_one_line(environment: dict[str, str], arguments: list[str], message: str,
                                          monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (progress.VERBOSE, progress.QUIET):
        monkeypatch.setenv(name, environment.get(name, ""))
    with pytest.raises(SystemExit) as end:
        run_cli(lambda: asked(*arguments))
    assert (end.value.code, capsys.readouterr().err) == (2, message)
    with pytest.raises(UserError):
        asked(*arguments)
