"""``twinjet train``."""

from dataclasses import replace
from pathlib import Path

import click

from twinjet.model.dataset import LabelledFolder
from twinjet.model.distributed import rank_of
from twinjet.model.encoder import card_path, read_card
from twinjet.model.memory import keep_freed_memory
from twinjet.model.metrics import Progress
from twinjet.model.presets import PRESETS
from twinjet.model.train import train as run_training
from twinjet.model.training_set import read_training_set
from twinjet.service.commands.options import errors
from twinjet.service.commands.text import say
from twinjet.service.commands.training import (
    DEVICE,
    HALF,
    OUT,
    SEED,
    number,
    pairs,
    typed_command,
)


@click.command()
@OUT
@click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="shipped",
    show_default=True,
    help="Configuration.",
)
@click.option("--name", default="encoder", show_default=True, help="Of the encoder.")
@click.option(
    "--data",
    multiple=True,
    metavar="FOLDER[:SCALE]",
    help="Folder with catalogue.csv; SCALE in arcsec per pixel for pictures.",
)
@click.option(
    "--simulated", type=click.IntRange(0), default=0, help="Simulated sources to add."
)
@click.option(
    "--share",
    "shares",
    multiple=True,
    metavar="NAME=PART",
    help="Part of the images seen that come of a folder, or of `simulated`.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Column of a folder that gives kinds to a preset that learns them.",
)
@click.option("--balanced", is_flag=True, help="Rare looks as often as common ones.")
@click.option(
    "--min-size",
    type=click.FloatRange(0),
    default=0.0,
    help="Least angular_size_arcsec of a source that has one.",
)
@click.option(
    "--unique",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Arcsec within which two sources are one.",
)
@click.option(
    "--from",
    "start",
    help="Shipped encoder by name, or a card, whose weights to start from.",
)
@click.option("--images", type=click.IntRange(1), help="Images to see, all told.")
@click.option(
    "--batch",
    type=click.IntRange(8),
    help="Images a step; SGD's learning rate follows in proportion.",
)
@SEED
@DEVICE
@HALF
def train(
    out: Path,
    preset: str,
    name: str,
    data: tuple[str, ...],
    simulated: int,
    shares: tuple[str, ...],
    labels: tuple[str, ...],
    balanced: bool,
    min_size: float,
    unique: float,
    start: str | None,
    images: int | None,
    batch: int | None,
    seed: int,
    device: str,
    half: bool,
) -> None:
    """Train an encoder and write it to OUT.

    The held-out part of the sky is left out. Killed at any moment, the same command
    goes on from the last checkpoint in OUT. On several GPUs:
    `torchrun --nproc-per-node N --no-python twinjet train ... --device cuda`.
    """
    keep_freed_memory()
    chosen = PRESETS[preset]
    if images is not None:
        chosen = replace(chosen, images=images)
    if batch is not None:
        chosen = chosen.with_batch(batch)
    folders = [LabelledFolder.read(text) for text in data]
    with rank_of(device) as rank:
        if not rank.writes:
            rank.wait()
        training_set = read_training_set(
            folders,
            simulated=simulated,
            seed=seed,
            preprocess=chosen.preprocess,
            cache=out / "images",
            labels=pairs("--label", labels),
            min_size_arcsec=min_size,
            unique_arcsec=unique,
            progress=errors.print if rank.writes else lambda _: None,
        )
        if rank.writes:
            rank.wait()
        parts = {n: number("--share", v) for n, v in pairs("--share", shares).items()}
        if parts:
            training_set = training_set.weighted(parts)
        if balanced:
            training_set = training_set.balanced(seed=seed)
        encoder = run_training(
            chosen,
            training_set,
            folder=out,
            name=name,
            seed=seed,
            rank=rank,
            half=half,
            start=card_path(start) if start else None,
            notes={
                "preset": preset,
                "data": {folder.name: len(folder.rows) for folder in folders},
                "simulated": simulated,
                "shares": parts,
                "labels": pairs("--label", labels),
                "started_from": read_card(card_path(start)).id if start else None,
                "precision": "half" if half else "float32",
                "command": typed_command(),
            },
            report=_print_progress if rank.writes else lambda _: None,
        )
        if rank.writes:
            say(f"{out / encoder.card.name}.json: encoder {encoder.card.id}")


def _print_progress(progress: Progress) -> None:
    errors.print(
        f"step {progress.step}/{progress.steps} loss {progress.loss:.3f} "
        f"spread {progress.spread:.2f} {progress.images_per_second:.0f} images/s "
        + " ".join(progress.warnings),
    )
