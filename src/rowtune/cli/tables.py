"""Tables without lines, as the verbs print them."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table


def plain_table(*headings: str, right: Collection[str] = ()) -> Table:
    """A table with these headings; those in ``right`` head columns of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left")
    return table


def list_table() -> Table:
    """Names and what they mean, without headings; long values go on below themselves."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    return table
