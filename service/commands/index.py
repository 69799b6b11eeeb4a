"""``twinjet index``: from cutouts to a published generation."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from twinjet.index.catalogue import ALIASES, Catalogue, read_catalogue
from twinjet.index.cutouts.archive import ArchiveProvider
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.cutouts.mosaic import SIZE_ARCSEC, MosaicProvider
from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.paths import split_kind
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.folder import (
    catalogue_of_archive,
    catalogue_of_folder,
    find_catalogue,
)
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
@click.argument("cutouts")
@click.option(
    "--catalogue",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV, VOTable, FITS table or Parquet; catalogue.* in CUTOUTS when absent.",
)
@click.option(
    "--mosaic",
    is_flag=True,
    help="CUTOUTS is a large FITS image, or a folder of a survey's tiles: cut each "
    "source out of it.",
)
@click.option(
    "--cutout-size",
    "size_arcsec",
    type=click.FloatRange(0, min_open=True),
    help=f"Side of what is cut out, arcsec.  [default: {SIZE_ARCSEC:g}]",
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
    cutouts: str,
    table: Path | None,
    mosaic: bool,
    size_arcsec: float | None,
    mapping: tuple[str, ...],
    max_failed: float,
    pixel_scale: float | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Index CUTOUTS and publish them.

    CUTOUTS is a folder of FITS, PNG or JPEG; a .zip or .tar of such files, which
    stays packed; an HDF5 file (.h5) with images of shape (N, H, W); or, with
    --mosaic, large images to cut sources out of. What a catalogue's column `cutout`
    names is the file, the member of the archive, or the ID or number of the image
    in the stack; a mosaic is cut by position. Where a stack has several datasets
    write 'stack:PATH?images=NAME&ids=NAME'.

    Killed at any moment, the same command goes on where it was.
    """
    pairs = dict(_pair(text) for text in mapping)
    provider = _provider(cutouts, mosaic=mosaic, size_arcsec=size_arcsec)
    catalogue = _catalogue(provider, cutouts, table, pairs)
    report_build(
        lambda: run_build(
            config_of(home),
            catalogue,
            provider,
            pixel_scale_arcsec=pixel_scale,
            max_failed_fraction=max_failed,
        ),
        as_json=as_json,
    )


def report_build(run: Callable[[], Report], *, as_json: bool) -> None:
    """Run a build and print what it did."""
    started = time.monotonic()
    report = run()
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
    provider: CutoutProvider,
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
                provider,
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


def _provider(
    cutouts: str, *, mosaic: bool, size_arcsec: float | None
) -> CutoutProvider:
    """The provider of what was given on the command line."""
    if not cutouts.strip():
        msg = "it is empty; name a folder, an archive or another place of cutouts."
        raise click.BadParameter(msg, param_hint="'CUTOUTS'")
    if not mosaic and split_kind(cutouts)[0] is not None:
        _only_mosaic(size_arcsec)
        return open_provider(cutouts)
    path = Path(cutouts)
    if not mosaic:
        _only_mosaic(size_arcsec)
    if not path.exists():
        msg = f"{cutouts!r} does not exist."
        raise click.BadParameter(msg, param_hint="'CUTOUTS'")
    if mosaic:
        return MosaicProvider(path, size_arcsec=size_arcsec or SIZE_ARCSEC)
    return open_provider(str(path.absolute()))


def _only_mosaic(size_arcsec: float | None) -> None:
    if size_arcsec is not None:
        msg = "--cutout-size is the size of what --mosaic cuts out: add --mosaic"
        raise click.UsageError(msg)


def _catalogue(
    provider: CutoutProvider, cutouts: str, table: Path | None, pairs: dict[str, str]
) -> Catalogue:
    """The catalogue that was named, or the one that is with the cutouts."""
    if table is not None:
        return read_catalogue(table, mapping=pairs)
    path = Path(cutouts)
    if isinstance(provider, FolderProvider):
        return catalogue_of_folder(path, mapping=pairs)
    if isinstance(provider, ArchiveProvider):
        return catalogue_of_archive(provider, mapping=pairs)
    kind = split_kind(cutouts)[0]
    found = None if kind is not None else find_catalogue(path)
    if found is None:
        msg = f"{cutouts} does not say which sources there are: add --catalogue"
        raise click.UsageError(msg)
    return read_catalogue(found, mapping=pairs, name=path.resolve().name)


def _pair(text: str) -> tuple[str, str]:
    word, found, column = text.partition("=")
    if not found:
        msg = f"--map {text}: write WORD=COLUMN"
        raise click.UsageError(msg)
    return word, column
