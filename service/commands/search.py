"""``twinjet search``, ``outliers`` and ``embed``: questions in the terminal."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from twinjet.index.batch import similar_to_each
from twinjet.index.errors import EncoderMismatchError
from twinjet.index.examples import Examples
from twinjet.index.names import parse_position
from twinjet.index.options import MAX_K, MAX_OFFSET, Options
from twinjet.index.outliers import outliers as find_outliers
from twinjet.index.scorers import STRATEGIES, Strategy
from twinjet.index.search import Searcher
from twinjet.index.source_tables import read_batch
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder
from twinjet.model.errors import CutoutError
from twinjet.service.commands.options import (
    HOME,
    JSON,
    MOC,
    PIXEL_SCALE,
    REGION,
    config_of,
    errors,
    existing_store_of,
    open_current,
    region_of,
)
from twinjet.service.commands.printing import FORMAT, Output, about, show
from twinjet.service.commands.text import print_json, printable
from twinjet.service.config import Config
from twinjet.service.encoders import encoder_of
from twinjet.service.tables import batch_table, neighbours_table, outliers_table

_K = click.option("-k", type=click.IntRange(1, MAX_K), default=10, show_default=True)
_OFFSET = click.option(
    "--offset",
    type=click.IntRange(0, MAX_OFFSET),
    default=0,
    help="Pass over so many first.",
)
_WHERE = click.option(
    "--where", help="Filter on columns, as 'angular_size_arcsec > 30'."
)
_EXCLUDE = click.option("--exclude", multiple=True, metavar="ID", help="Leave out.")
_DUPLICATES = click.option(
    "--keep-duplicates", is_flag=True, help="Keep an object catalogued twice."
)


@click.command()
@click.argument("query", required=False)
@_K
@_OFFSET
@click.option(
    "--like",
    multiple=True,
    metavar="EXAMPLE",
    help="Is sought, repeatable: a file, if there is one, or an ID.",
)
@click.option("--unlike", multiple=True, metavar="EXAMPLE", help="One that is not.")
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    nargs=2,
    metavar="EXAMPLE EXAMPLE",
    help="Nearer to the first than to the second; with --like: as these differ.",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="mean",
    show_default=True,
    help="How --like and --unlike are combined.",
)
@click.option(
    "--batch",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of IDs or positions: neighbours of each row.",
)
@click.option(
    "--radius",
    "radius_arcsec",
    type=click.FloatRange(0, 3600),
    default=30.0,
    show_default=True,
    help="How far from a position its source may be, arcsec.",
)
@_WHERE
@REGION
@MOC
@click.option("--min-similarity", type=click.FloatRange(-1, 1), help="Least cosine.")
@click.option(
    "--diversity",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="How much neighbours shall differ from each other.",
)
@click.option("--least", is_flag=True, help="The least similar first.")
@_EXCLUDE
@_DUPLICATES
@click.option("--exact", is_flag=True, help="Compare with every vector.")
@click.option("--invariant", is_flag=True, help="Average over rotations and mirrors.")
@PIXEL_SCALE
@HOME
@FORMAT
@JSON
def search(
    query: str | None,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    strategy: Strategy,
    table: Path | None,
    radius_arcsec: float,
    invariant: bool,
    pixel_scale: float | None,
    home: Path | None,
    output: Output,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Neighbours of QUERY: a file of a cutout, the ID of a source, or a position.

    Instead of QUERY: --like, --unlike and --pair, or --batch.
    """
    given = [query is not None, bool(like or unlike or pairs), table is not None]
    if sum(given) != 1:
        msg = "give one of QUERY, of examples (--like, --unlike, --pair), or of --batch"
        raise click.UsageError(msg)
    config = config_of(home)
    store = existing_store_of(config)
    searcher = Searcher(open_current(config, store), store)
    manifest = searcher.generation.manifest
    columns = store.generation(manifest.number).columns
    options = _options(config, **chosen)
    if table is not None:
        rows = read_batch(table.name, table.read_bytes())
        many = similar_to_each(searcher, rows, options, radius_arcsec=radius_arcsec)
        for result in many.results:
            if result.error is not None:
                errors.print(f"row {result.asked.row}: {result.error}")
        where_from = about(manifest, searched=many.searched, exact=many.exact)
        show(batch_table(many.results, columns, where_from), output, as_json=as_json)
        return
    example = partial(
        _example,
        searcher=searcher,
        encoder=cache(partial(encoder_of, config)),
        pixel_scale=pixel_scale,
        invariant=invariant,
    )
    if query is None:
        answer = searcher.similar_to_examples(
            Examples(
                [example(one) for one in like],
                [example(one) for one in unlike],
                [(example(one), example(other)) for one, other in pairs],
                strategy,
            ),
            options,
        )
    elif not isinstance(vector := example(query), str):
        answer = searcher.similar_to_vector(np.array(vector, np.float32), options)
    elif (position := parse_position(query)) and not query.strip()[0].isalpha():
        answer = searcher.similar_to_position(*position, radius_arcsec, options)
    else:
        answer = searcher.similar_to_source(query, options)
    where_from = about(manifest, searched=answer.searched, exact=answer.exact)
    title = answer.query.source_id if answer.query else None
    found = neighbours_table(answer.neighbours, columns, where_from)
    show(found, output, as_json=as_json, title=title)


@click.command()
@_K
@_OFFSET
@_WHERE
@REGION
@MOC
@click.option("--least", is_flag=True, help="The least isolated first.")
@_EXCLUDE
@_DUPLICATES
@HOME
@FORMAT
@JSON
def outliers(home: Path | None, output: Output, as_json: bool, **chosen: Any) -> None:
    """List the sources that are like no others, the most isolated first."""
    config = config_of(home)
    store = existing_store_of(config)
    searcher = Searcher(open_current(config, store), store)
    manifest = searcher.generation.manifest
    answer = find_outliers(searcher, _options(config, **chosen))
    where_from = about(manifest, searched=answer.searched)
    columns = store.generation(manifest.number).columns
    show(outliers_table(answer.outliers, columns, where_from), output, as_json=as_json)


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
        print_json(line)


def _options(
    config: Config, *, region: str | None, moc: Path | None, **chosen: Any
) -> Options:
    """Options of a search, as they were given."""
    return Options(
        duplicate_radius_arcsec=config.duplicate_radius_arcsec,
        region=region_of(region, moc),
        **chosen,
    )


def _example(
    text: str,
    searcher: Searcher,
    encoder: Callable[[], Encoder],
    pixel_scale: float | None,
    *,
    invariant: bool,
) -> str | list[float]:
    """A file's embedding; what is no file is an ID or a position, as it was."""
    path = Path(text)
    if not os.path.isfile(path):  # noqa: PTH113 - a name that is too long is none
        return text
    ours, theirs = encoder().card.id, searcher.generation.manifest.encoder_id
    if theirs != ours:
        raise EncoderMismatchError(ours, theirs)
    try:
        cutout = read_cutout(path, pixel_scale_arcsec=pixel_scale)
    except CutoutError as exc:
        msg = printable(f"{text}: {exc}")
        raise click.ClickException(msg) from exc
    for note in cutout.notes:
        errors.print(f"{path.name}: {note}")
    vector: list[float] = (
        encoder().embed([cutout], invariant=invariant or None)[0].tolist()
    )
    return vector
