"""``twinjet ingest``: from a published catalogue to a published index."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from twinjet.index.catalogue import ALIASES, Catalogue, read_catalogue
from twinjet.index.checks import MAX_FAILED_FRACTION
from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.remote_settings import FirstSettings, write_location
from twinjet.index.errors import CatalogueError
from twinjet.index.ingest.rgz import ZENODO_API, download_rgz, read_rgz
from twinjet.index.ingest.vizier import (
    FIRST,
    MIRABEST,
    VIZIER,
    download_vizier,
    read_vizier,
)
from twinjet.index.jobs.request import ReindexRequest
from twinjet.service.commands.following import index_catalogue, report_job
from twinjet.service.commands.options import HOME, JSON, config_of, errors
from twinjet.service.config import Config

_CUTOUTS = click.option(
    "--cutouts",
    metavar="LOCATION",
    help="Where cutouts come from.  [default: FIRST, kept in the home]",
)
_MAX_FAILED = click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    default=MAX_FAILED_FRACTION,
    show_default=True,
    help="Part of the sources that may fail.",
)
_MAP = click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="WORD=COLUMN",
    help=f"Column for one of {', '.join(ALIASES)}.",
)
_NAME = click.option("--name", help="Of the catalogue.")
_VIZIER = click.option(
    "--vizier", default=VIZIER, show_default=True, help="Another mirror of VizieR."
)


def _of_tables(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every table whose columns may be named."""
    for option in (JSON, HOME, _MAX_FAILED, _CUTOUTS, _MAP):
        command = option(command)
    return command


@click.group()
def ingest() -> None:
    """Index a published catalogue with cutouts of a public archive.

    Sources of a table without IDs are named by their positions. Killed at any moment,
    the same command goes on where it was. FIRST images are for scholarly, educational
    and private non-commercial use.
    """


@ingest.command("rgz-dr1")
@click.option(
    "--tables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The release's .tar.gz, when it is there already; downloaded when absent.",
)
@_CUTOUTS
@click.option(
    "--zenodo", default=ZENODO_API, show_default=True, help="API of the record."
)
@click.option("--record", help="Another record of the same tables, checked by its MD5.")
@_MAX_FAILED
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
    FIRST is asked twice a second, so that all of it takes half a day.
    """
    if not zenodo.startswith(("https://", "http://")):
        msg = f"{zenodo!r} is no URL of an API such as {ZENODO_API}"
        raise click.BadParameter(msg, param_hint="--zenodo")
    config = config_of(home)
    if tables is None:
        errors.print("the tables of the release")
        with _extra():
            tables = download_rgz(_folder(config), api=zenodo, record=record)
    _index(
        config,
        read_rgz(tables),
        cutouts=cutouts,
        max_failed=max_failed,
        as_json=as_json,
    )


@click.command()
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_NAME
@_of_tables
def table(table: Path, *, name: str | None, **options: Any) -> None:
    """Index the sources of TABLE: CSV, VOTable, FITS table or Parquet."""
    mapping = _pairs(options.pop("mapping"), "--map")
    catalogue = read_catalogue(table, mapping=mapping, name=name, name_rows=True)
    _index(config_of(options.pop("home")), catalogue, **options)


# One command: what a file is shows in the file.
ingest.add_command(table, "csv")
ingest.add_command(table, "votable")


@ingest.command()
@click.argument("table")
@click.option(
    "--where",
    "constraints",
    multiple=True,
    metavar="COLUMN=CONDITION",
    help="Rows that are wanted, as VizieR writes it: --where 'Maj=>15'.",
)
@_NAME
@_VIZIER
@_of_tables
def vizier(table: str, **options: Any) -> None:
    """Index a table of VizieR, by its name there: J/MNRAS/466/4346/table1."""
    _ingest_vizier(table, **options)


@ingest.command()
@_VIZIER
@_of_tables
def mirabest(**options: Any) -> None:
    """Index the sources of Miraghaei & Best (2017), from VizieR."""
    _ingest_vizier(MIRABEST, name="mirabest", constraints=(), **options)


@ingest.command()
@click.option(
    "--min-major",
    type=click.FloatRange(0),
    default=15.0,
    show_default=True,
    help="Least fitted major axis, arcsec; the beam has 5.4.",
)
@_VIZIER
@_of_tables
def first(min_major: float, **options: Any) -> None:
    """Index the extended components of FIRST's catalogue, from VizieR."""
    constraints = (f"fMaj=>{min_major:g}",)
    _ingest_vizier(FIRST, name="first", constraints=constraints, **options)


def _ingest_vizier(
    table: str,
    *,
    name: str | None,
    constraints: tuple[str, ...],
    mapping: tuple[str, ...],
    vizier: str,
    home: Path | None,
    **options: Any,
) -> None:
    config = config_of(home)
    wanted = _pairs(constraints, "--where")
    with _extra():
        path = download_vizier(table, _folder(config), constraints=wanted, url=vizier)
    catalogue = read_vizier(
        path, name=name or table.replace("/", "-"), mapping=_pairs(mapping, "--map")
    )
    _index(config, catalogue, **options)


def _index(
    config: Config,
    catalogue: Catalogue,
    *,
    cutouts: str | None,
    max_failed: float,
    as_json: bool,
) -> None:
    errors.print(
        f"{len(catalogue.sources)} sources, {len(catalogue.problems)} problems"
    )
    if cutouts is None:
        cache = config.files.path / "cutouts"
        cutouts = write_location(FirstSettings(cache=cache))
    request = ReindexRequest(
        cutouts=open_provider(cutouts).location, max_failed_fraction=max_failed
    )
    report_job(lambda: index_catalogue(config, catalogue, request), as_json=as_json)


def _folder(config: Config) -> Path:
    """Where downloaded tables are kept."""
    return config.files.path / "catalogues"


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, found, value = text.partition("=")
        if not found or not value:
            msg = f"{text!r} is no pair: write KEY=VALUE"
            raise click.BadParameter(msg, param_hint=option)
        pairs[key] = value
    return pairs


@contextmanager
def _extra() -> Iterator[None]:
    """Say which extra is missing."""
    try:
        yield
    except ModuleNotFoundError as exc:
        msg = f"{exc.name} is needed to download: pip install 'twinjet[archives]'"
        raise CatalogueError(msg) from exc
