"""Neighbours of a source, a position or a vector, within one generation."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinjet.index.errors import (
    InvalidQueryError,
    NoSourceAtPositionError,
    UnknownSourceError,
)
from twinjet.index.generation import OpenGeneration
from twinjet.index.regions import Region
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
from twinjet.index.vectors.port import Rows, Vectors

MAX_K = 1000

# Paging goes no deeper: people stop looking long before.
MAX_OFFSET = 10_000


@dataclass(frozen=True)
class Options:
    """What a caller may ask of any search.

    Attributes
    ----------
    k
        Neighbours wanted, 1 to `MAX_K`.
    offset
        Neighbours to pass over first, 0 to `MAX_OFFSET`.
    min_similarity
        Leave out what is less similar, -1 to 1.
    exclude
        IDs to leave out.
    keep_duplicates
        Keep the same object catalogued twice.
    duplicate_radius_arcsec
        Sources closer than this are one object.
    where
        Filter on columns, in the grammar of `twinjet.index.where`.
    region
        Only in this part of the sky.
    exact
        Compare with every vector.
    """

    k: int = 10
    offset: int = 0
    min_similarity: float | None = None
    exclude: Sequence[str] = ()
    keep_duplicates: bool = False
    # Two beams of FIRST. RGZ catalogues one object several times within 5 arcsec;
    # two objects cannot be told apart within one beam.
    duplicate_radius_arcsec: float = 10.0
    where: str | None = None
    region: Region | None = None
    exact: bool = False


@dataclass(frozen=True)
class Neighbour:
    """A source and how alike it is."""

    rank: int
    """From 1; the pages of one search continue it."""
    similarity: float
    """Cosine, -1 to 1; larger is closer."""
    percentile: float | None
    """Percentage of random pairs of the generation that are less similar."""
    source: Source


@dataclass(frozen=True)
class Answer:
    """Neighbours, best first, and what they were asked for."""

    neighbours: list[Neighbour]
    query: Source | None
    """The catalogued source that was asked for, if it was one."""
    more: bool
    """Whether there are further neighbours."""
    exact: bool
    """Whether every vector that could match was compared."""
    timings_ms: dict[str, float] = field(default_factory=dict)


class Searcher:
    """Search over one open generation and its metadata.

    Parameters
    ----------
    generation
        Checked and opened.
    store
        Metadata of this generation, among others.
    """

    def __init__(self, generation: OpenGeneration, store: SourceStore) -> None:
        self.generation = generation
        self._store = store
        self._number = generation.manifest.number

    def similar_to_source(self, source_id: str, options: Options) -> Answer:
        """Neighbours of a catalogued source, which is not among them.

        Raises
        ------
        UnknownSourceError
            No such source in this generation.
        InvalidQueryError, FilterError
            An option is out of bounds.
        """
        _check(options)
        row, source = self._store.row_of(self._number, source_id)
        return self._similar_to_row(row, source, options)

    def similar_to_position(
        self, ra: float, dec: float, radius_arcsec: float, options: Options
    ) -> Answer:
        """Neighbours of the source nearest to an ICRS position in degrees.

        Raises
        ------
        NoSourceAtPositionError
            None within the radius.
        InvalidQueryError, FilterError
            An option or the position is out of bounds.
        """
        _check(options)
        check_cone(ra, dec, radius_arcsec)
        found = self._store.cone(self._number, ra, dec, radius_arcsec, limit=1)
        if not found:
            raise NoSourceAtPositionError(ra, dec, radius_arcsec)
        row, source, _ = found[0]
        return self._similar_to_row(row, source, options)

    def similar_to_vector(self, vector: Vectors, options: Options) -> Answer:
        """Neighbours of an embedding.

        Parameters
        ----------
        vector
            Shape (D,), float32, unit norm, made by this generation's encoder.
        options
            As for every search.

        Raises
        ------
        InvalidQueryError, FilterError
            An option is out of bounds, or the vector is of another length.
        """
        _check(options)
        dimension = self.generation.manifest.dimension
        if vector.shape != (dimension,):
            msg = (
                f"the vector has shape {vector.shape}; this generation's ({dimension},)"
            )
            raise InvalidQueryError(
                msg, parameter="vector", limit=dimension, actual=len(vector)
            )
        return self._search(vector, options, query=None, query_row=None)

    def _similar_to_row(self, row: int, source: Source, options: Options) -> Answer:
        vector = self.generation.index.vectors(np.array([row]))[0]
        return self._search(vector, options, query=source, query_row=row)

    def _search(
        self,
        vector: Vectors,
        options: Options,
        *,
        query: Source | None,
        query_row: int | None,
    ) -> Answer:
        started = time.perf_counter()
        among = None
        if options.where is not None or options.region is not None:
            among = self._store.select_rows(
                self._number,
                where=options.where,
                region=options.region,
                positions=self.generation.positions,
            )
        filtered = time.perf_counter()
        excluded = self._rows_of(options.exclude)
        if query_row is not None:
            excluded.add(query_row)
        wanted = options.offset + options.k + 1  # one more tells whether there is more
        similarities, rows = self._ranked(vector, wanted, among, excluded, options)
        searched = time.perf_counter()
        page = slice(options.offset, options.offset + options.k)
        sources = self._store.sources_by_row(self._number, rows[page].tolist())
        neighbours = [
            Neighbour(
                rank=options.offset + number,
                similarity=float(similarity),
                percentile=self.generation.percentile(float(similarity)),
                source=source,
            )
            for number, (similarity, source) in enumerate(
                zip(similarities[page], sources, strict=True), start=1
            )
        ]
        joined = time.perf_counter()
        return Answer(
            neighbours=neighbours,
            query=query,
            more=len(rows) > page.stop,
            exact=options.exact or self.generation.index.is_exact(among),
            timings_ms={
                "search": 1e3 * (searched - filtered),
                "metadata": 1e3 * (joined - searched + filtered - started),
            },
        )

    def _rows_of(self, source_ids: Sequence[str]) -> set[int]:
        """Rows of those IDs that this generation has: a list may know more."""
        rows = set()
        for source_id in source_ids:
            with suppress(UnknownSourceError):
                rows.add(self._store.row_of(self._number, source_id)[0])
        return rows

    def _ranked(
        self,
        vector: Vectors,
        wanted: int,
        among: Rows | None,
        excluded: set[int],
        options: Options,
    ) -> tuple[Vectors, Rows]:
        """The best `wanted` rows after exclusions, duplicates and the threshold.

        How many the exclusions take is not known before: look twice as far until
        there are enough or there is no more.
        """
        index = self.generation.index
        available = len(index) if among is None else len(among)
        depth = min(available, wanted + len(excluded) + 16)
        while True:
            similarities, rows = index.search(
                vector, max(depth, 1), among=among, exact=options.exact
            )
            keep = ~np.isin(rows, list(excluded))
            if options.min_similarity is not None:
                keep &= similarities >= options.min_similarity
            if not options.keep_duplicates:
                keep &= self._first_of_each_object(rows, keep, excluded, options)
            if keep.sum() >= wanted or depth >= available:
                kept = np.flatnonzero(keep)[:wanted]
                return similarities[kept], rows[kept]
            depth = min(available, depth * 2)

    def _first_of_each_object(
        self,
        rows: Rows,
        keep: NDArray[np.bool_],
        excluded: set[int],
        options: Options,
    ) -> NDArray[np.bool_]:
        """Which rows are farther than the radius from every better kept one.

        Excluded sources, the query among them, count as better: what lies on the
        query's place in the sky is the query again.
        """
        # Chord of the radius: exact for the smallest angles, where cosines are not.
        chord = 2 * math.sin(math.radians(options.duplicate_radius_arcsec / 3600) / 2)
        positions = self.generation.positions
        taken = [positions[row] for row in sorted(excluded)]
        first = np.zeros(len(rows), dtype=bool)
        seen = np.empty((len(taken) + len(rows), 3))
        seen[: len(taken)] = np.reshape(taken, (-1, 3))
        count = len(taken)
        places = positions[rows]
        for number in np.flatnonzero(keep):
            gaps = ((seen[:count] - places[number]) ** 2).sum(axis=1)
            if count and gaps.min() <= chord**2:
                continue
            first[number] = True
            seen[count] = places[number]
            count += 1
        return first


def check_cone(ra: float, dec: float, radius_arcsec: float) -> None:
    """Refuse a cone that is not on the sky.

    Raises
    ------
    InvalidQueryError
        RA outside 0 to 360 degrees, Dec outside -90 to 90, or the radius outside
        0 to 180 degrees.
    """
    _within("ra", ra, 0, 360, "degrees")
    _within("dec", dec, -90, 90, "degrees")
    _within("radius_arcsec", radius_arcsec, 0, 648_000, "arcsec")


def _check(options: Options) -> None:
    _within("k", options.k, 1, MAX_K, "")
    _within("offset", options.offset, 0, MAX_OFFSET, "")
    _within(
        "duplicate_radius_arcsec", options.duplicate_radius_arcsec, 0, 3600, "arcsec"
    )
    if options.min_similarity is not None:
        _within("min_similarity", options.min_similarity, -1, 1, "")


def _within(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:  # also when it is NaN
        msg = f"{name} must be {low} to {high} {unit}".rstrip() + f"; it was {value}"
        raise InvalidQueryError(
            msg, parameter=name, limit=f"{low} to {high}", actual=str(value)
        )
