"""``twinjet index``: from a folder to a published generation."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from twinjet.index.catalogue import ALIASES, Catalogue, read_catalogue
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.folder import catalogue_of_folder
from twinjet.index.reindex import MAX_FAILED_FRACTION, Report, build
from twinjet.service.commands.options import (
    HOME,
    JSON,
    PIXEL_SCALE,
    Bars,
    bars,
    config_of,
    encoder_of,
    errors,
    store_of,
)
from twinjet.service.config import Config

# Problems that are shown; all of them go to the JSON.
_SHOWN = 5


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--catalogue",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV, VOTable, FITS table or Parquet; FOLDER/catalogue.* when absent.",
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="WORD=COLUMN",
    help=f"Column of the catalogue for one of {', '.join(ALIASES)}.",
)
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    default=MAX_FAILED_FRACTION,
    show_default=True,
    help="Part of the sources that may fail.",
)
@PIXEL_SCALE
@HOME
@JSON
def index(
    folder: Path,
    table: Path | None,
    mapping: tuple[str, ...],
    max_failed: float,
    pixel_scale: float | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Index a FOLDER of cutouts and publish it.

    Killed at any moment, the same command goes on where it was.
    """
    pairs = dict(_pair(text) for text in mapping)
    if table is None:
        catalogue = catalogue_of_folder(folder, mapping=pairs)
    else:
        catalogue = read_catalogue(table, mapping=pairs)
    started = time.monotonic()
    report = run_build(
        config_of(home),
        catalogue,
        folder,
        pixel_scale_arcsec=pixel_scale,
        max_failed_fraction=max_failed,
    )
    if as_json:
        click.echo(json.dumps(asdict(report)))
        return
    state = "published" if report.published else "was current already"
    click.echo(
        f"generation {report.number} {state}: {report.count} sources in "
        f"{time.monotonic() - started:.1f} s ({report.reused} embeddings were there), "
        f"recall@10 {report.recall_at_10:.3f}"
    )


def run_build(
    config: Config,
    catalogue: Catalogue,
    folder: Path,
    *,
    pixel_scale_arcsec: float | None = None,
    max_failed_fraction: float = MAX_FAILED_FRACTION,
) -> Report:
    """Build with progress on stderr, and say there what was left out."""
    store = store_of(config)
    try:
        with bars() as progress:
            watcher = Bars(progress)
            report = build(
                catalogue,
                FolderProvider(folder),
                home=config.files,
                store=store,
                encoder=encoder_of(config),
                watcher=watcher,
                pixel_scale_arcsec=pixel_scale_arcsec,
                max_failed_fraction=max_failed_fraction,
            )
            watcher.finish()
    finally:
        store.close()
    if report.problems:
        errors.print(f"{len(report.problems)} rows or cutouts were left out:")
        for problem in report.problems[:_SHOWN]:
            errors.print(f"  {problem.source_id}: {problem.reason}", markup=False)
        if len(report.problems) > _SHOWN:
            errors.print(f"  and {len(report.problems) - _SHOWN} more (--json has all)")
    return report


def _pair(text: str) -> tuple[str, str]:
    word, found, column = text.partition("=")
    if not found:
        msg = f"--map {text}: write WORD=COLUMN"
        raise click.UsageError(msg)
    return word, column
