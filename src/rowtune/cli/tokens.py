"""`rowtune tokens`: new tokens for a language model, and files of their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars

tokens = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Give a language model new tokens, and read or merge the files of their rows.",
)

Model = Annotated[Path, typer.Argument(help="Folder of a transformers model, in safetensors.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write; it must not exist.")]
Json = Annotated[
    str | None, typer.Option("--json", help="Write the facts here as JSON; - for stdout.")
]


@tokens.command()
def add(
    model: Model,
    words: Annotated[list[str], typer.Argument(metavar="TOKENS...", help="The new tokens.")],
    out: Out,
    init: Annotated[
        str,
        typer.Option(help="First rows: subwords (mean of a token's pieces), mean, normal, zeros."),
    ] = "subwords",
    json: Json = None,
) -> None:
    """Write a model that has new tokens; every other row keeps its bits.

    The rows that they begin with are in OUT/rows.safetensors. Train them with
    [bold]rowtune.torch.train_rows(model, tokens=[...], tokenizer=tokenizer)[/bold].

    [bold]Example[/bold]

        rowtune tokens add my-model photocatalysis perovskite -o my-model-with-words
    """
    from rowtune.torch.models.folders import add_tokens  # noqa: PLC0415 - `--help` stays fast

    check_folder_of(json)
    with progress_bars() as progress:
        handle = add_tokens(model, words, out, init, progress)
    _tell(handle, out, json)


@tokens.command()
def merge(
    model: Model,
    patches: Annotated[list[Path], typer.Argument(metavar="PATCH...", help="Files of rows.")],
    out: Out,
    force: Annotated[bool, typer.Option(help="Take rows that belong to another model.")] = False,
    json: Json = None,
) -> None:
    """Write a model with the rows of files in their places: a plain one, for any server.

    [bold]Example[/bold]

        rowtune tokens merge my-model rows.safetensors -o my-model-with-words
    """
    from rowtune.torch.models.folders import merge_rows  # noqa: PLC0415

    check_folder_of(json)
    with progress_bars() as progress:
        handle = merge_rows(model, patches, out, force, progress)
    _tell(handle, out, json)


@tokens.command()
def info(
    patch: Annotated[Path, typer.Argument(metavar="PATCH", help="A file of rows.")],
    json: Json = None,
) -> None:
    """Show which rows a file holds, of which table.

    [bold]Example[/bold]

        rowtune tokens info rows.safetensors
    """
    from rowtune.cli.patch_info import show_patch  # noqa: PLC0415

    check_folder_of(json)
    show_patch(patch, json)


def _tell(handle: Any, out: Path, json: str | None) -> None:
    facts = {"folder": str(out), "ids": handle.ids.tolist(), "tokens": handle.tokens}
    if json is not None:
        write_json(facts, json)
    count = len(handle.ids)
    console_beside(json).print(
        f"{out}: {count} row{'' if count == 1 else 's'} in place, all others as they were",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
