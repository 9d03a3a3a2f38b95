"""`rowtune rules`: what a rule remembers, where it is from, and what it equals."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from rowtune.cli.output import check_folder_of, console_beside, write_json


def rules(
    json: Annotated[
        str | None, typer.Option("--json", help="Write the table here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Show the rules that move a row: [bold]Table(weights, rule="adam")[/bold].

    Every rule takes lr, weight_decay and decoupled. The state of a row of D numbers comes beside
    its step count. With catch_up=True an absent row gets what the dense optimizer of the same name
    would have done to it.

    [bold]Examples[/bold]

        rowtune rules

        rowtune rules --json - | jq '.rules[].equals'
    """
    from rich.table import Table  # noqa: PLC0415 - `--help` stays fast

    from rowtune.rules import get, names  # noqa: PLC0415
    from rowtune.rules.described import described  # noqa: PLC0415

    check_folder_of(json)
    found = [described(get(name)) for name in names()]
    if json is not None:
        defaults = {name: dict(get(name).defaults) for name in names()}
        write_json({"rules": [{**d._asdict(), "defaults": defaults[d.name]} for d in found]}, json)
    table = Table(title="Rules")
    table.add_column("rule", no_wrap=True)
    for heading in ("source", "equals", "state", "catch-up"):
        table.add_column(heading, overflow="fold")
    for each in found:
        source = re.sub(r'"[^"]+", ', "", each.source)  # titles are in the JSON
        table.add_row(each.name, source, each.equals, each.state, each.catch_up)
    console_beside(json).print(table)
