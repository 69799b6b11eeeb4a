"""``twinjet simulate``: a sky whose truth is known."""

from pathlib import Path

import click

from twinjet.model.simulate import simulate_sky
from twinjet.service.commands.options import bars
from twinjet.service.commands.text import say


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--count", type=click.IntRange(1, 10_000_000), default=2000, show_default=True
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def simulate(folder: Path, count: int, seed: int) -> None:
    """Write a simulated sky of COUNT sources with their truth into FOLDER."""
    with bars() as progress:
        task = progress.add_task("simulate", total=count)
        simulate_sky(
            folder,
            count,
            seed=seed,
            progress=lambda done: progress.update(task, completed=done),
        )
    say(f"{folder / 'catalogue.csv'} (simulated, seed {seed})")
