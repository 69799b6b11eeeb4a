"""``twinjet index``: from cutouts to a published generation."""

from pathlib import Path

import click

from twinjet.index.catalogue import ALIASES
from twinjet.index.checks import MAX_FAILED_FRACTION, Limits
from twinjet.index.cutouts.mosaic import SIZE_ARCSEC, MosaicProvider
from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.paths import split_kind
from twinjet.index.errors import CatalogueError
from twinjet.index.jobs.request import ReindexRequest
from twinjet.service.commands.following import index_catalogue, report_job
from twinjet.service.commands.options import HOME, JSON, PIXEL_SCALE, config_of


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
    "--name",
    help="Of the catalogue: a build is compared with the one before of this name.  "
    "[default: of its file or folder]",
)
@click.option(
    "--max-removed",
    type=click.FloatRange(0, 1),
    help="Part of the sources of the build before that may be gone.  "
    f"[default: {Limits().max_removed:g}]",
)
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    default=MAX_FAILED_FRACTION,
    show_default=True,
    help="Part of the sources that may fail.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Publish although checks are not passed; the publication says which.",
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
    name: str | None,
    max_removed: float | None,
    max_failed: float,
    force: bool,
    pixel_scale: float | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Index CUTOUTS and publish them.

    CUTOUTS is a folder of FITS, PNG or JPEG; a .zip or .tar of such files, which
    stays packed; an HDF5 file (.h5) or a Zarr store (.zarr, .zarr.zip) with images
    of shape (N, H, W); or, with --mosaic, large images to cut sources out of. What a
    catalogue's column `cutout` names is the file, the member of the archive, or the
    ID or number of the image in the stack; a mosaic is cut by position. Where a stack
    has several arrays write 'stack:PATH?images=NAME&ids=NAME'.

    Killed at any moment, the same command goes on where it was.
    """
    pairs = dict(_pair(text) for text in mapping)
    location = _location(cutouts, mosaic=mosaic, size_arcsec=size_arcsec)
    config = config_of(home)
    request = ReindexRequest(
        cutouts=location,
        catalogue=None if table is None else str(table.absolute()),
        name=_name(name),
        mapping=pairs,
        pixel_scale_arcsec=pixel_scale,
        max_failed_fraction=max_failed,
        max_removed_fraction=max_removed,
        force=force,
    )
    try:
        catalogue = request.read()
    except CatalogueError as exc:
        if table is None and exc.parameter == "catalogue":
            msg = f"{cutouts} does not say which sources there are: add --catalogue"
            raise click.UsageError(msg) from exc
        raise
    report_job(lambda: index_catalogue(config, catalogue, request), as_json=as_json)


def _location(cutouts: str, *, mosaic: bool, size_arcsec: float | None) -> str:
    """The location of what was given on the command line."""
    if not cutouts.strip():
        msg = "it is empty; name a folder, an archive or another place of cutouts."
        raise click.BadParameter(msg, param_hint="'CUTOUTS'")
    if not mosaic:
        _only_mosaic(size_arcsec)
        if split_kind(cutouts)[0] is not None:
            return open_provider(cutouts).location
    path = Path(cutouts)
    if not path.exists():
        msg = f"{cutouts!r} does not exist."
        raise click.BadParameter(msg, param_hint="'CUTOUTS'")
    if mosaic:
        return MosaicProvider(path, size_arcsec=size_arcsec or SIZE_ARCSEC).location
    return open_provider(str(path.absolute())).location


def _only_mosaic(size_arcsec: float | None) -> None:
    if size_arcsec is not None:
        msg = "--cutout-size is the size of what --mosaic cuts out: add --mosaic"
        raise click.UsageError(msg)


def _name(name: str | None) -> str | None:
    if name is not None and not (name.strip() and name.isprintable()):
        msg = f"{name!r} is no name."
        raise click.BadParameter(msg, param_hint="'--name'")
    return name


def _pair(text: str) -> tuple[str, str]:
    word, found, column = text.partition("=")
    if not found:
        msg = f"--map {text}: write WORD=COLUMN"
        raise click.UsageError(msg)
    return word, column
