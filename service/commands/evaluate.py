"""``twinjet evaluate``."""

import json

import click

from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import DEFAULT_ENCODER, card_path, load_encoder
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
from twinjet.service.commands.options import config_of, errors
from twinjet.service.commands.text import print_json, say
from twinjet.service.commands.training import ENCODER, SEED, pairs, typed_command


@click.command()
@click.argument("folder")
@click.option("--label", default="fr_class", show_default=True, help="Column.")
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only these sources."
)
@ENCODER
@click.option("--class", "classes", multiple=True, help="Only these values.")
@SEED
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
    path = card_path(config.encoder or DEFAULT_ENCODER)
    encoder = load_encoder(path)
    recipe = encoder.card.preprocess
    data = LabelledFolder.read(folder)
    sample = Sample.read(data, recipe).labelled(
        label, where=pairs("--where", where), classes=classes
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
    report["command"] = typed_command()
    if markdown:
        say(as_markdown(report))
    else:
        print_json(report, indent=2)
    if write:
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain["quality"][report["task"]] = report
        path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
