"""``twinjet train``, ``finetune``, ``evaluate``: making encoders, judging them."""

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import click

from twinjet.model.dataset import LabelledFolder, margin_for
from twinjet.model.distributed import rank_of
from twinjet.model.encoder import DEFAULT_ENCODER, card_path, read_card
from twinjet.model.errors import DatasetError
from twinjet.model.evaluation.methods import (
    EncoderMethod,
    Method,
    Minkowski,
    PixelPca,
    RandomVectors,
    untrained,
)
from twinjet.model.evaluation.report import as_markdown, judge
from twinjet.model.evaluation.sample import Sample
from twinjet.model.finetune import FineTuning, encoder_from, fine_tune
from twinjet.model.metrics import Progress
from twinjet.model.presets import PRESETS
from twinjet.model.train import train as run_training
from twinjet.model.training_set import read_training_set
from twinjet.service.commands.options import config_of, encoder_of, errors

_ENCODER = click.option(
    "--encoder",
    "name_or_card",
    help="Shipped encoder by name, or a card; the one in force when absent.",
)
_DEVICE = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to compute.",
)
_HALF = click.option(
    "--half", is_flag=True, help="Half precision, where the hardware has it."
)
_SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
_OUT = click.argument("out", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@_OUT
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
@_SEED
@_DEVICE
@_HALF
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
            labels=_pairs("--label", labels),
            min_size_arcsec=min_size,
            unique_arcsec=unique,
            progress=errors.print if rank.writes else lambda _: None,
        )
        if rank.writes:
            rank.wait()
        parts = {n: _number("--share", v) for n, v in _pairs("--share", shares).items()}
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
                "labels": _pairs("--label", labels),
                "started_from": read_card(card_path(start)).id if start else None,
                "precision": "half" if half else "float32",
                "command": _command(),
            },
            report=_print_progress if rank.writes else lambda _: None,
        )
        if rank.writes:
            click.echo(f"{out / encoder.card.name}.json: encoder {encoder.card.id}")


@click.command()
@_OUT
@click.option("--data", required=True, metavar="FOLDER[:SCALE]", help="With labels.")
@click.option("--label", default="fr_class", show_default=True, help="Column.")
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only these sources."
)
@click.option("--class", "classes", multiple=True, help="Only these values.")
@_ENCODER
@click.option("--name", default="finetuned", show_default=True, help="Of the encoder.")
@click.option(
    "--images", type=click.IntRange(32), help="Images to see, all told.", default=8000
)
@_SEED
@_DEVICE
@_HALF
def finetune(
    out: Path,
    data: str,
    label: str,
    where: tuple[str, ...],
    classes: tuple[str, ...],
    name_or_card: str | None,
    name: str,
    images: int,
    seed: int,
    device: str,
    half: bool,
) -> None:
    """Fine-tune the encoder to the labels of a folder.

    Writes to OUT the encoder with its new weights, which can index and search, and
    classes.csv: the class and its confidence of every source of the folder, labelled
    or not. Sources of the held-out part of the sky do not train; the error over those
    with a label is printed. Killed, the same command goes on.
    """
    config = config_of(None, encoder=name_or_card)
    encoder = encoder_of(config)
    recipe = encoder.card.preprocess
    margin = margin_for(recipe.size_px)
    sample = Sample.read(LabelledFolder.read(data), recipe, margin_px=margin)
    labels = sample.column(label)
    chosen = labels != ""
    if classes:
        chosen &= [value in classes for value in labels]
    for column, value in _pairs("--where", where).items():
        chosen &= sample.column(column) == value
    split = sample.held_out()
    training = chosen & split.train
    if not training.any():
        msg = f"no source of {sample.name} that may train has a {label!r}"
        raise DatasetError(msg, actual=label)
    start = card_path(config.encoder or DEFAULT_ENCODER)
    settings = FineTuning(images=images)
    out.mkdir(parents=True, exist_ok=True)
    classifier = fine_tune(
        encoder.card,
        sample.images[training],
        labels[training],
        start=start,
        settings=settings,
        seed=seed,
        device=device,
        half=half,
        folder=out,
        report=lambda step, steps, loss: errors.print(
            f"step {step}/{steps} loss {loss:.3f}", markup=False
        ),
    )
    inner = sample.images[:, margin:-margin, margin:-margin]
    likely = classifier.predict(inner, half=half)
    guessed = [classifier.classes[n] for n in likely.argmax(axis=1)]
    with (out / "classes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source_id", "class", "confidence"])
        for row, guess, sure in zip(
            sample.rows, guessed, likely.max(axis=1), strict=True
        ):
            source_id = row.get("source_id") or row["cutout"]
            writer.writerow([source_id, guess, f"{sure:.4f}"])
    judged = chosen & split.judge
    wrong = int(
        (labels[judged] != [g for g, j in zip(guessed, judged, strict=True) if j]).sum()
    )
    tuned = encoder_from(
        classifier,
        encoder.card,
        inner[training],
        name=name,
        training={
            "method": "fine-tuned",
            "started_from": encoder.card.id,
            "data": {sample.name: int(training.sum())},
            "label": label,
            "classes": classifier.classes,
            "settings": asdict(settings),
            "seed": seed,
            "held_out": {"wrong": wrong, "judged": int(judged.sum())},
            "command": _command(),
        },
    )
    tuned.save(out)
    click.echo(f"{out / name}.json: encoder {tuned.card.id}")
    click.echo(f"held-out sky: {wrong} of {int(judged.sum())} wrong")


