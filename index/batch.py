"""Neighbours of many sources at once; one that cannot be answered fails alone."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twinjet.index.errors import (
    InvalidQueryError,
    NoSourceAtPositionError,
    TwinjetIndexError,
    UnknownSourceError,
)
from twinjet.index.options import Options, check_cone, check_options
from twinjet.index.ranking import Look, Ranked, look_of, scans
from twinjet.index.scorers import Scorer, farthest_from, nearest_to
from twinjet.index.search import Neighbour, Searcher
from twinjet.index.source import Source
from twinjet.index.source_tables import Asked, check_count
from twinjet.index.vectors.port import Rows

# Of all rows together: 50 of each of 1,000, some 30 MB of JSON.
MAX_NEIGHBOURS = 50_000


@dataclass(frozen=True)
class Result:
    """What came of one row.

    Attributes
    ----------
    asked
        The row.
    source
        Whose neighbours these are; None where there is an error.
    neighbours
        Best first.
    error
        Why there are none.
    """

    asked: Asked
    source: Source | None
    neighbours: list[Neighbour]
    error: TwinjetIndexError | None = None


@dataclass(frozen=True)
class BatchAnswer:
    """What came of each row, in the order of the rows."""

    results: list[Result]
    exact: bool
    searched: int
    """Sources that passed the filters; a row is not compared with itself."""
    timings_ms: dict[str, float]


def similar_to_each(
    searcher: Searcher,
    rows: Sequence[Asked],
    options: Options,
    *,
    radius_arcsec: float = 30.0,
) -> BatchAnswer:
    """Neighbours of the sources of many rows.

    Raises
    ------
    InvalidQueryError, FilterError
        An option is out of bounds, or there are no rows, more than `MAX_ROWS`, or more
        than `MAX_NEIGHBOURS` neighbours wanted of all. What is wrong with a row is in
        its result.
    """
    check_options(options)
    check_cone(0.0, 0.0, radius_arcsec)
    check_count(len(rows), "ids")
    if len(rows) * options.k > MAX_NEIGHBOURS:
        msg = (
            f"{len(rows)} rows of {options.k} neighbours are {len(rows) * options.k}; "
            f"at most {MAX_NEIGHBOURS} in one answer"
        )
        raise InvalidQueryError(
            msg, parameter="k", limit=MAX_NEIGHBOURS, actual=len(rows) * options.k
        )
    started = time.perf_counter()
    found = _find(searcher, rows, radius_arcsec)
    among = searcher.among(options)
    rules = searcher.rules(options, ())
    looked_up = time.perf_counter()
    good = {place: row for place, row in enumerate(found) if isinstance(row, int)}
    exact = options.least or options.exact or searcher.generation.index.is_exact(among)
    ranked: dict[int, tuple[Ranked, Scorer]] = {}
    looks = _looks(searcher, list(good.values()), among, options, exact=exact)
    for (place, row), (look, scorer) in zip(good.items(), looks, strict=True):
        own = replace(rules, excluded=frozenset((*rules.excluded, row)))
        ranking = searcher.ranked(look, scorer, own, options)
        ranked[place] = ranking.page(options.offset, options.k), scorer
    searched = time.perf_counter()
    sources = _sources(searcher, good, ranked)
    results = []
    for place, asked in enumerate(rows):
        answered = found[place]
        if not isinstance(answered, int):
            results.append(Result(asked, None, [], answered))
            continue
        ranking, scorer = ranked[place]
        neighbours = searcher.neighbours(
            ranking,
            scorer,
            [sources[r] for r in ranking.rows.tolist()],
            offset=options.offset,
            searched=searcher.searched(among, [answered]),
        )
        results.append(Result(asked, sources[answered], neighbours))
    joined = time.perf_counter()
    return BatchAnswer(
        results=results,
        exact=exact,
        searched=searcher.searched(among, ()),
        timings_ms={
            "lookup": 1e3 * (looked_up - started),
            "search": 1e3 * (searched - looked_up),
            "metadata": 1e3 * (joined - searched),
        },
    )


def _find(
    searcher: Searcher, rows: Sequence[Asked], radius_arcsec: float
) -> list[int | TwinjetIndexError]:
    """Row of the generation for each row of the batch, or why there is none."""
    store, number = searcher.store, searcher.generation.manifest.number
    ids = [one.source_id for one in rows if one.source_id is not None]
    named = store.rows_named(number, ids)
    found: list[int | TwinjetIndexError] = []
    for one in rows:
        try:
            if one.source_id in named:
                found.append(named[one.source_id])
            elif one.position is not None:
                ra, dec = one.position
                check_cone(ra, dec, radius_arcsec)
                near = store.cone(number, ra, dec, radius_arcsec, limit=1)
                if not near:
                    raise NoSourceAtPositionError(ra, dec, radius_arcsec)
                found.append(near[0][0])
            elif one.source_id is not None:
                raise UnknownSourceError(one.source_id)
            else:
                raise InvalidQueryError(one.fault or "it is empty", parameter="row")
        except TwinjetIndexError as exc:
            found.append(exc)
    return found


def _looks(
    searcher: Searcher,
    rows: Sequence[int],
    among: Rows | None,
    options: Options,
    *,
    exact: bool,
) -> Iterator[tuple[Look, Scorer]]:
    """How to answer each row; vectors that are compared are read for many at once."""
    index = searcher.generation.index
    vectors = index.vectors(np.array(rows, dtype=np.int64))
    make = farthest_from if options.least else nearest_to
    scorers = [make(vector) for vector in vectors]
    if not exact:
        for scorer in scorers:
            yield look_of(index, scorer, among, exact=False)[0], scorer
        return
    directions = -vectors if options.least else vectors
    yield from zip(scans(index, directions, scorers, among), scorers, strict=True)


def _sources(
    searcher: Searcher,
    good: dict[int, int],
    ranked: dict[int, tuple[Ranked, Scorer]],
) -> dict[int, Source]:
    """All sources of the answer by row, each read once."""
    wanted = set(good.values())
    for ranking, _ in ranked.values():
        wanted.update(ranking.rows.tolist())
    rows = sorted(wanted)
    number = searcher.generation.manifest.number
    return dict(zip(rows, searcher.store.sources_by_row(number, rows), strict=True))
