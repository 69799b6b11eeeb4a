"""``twinjet train`` and ``twinjet evaluate``."""

import json
from dataclasses import replace
from pathlib import Path

import click

from twinjet.model.dataset import LabelledFolder, training_images
from twinjet.model.encoder import DEFAULT_ENCODER, WEIGHTS
from twinjet.model.evaluate import evaluate as evaluate_task
from twinjet.model.evaluate import read_task
from twinjet.model.presets import PRESETS
from twinjet.model.train import Progress
from twinjet.model.train import train as run_training
from twinjet.service.commands.options import config_of, encoder_of, errors


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="small")
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
@click.option("--images", type=click.IntRange(1), help="Images to see, all told.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--half", is_flag=True, help="bfloat16, where the hardware has it.")
def train(
    out: Path,
    preset: str,
    name: str,
    data: tuple[str, ...],
    simulated: int,
    images: int | None,
    seed: int,
    device: str,
    half: bool,
) -> None:
    """Train an encoder without labels and write it to OUT.

    The validation part of the sky is left out. Killed at any moment, the same
    command goes on from the last checkpoint in OUT.
    """
    chosen = PRESETS[preset]
    if images is not None:
        chosen = replace(chosen, images=images)
    folders = [LabelledFolder.read(text) for text in data]
    pixels = training_images(
        folders,
        simulated=simulated,
        seed=seed,
        preprocess=chosen.preprocess,
        cache=out / "images.npy",
        progress=errors.print,
    )
    encoder = run_training(
        chosen,
        pixels,
        folder=out,
        name=name,
        seed=seed,
        device=device,
        half=half,
        notes={
            "preset": preset,
            "data": {
                folder.folder.resolve().name: len(folder.rows) for folder in folders
            },
            "simulated": simulated,
            "precision": "bfloat16" if half else "float32",
        },
        report=_print_progress,
    )
    click.echo(f"{out / encoder.card.name}.json: encoder {encoder.card.id}")


@click.command()
@click.argument("folder")
@click.option("--label", default="fr_class", show_default=True, help="Column.")
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only these sources."
)
@click.option(
    "--encoder",
    "card",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Card of another encoder than the one in force.",
)
@click.option("--class", "classes", multiple=True, help="Only these values.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--write", is_flag=True, help="Keep the figures in the encoder's card.")
def evaluate(
    folder: str,
    label: str,
    where: tuple[str, ...],
    card: Path | None,
    classes: tuple[str, ...],
    seed: int,
    write: bool,
) -> None:
    """Judge the encoder on the labelled sources of FOLDER[:SCALE]; prints JSON.

    Beside it, with the same sources and classifiers: its backbone without training,
    and principal components of the pixels.
    """
    encoder = encoder_of(config_of(None, encoder=card))
    wanted = dict(text.partition("=")[::2] for text in where)
    data = LabelledFolder.read(folder)
    task = read_task(data, encoder, label=label, where=wanted, classes=classes)
    report = evaluate_task(encoder, task, seed=seed, progress=errors.print)
    report["encoder"] = encoder.card.id
    options = [f"--label {label}", *(f"--where {w}" for w in where)]
    options += [f"--class {c}" for c in classes]
    name = folder.replace(str(data.folder), data.folder.resolve().name)
    report["command"] = " ".join(["twinjet evaluate", name, *options])
    click.echo(json.dumps(report, indent=2))
    if write:
        path = card or WEIGHTS / f"{DEFAULT_ENCODER}.json"
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain["quality"][task.name] = report
        path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _print_progress(progress: Progress) -> None:
    errors.print(
        f"step {progress.step}/{progress.steps} loss {progress.loss:.3f} "
        f"spread {progress.spread:.2f} {progress.images_per_second:.0f} images/s "
        + " ".join(progress.warnings),
        markup=False,
    )