@click.command()
@click.argument("folder")
@click.option("--label", default="fr_class", show_default=True, help="Column.")
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only these sources."
)
@_ENCODER
@click.option("--class", "classes", multiple=True, help="Only these values.")
@_SEED
@click.option(
    "--seeds", type=click.IntRange(1), default=10, show_default=True, help="Draws."
)
@click.option("--markdown", is_flag=True, help="Tables instead of JSON.")
@click.option("--write", is_flag=True, help="Keep the figures in the encoder's card.")
def evaluate(
    folder: str,
    label: str,
    where: tuple[str, ...],
    name_or_card: str | None,
    classes: tuple[str, ...],
    seed: int,
    seeds: int,
    markdown: bool,
    write: bool,
) -> None:
    """Judge the encoder on the labelled sources of FOLDER[:SCALE]; prints JSON.

    Beside it, with the same sources and classifiers: random vectors, principal
    components of the pixels, Minkowski functionals, its backbone without training.
    """
    config = config_of(None, encoder=name_or_card)
    encoder = encoder_of(config)
    recipe = encoder.card.preprocess
    data = LabelledFolder.read(folder)
    sample = Sample.read(data, recipe).labelled(
        label, where=_pairs("--where", where), classes=classes
    )
    training = sample.images[sample.held_out().train]
    methods: list[Method] = [
        EncoderMethod(encoder),
        EncoderMethod(untrained(encoder, training, seed=seed)),
        Minkowski(recipe, training),
        PixelPca(recipe, training),
        RandomVectors(recipe, dimension=encoder.card.dimension, seed=seed),
    ]
    report = judge(
        [(method, sample) for method in methods],
        label,
        seeds=seeds,
        progress=errors.print,
    )
    report["encoder"] = encoder.card.id
    report["command"] = _command()
    click.echo(as_markdown(report) if markdown else json.dumps(report, indent=2))
    if write:
        path = card_path(config.encoder or DEFAULT_ENCODER)
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain["quality"][report["task"]] = report
        path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` of an option as a dictionary."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            msg = f"{text!r} is not NAME=VALUE"
            raise click.BadParameter(msg, param_hint=option)
        pairs[name] = value
    return pairs


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{text!r} is not a number"
        raise click.BadParameter(msg, param_hint=option) from None


def _command() -> str:
    """What was typed, folders by their names: a card says nothing of a machine."""
    arguments = [arg.rpartition("/")[2] if "/" in arg else arg for arg in sys.argv[1:]]
    return " ".join(["twinjet", *arguments])


def _print_progress(progress: Progress) -> None:
    errors.print(
        f"step {progress.step}/{progress.steps} loss {progress.loss:.3f} "
        f"spread {progress.spread:.2f} {progress.images_per_second:.0f} images/s "
        + " ".join(progress.warnings),
        markup=False,
    )
