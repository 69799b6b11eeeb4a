"""``twinjet finetune``."""

import csv
from dataclasses import asdict
from pathlib import Path

import click

from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import DEFAULT_ENCODER, card_path, load_encoder
from twinjet.model.errors import DatasetError
from twinjet.model.evaluation.sample import Sample
from twinjet.model.finetune import FineTuning, encoder_from, fine_tune
from twinjet.model.memory import keep_freed_memory
from twinjet.service.commands.options import config_of, errors
from twinjet.service.commands.text import say
from twinjet.service.commands.training import (
    DEVICE,
    ENCODER,
    HALF,
    OUT,
    SEED,
    pairs,
    typed_command,
)


@click.command()
@OUT
@click.option("--data", required=True, metavar="FOLDER[:SCALE]", help="With labels.")
@click.option("--label", default="fr_class", show_default=True, help="Column.")
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only these sources."
)
@click.option("--class", "classes", multiple=True, help="Only these values.")
@ENCODER
@click.option("--name", default="finetuned", show_default=True, help="Of the encoder.")
@click.option(
    "--images", type=click.IntRange(32), help="Images to see, all told.", default=8000
)
@SEED
@DEVICE
@HALF
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
    keep_freed_memory()
    config = config_of(None, encoder=name_or_card)
    start = card_path(config.encoder or DEFAULT_ENCODER)
    encoder = load_encoder(start)
    sample = Sample.read(LabelledFolder.read(data), encoder.card.preprocess)
    labels = sample.column(label)
    chosen = labels != ""
    if classes:
        chosen &= [value in classes for value in labels]
    for column, value in pairs("--where", where).items():
        chosen &= sample.column(column) == value
    split = sample.held_out()
    training = chosen & split.train
    if not training.any():
        msg = f"no source of {sample.name} that may train has a {label!r}"
        raise DatasetError(msg, actual=label)
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
            f"step {step}/{steps} loss {loss:.3f}"
        ),
    )
    likely = classifier.predict(sample.images, half=half)
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
        sample.images[training],
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
            "command": typed_command(),
        },
    )
    tuned.save(out)
    say(f"{out / name}.json: encoder {tuned.card.id}")
    say(f"held-out sky: {wrong} of {int(judged.sum())} wrong")
