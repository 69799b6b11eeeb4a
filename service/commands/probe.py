"""``twinjet probe``: classes for the whole index from a few labels."""

import csv
from pathlib import Path

import click

from twinjet.index.errors import LabelsError
from twinjet.index.probe import as_table, classify, publish_classes, read_labels
from twinjet.service.commands.options import (
    HOME,
    config_of,
    engine_of,
    errors,
    existing_store_of,
    open_current,
)
from twinjet.service.commands.text import print_json


@click.command()
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV of every source with its class and confidence.",
)
@click.option(
    "--publish",
    "column",
    metavar="COLUMN",
    help="Publish them as columns COLUMN and COLUMN_confidence, to filter by.",
)
@HOME
def probe(
    labels: Path, out: Path | None, column: str | None, home: Path | None
) -> None:
    """Fit a linear probe to LABELS, a CSV of id and label; class every source.

    Prints as JSON the error, cross-validated between parts of the sky, the calibration
    and how many sources are of each class. Run it again after re-indexing.
    """
    config = config_of(home)
    store = existing_store_of(config)
    generation = open_current(config, store)
    try:
        given = read_labels(labels.read_text(encoding="utf-8"))
    except UnicodeDecodeError as exc:
        msg = f"{labels} is not UTF-8 text: byte {exc.start} is not"
        raise LabelsError(msg) from exc
    classified = classify(generation, store, given)
    if out is not None:
        half_done = out.with_name(f"{out.name}.tmp")
        with half_done.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                as_table(classified, store, generation.manifest.number)
            )
        half_done.replace(out)
    if column is not None:
        manifest = publish_classes(
            classified,
            generation,
            home=config.files,
            store=store,
            column=column,
            engine=engine_of(config, store),
        )
        errors.print(
            f"generation {manifest.number}: filter by {column} and {column}_confidence"
        )
    print_json(classified.probe.report | {"counts": classified.counts()}, indent=2)
