"""The command `rowtune`: its verbs, and what a user's mistake looks like."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from rowtune import __version__
from rowtune.cli.extend import extend
from rowtune.cli.rules import rules
from rowtune.cli.six_items import six_items
from rowtune.cli.tokens import tokens
from rowtune.cli.verify import verify
from rowtune.errors import RowtuneError

app = typer.Typer(
    name="rowtune",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (extend, verify, rules, six_items):
    app.command()(verb)
app.add_typer(tokens, name="tokens")


_INTERRUPTED = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rowtune {__version__}")
        raise typer.Exit


@app.callback()
def rowtune(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train the rows of an embedding table that you choose, and leave every other row alone.

    Begin with [bold]rowtune extend glove-6b-50d python-docs -o out.txt[/bold]: it teaches GloVe
    the words of Python's own documentation.
    """


def main() -> None:
    """Run the command line. A user's mistake is one line on stderr and exit code 2."""
    try:
        app()
    except (RowtuneError, OSError) as error:
        Console(stderr=True).print(
            f"[bold red]rowtune:[/] {escape(_one_line(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # which is how Typer ends on Ctrl-C
            Console(stderr=True).print("[bold red]rowtune:[/] stopped; no file is half-written")
        raise


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, RowtuneError) and error.strerror:
        return f"{error.strerror}: {error.filename or 'a file of this command'}"
    return " ".join(str(error).split()) or type(error).__name__
