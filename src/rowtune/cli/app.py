"""The command `rowtune`: its verbs, and what a user's mistake looks like."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from rowtune import __version__
from rowtune.cli.adapt import adapt
from rowtune.cli.apply import apply
from rowtune.cli.convert import convert
from rowtune.cli.coverage import coverage
from rowtune.cli.diff import diff
from rowtune.cli.eval import eval_
from rowtune.cli.extend import extend
from rowtune.cli.info import info
from rowtune.cli.neighbors import neighbors
from rowtune.cli.patch import patch
from rowtune.cli.rules import rules
from rowtune.cli.six_items import six_items
from rowtune.cli.tokens import tokens
from rowtune.cli.verify import verify
from rowtune.errors import RowtuneError
from rowtune.signals import raised_by_handler

# In the order in which one has need of them; a line each, so that all fit one screen.
_VECTORS: dict[Callable[..., None], str] = {
    info: "What a file of vectors is, and what is odd about it",
    neighbors: "What lies near a word, or near king - man + woman",
    coverage: "What a text has that the vectors lack, and why",
    extend: "Learn rows for the words of a corpus that are lacking",
    adapt: "Learn them from labelled texts, beside other ways",
    verify: "Check that every old row has the same bits",
    eval_: "How good vectors are: pairs, analogies, hidden words",
    diff: "Words added, removed and moved, and how far",
    convert: "Any format into any, whole or in part",
    patch: "New and changed rows alone, as a small file",
    apply: "Put the rows of such files into their table",
}
_MORE: dict[Callable[..., None], str] = {
    six_items: "The smallest example, on any engine",
    rules: "The rules that move a row: state, source, equals",
}

app = typer.Typer(
    name="rowtune",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, verbs in (("Word vectors", _VECTORS), ("More", _MORE)):
    for verb, line in verbs.items():
        name = verb.__name__.strip("_").replace("_", "-")
        app.command(name, short_help=line, rich_help_panel=panel)(verb)
app.add_typer(
    tokens, name="tokens", short_help="New tokens for a language model", rich_help_panel="More"
)


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
    """Train the rows of a table that you choose, and leave every other row alone.

    Begin with [bold]rowtune extend glove-6b-50d python-docs -o out.txt[/bold]
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
            _say_stopped()
        raise
    except KeyboardInterrupt:  # while Typer was not looking
        _say_stopped()
        sys.exit(_INTERRUPTED)
    except SystemError as error:
        if not isinstance(raised_by_handler(error), KeyboardInterrupt):
            raise
        _say_stopped()
        sys.exit(_INTERRUPTED)


def _say_stopped() -> None:
    Console(stderr=True).print("[bold red]rowtune:[/] stopped; no file is half-written")


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, RowtuneError) and error.strerror:
        return f"{error.strerror}: {error.filename or 'a file of this command'}"
    return " ".join(str(error).split()) or type(error).__name__
