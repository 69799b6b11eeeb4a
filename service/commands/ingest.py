"""``twinjet ingest``: from a published catalogue to a published index."""

from pathlib import Path

import click

from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.remote_settings import FirstSettings, write_location
from twinjet.index.errors import CatalogueError
from twinjet.index.ingest.rgz import ZENODO_API, download_rgz, read_rgz
from twinjet.index.reindex import MAX_FAILED_FRACTION
from twinjet.service.commands.index import report_build, run_build
from twinjet.service.commands.options import HOME, JSON, config_of, errors


@click.group()
def ingest() -> None:
    """Index a published catalogue with cutouts of a public archive.

    Any other catalogue is a file: `twinjet index first:?cache=FOLDER --catalogue FILE`.
    """


@ingest.command("rgz-dr1")
@click.option(
    "--tables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The release's .tar.gz, when it is there already; downloaded when absent.",
)
@click.option(
    "--cutouts",
    metavar="LOCATION",
    help="Where cutouts come from.  [default: FIRST, kept in the home]",
)
@click.option(
    "--zenodo", default=ZENODO_API, show_default=True, help="API of the record."
)
@click.option("--record", help="Another record of the same tables, checked by its MD5.")
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    default=MAX_FAILED_FRACTION,
    show_default=True,
    help="Part of the sources that may fail.",
)
@HOME
@JSON
def rgz_dr1(
    tables: Path | None,
    cutouts: str | None,
    zenodo: str,
    record: str | None,
    max_failed: float,
    home: Path | None,
    as_json: bool,
) -> None:
    """Index the first data release of Radio Galaxy Zoo (Wong et al. 2025).

    Rows within 5 arcsec of a better one are the same source; hosts are joined to it.
    FIRST is asked twice a second, so that all of it takes half a day; killed at any
    moment, the same command goes on where it was. FIRST images are for scholarly,
    educational and private non-commercial use.
    """
    if not zenodo.startswith(("https://", "http://")):
        msg = f"{zenodo!r} is no URL of an API such as {ZENODO_API}"
        raise click.BadParameter(msg, param_hint="--zenodo")
    config = config_of(home)
    if tables is None:
        errors.print("the tables of the release")
        folder = config.files.path / "catalogues"
        try:
            tables = download_rgz(folder, api=zenodo, record=record)
        except ModuleNotFoundError as exc:
            msg = f"{exc.name} is needed to download: pip install 'twinjet[archives]'"
            raise CatalogueError(msg) from exc
    catalogue = read_rgz(tables)
    errors.print(
        f"{len(catalogue.sources)} sources, {len(catalogue.problems)} problems"
    )
    if cutouts is None:
        cache = config.files.path / "cutouts"
        cutouts = write_location(FirstSettings(cache=cache))
    report_build(
        lambda: run_build(
            config, catalogue, open_provider(cutouts), max_failed_fraction=max_failed
        ),
        as_json=as_json,
    )
