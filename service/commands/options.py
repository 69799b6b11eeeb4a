"""Options and wiring that commands share."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from twinjet.index.errors import NoGenerationError, SharedStoreError, StoreError
from twinjet.index.generation import OpenGeneration
from twinjet.index.moc import moc_of_bytes
from twinjet.index.opening import open_store
from twinjet.index.published import open_published
from twinjet.index.region_text import parse_region
from twinjet.index.regions import Region
from twinjet.index.store import SourceStore
from twinjet.index.vectors.engine import VectorEngine, open_engine
from twinjet.service.commands.text import printable
from twinjet.service.config import Config, configured
from twinjet.service.misconfiguration import ConfigError

HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the index [TWINJET_HOME].",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
PIXEL_SCALE = click.option(
    "--pixel-scale",
    type=click.FloatRange(1e-4, 3600),
    help="Pixel size in arcsec of cutouts without WCS.",
)
REGION = click.option(
    "--region",
    metavar="TEXT",
    help="Part of the sky, ICRS degrees: 'CIRCLE 180 30 2', RANGE, BOX, POLYGON, MOC.",
)
MOC = click.option(
    "--moc",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Part of the sky: a MOC as a file, FITS, ASCII or JSON.",
)


class Terminal(Console):
    """Rich's, of texts as they are: no markup, and nothing on which a terminal acts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As Rich does, of what is printed, and of cells and titles of tables."""
        return super().render_str(printable(text), **options)


errors = Terminal(stderr=True)


def config_of(home: Path | None, **values: Any) -> Config:
    """Settings, with what was given on the command line in force."""
    given = {name: value for name, value in values.items() if value is not None}
    if home is not None:
        given["home"] = home
    return configured(**given)


def region_of(text: str | None, moc: Path | None) -> Region | None:
    """The part of the sky that was given, as text or as a file of a MOC.

    Raises
    ------
    RegionError
        It cannot be understood.
    """
    if moc is None:
        return None if text is None else parse_region(text)
    if text is not None:
        msg = "--region and --moc are two parts of the sky: leave one of them out"
        raise click.UsageError(msg)
    try:
        return moc_of_bytes(moc.read_bytes())
    except OSError as exc:
        raise click.FileError(str(moc), exc.strerror) from exc


def store_of(config: Config) -> SourceStore:
    """The metadata store, brought to this version.

    Raises
    ------
    HomeMismatchError
        It belongs to another home.
    ConfigError
        The database, or the shared store, that is set cannot be used.
    """
    try:
        return open_store(config.files, config.metadata_url)
    except SharedStoreError as exc:
        msg = f"TWINJET_SHARED_STORE: {exc}"
        raise ConfigError(msg) from exc
    except StoreError as exc:
        if type(exc) is not StoreError or config.database_url is None:
            raise
        msg = f"TWINJET_DATABASE_URL: {exc}"
        raise ConfigError(msg) from exc


def existing_store_of(config: Config) -> SourceStore:
    """The metadata store, for commands that only read.

    Raises
    ------
    NoGenerationError
        There is no home yet; it is not made for a mistyped name.
    """
    if config.database_url is None and not config.home.is_dir():
        msg = f"there is no index in {config.home}: run `twinjet index FOLDER`"
        raise NoGenerationError(msg)
    return store_of(config)


def engine_of(config: Config, store: SourceStore) -> VectorEngine | None:
    """What searches the vectors; None is FAISS in this process."""
    return open_engine(
        config.vectors,
        store.engine,
        config.milvus_uri,
        memory_bytes=config.vectors_memory_bytes,
    )


def open_current(config: Config, store: SourceStore) -> OpenGeneration:
    """The generation in force.

    Raises
    ------
    NoGenerationError
        Nothing has been published.
    """
    current = store.current()
    if current is None:
        msg = f"nothing is indexed in {config.home}: run `twinjet index FOLDER`"
        raise NoGenerationError(msg)
    return open_published(current, config.files, store, engine_of(config, store))


def bars() -> Progress:
    """Columns of progress on stderr."""
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
    )
