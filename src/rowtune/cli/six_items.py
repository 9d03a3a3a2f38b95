"""`rowtune six-items`: the smallest example, on any engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars


def six_items(
    engine: Annotated[
        str,
        typer.Option(
            help="Engine to run on: numpy, torch, jax, pytensor, tensorflow, or keras on the "
            "backend that KERAS_BACKEND names."
        ),
    ] = "numpy",
    dim: Annotated[int, typer.Option(min=1, max=64, help="Dimensions of an embedding.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="How many pairs are drawn.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the start and of the pairs.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Draw the paths and the loss here (.png, .svg, .pdf).")
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the run here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Six items learn to be three pairs: in 2-D one pair must give up, in 3-D none.

    Items 0 and 1, 2 and 3, 4 and 5 are to be the same, all others different; the cost is
    |label - dot product|. Three pairs cannot be orthogonal in a plane, so one ends at the origin.

    [bold]Examples[/bold]

        rowtune six-items --out six.png

        rowtune six-items --dim 3 --steps 40000 --json -
    """
    from rowtune import engines  # noqa: PLC0415 - `--help` stays fast
    from rowtune import six_items as example  # noqa: PLC0415

    check_folder_of(out, json)
    with progress_bars() as progress:
        problem = example.Problem.draw(dim, steps, seed)
        run = engines.run_six_items(problem, engine, progress)
    if out is not None:
        from rowtune.report.pictures import convergence  # noqa: PLC0415

        convergence(run.trajectory, out, losses=run.losses_by_snapshot(), every=example.EVERY)
    if json is not None:
        write_json(run.as_dict(), json)
    console = console_beside(json)
    norms = ", ".join(f"{norm:.2f}" for norm in run.as_dict()["norms"])
    console.print(f"{engine}, {dim}-D, {steps:,} steps: loss {run.final_loss:.4f}, norms {norms}")
    if out is not None:
        console.print(f"picture: {out}", highlight=False, markup=False, soft_wrap=True)
