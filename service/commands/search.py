"""``twinjet search`` and ``twinjet embed``: a cutout in the terminal."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from twinjet.index.errors import EncoderMismatchError
from twinjet.index.names import parse_position
from twinjet.index.options import MAX_K, Options
from twinjet.index.search import Answer, Searcher
from twinjet.model.decode import read_cutout
from twinjet.service.commands.options import (
    HOME,
    JSON,
    MOC,
    PIXEL_SCALE,
    REGION,
    config_of,
    encoder_of,
    errors,
    existing_store_of,
    open_current,
    region_of,
)

# Measured columns that fit a terminal.
_SHOWN = 5


@click.command()
@click.argument("query")
@click.option("-k", type=click.IntRange(1, MAX_K), default=10, show_default=True)
@click.option("--where", help="Filter on columns, as 'angular_size_arcsec > 30'.")
@REGION
@MOC
@click.option("--exact", is_flag=True, help="Compare with every vector.")
@click.option("--invariant", is_flag=True, help="Average over rotations and mirrors.")
@PIXEL_SCALE
@HOME
@JSON
def search(
    query: str,
    k: int,
    where: str | None,
    region: str | None,
    moc: Path | None,
    exact: bool,
    invariant: bool,
    pixel_scale: float | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Neighbours of QUERY: a file of a cutout, the ID of a source, or a position."""
    config = config_of(home)
    store = existing_store_of(config)
    searcher = Searcher(open_current(config, store), store)
    options = Options(
        k=k,
        where=where,
        region=region_of(region, moc),
        exact=exact,
        duplicate_radius_arcsec=config.duplicate_radius_arcsec,
    )
    path = Path(query)
    if path.is_file():
        encoder = encoder_of(config)
        theirs = searcher.generation.manifest.encoder_id
        if theirs != encoder.card.id:
            raise EncoderMismatchError(encoder.card.id, theirs)
        cutout = read_cutout(path, pixel_scale_arcsec=pixel_scale)
        for note in cutout.notes:
            errors.print(note, markup=False)
        vector = encoder.embed([cutout], invariant=invariant or None)[0]
        answer = searcher.similar_to_vector(vector, options)
    elif (position := parse_position(query)) and not query.strip()[0].isalpha():
        answer = searcher.similar_to_position(*position, 30.0, options)
    else:
        answer = searcher.similar_to_source(query, options)
    if as_json:
        click.echo(json.dumps(_plain(answer)))
    else:
        # A pipe has no width; a table that is cut to 80 columns helps nobody there.
        width = None if sys.stdout.isatty() else 200
        Console(width=width).print(_table(answer))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--invariant", is_flag=True, help="Average over rotations and mirrors.")
@PIXEL_SCALE
def embed(
    files: tuple[Path, ...],
    invariant: bool,
    pixel_scale: float | None,
) -> None:
    """Print the embedding of each of FILES as a line of JSON."""
    encoder = encoder_of(config_of(None))
    for path in files:
        try:
            cutout = read_cutout(path, pixel_scale_arcsec=pixel_scale)
        except OSError as exc:
            raise click.FileError(str(path), exc.strerror) from exc
        vector = encoder.embed([cutout], invariant=invariant or None)[0]
        line = {
            "file": str(path),
            "encoder": encoder.card.id,
            "embedding": vector.tolist(),
        }
        click.echo(json.dumps(line))


def _plain(answer: Answer) -> list[dict[str, object]]:
    return [
        {
            "rank": n.rank,
            "similarity": n.similarity,
            "percentile": n.percentile,
            "source_id": n.source.source_id,
            "ra": n.source.ra,
            "dec": n.source.dec,
            **n.source.columns,
        }
        for n in answer.neighbours
    ]


def _table(answer: Answer) -> Table:
    table = Table(title=answer.query.source_id if answer.query else None)
    for heading in ("rank", "similarity", "percentile"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    table.add_column("RA, Dec", no_wrap=True)
    columns = list(answer.neighbours[0].source.columns) if answer.neighbours else []
    for column in columns[:_SHOWN]:
        table.add_column(column)
    for n in answer.neighbours:
        percentile = "" if n.percentile is None else f"{n.percentile:.3f}"
        values = (n.source.columns.get(column) for column in columns[:_SHOWN])
        table.add_row(
            str(n.rank),
            f"{n.similarity:.4f}",
            percentile,
            n.source.source_id,
            f"{n.source.ra:.5f} {n.source.dec:+.5f}",
            *("" if value is None else str(value) for value in values),
        )
    return table
