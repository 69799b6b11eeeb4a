"""Neighbours of a source, a position, a vector or examples, within one generation."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from twinjet.index.diversity import POOL, diversified
from twinjet.index.errors import InvalidQueryError, NoSourceAtPositionError
from twinjet.index.examples import Examples, resolve_examples
from twinjet.index.generation import OpenGeneration
from twinjet.index.ranking import Ranked, Rules, look_of, rank
from twinjet.index.scorers import Scorer, farthest_from, nearest_to
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
        Only within (ra, dec, radius), ICRS degrees.
    exact
        Compare with every vector.
    least
        The least similar first; of examples, `Examples.unlike` says the same.
    diversity
        0 to 1: how much neighbours shall differ from each other; see
        `twinjet.index.diversity`.
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
    region: tuple[float, float, float] | None = None
    exact: bool = False
    least: bool = False
    diversity: float = 0.0


@dataclass(frozen=True)
class Neighbour:
    """A source and how alike it is."""

    rank: int
    """From 1; the pages of one search continue it."""
    similarity: float
    """Cosine, -1 to 1; larger is closer. Of examples, to the one it is most like."""
    percentile: float | None
    """Percentage of random pairs of the generation that are less similar."""
    source: Source
    score: float | None = None
    """What the ranking is by, where that is not the similarity; larger is earlier."""


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
        return self._similar(vector, options)

    def similar_to_examples(self, examples: Examples, options: Options) -> Answer:
        """What is like some examples and unlike others, none of which is among it.

        Raises
        ------
        UnknownExamplesError
            Some IDs are not those of sources of this generation.
        InvalidQueryError, FilterError
            The examples cannot be used, or an option is out of bounds.
        """
        _check(options)
        if options.least:
            msg = "of examples the least similar are those of unlike without like"
            raise InvalidQueryError(msg, parameter="order", actual="least")
        started = time.perf_counter()
        resolved = resolve_examples(examples, self.generation, self._store)
        looked_up = 1e3 * (time.perf_counter() - started)
        answer = self._search(resolved.scorer, options, query_rows=resolved.rows)
        answer.timings_ms["metadata"] += looked_up
        return answer

    def _similar_to_row(self, row: int, source: Source, options: Options) -> Answer:
        vector = self.generation.index.vectors(np.array([row]))[0]
        return self._similar(vector, options, query=source, query_rows=[row])

    def _similar(
        self,
        vector: Vectors,
        options: Options,
        *,
        query: Source | None = None,
        query_rows: Collection[int] = (),
    ) -> Answer:
        scorer = farthest_from(vector) if options.least else nearest_to(vector)
        return self._search(scorer, options, query=query, query_rows=query_rows)

    def _search(
        self,
        scorer: Scorer,
        options: Options,
        *,
        query: Source | None = None,
        query_rows: Collection[int] = (),
    ) -> Answer:
        started = time.perf_counter()
        among = self._among(options)
        rules = self._rules(options, query_rows)
        looked_up = time.perf_counter()
        generation = self.generation
        look, exact = look_of(generation.index, scorer, among, exact=options.exact)
        wanted = options.offset + options.k + 1  # one more tells whether there is more
        found = rank(
            look,
            max(wanted, POOL) if options.diversity else wanted,
            scorer=scorer,
            index=generation.index,
            rules=rules,
            positions=generation.positions,
        )
        if options.diversity:
            found = self._diversified(found, wanted, options.diversity)
        searched = time.perf_counter()
        page = slice(options.offset, options.offset + options.k)
        sources = self._store.sources_by_row(self._number, found.rows[page].tolist())
        columns = zip(
            found.similarities[page].tolist(),
            found.scores[page].tolist(),
            sources,
            strict=True,
        )
        neighbours = [
            Neighbour(
                rank=options.offset + number,
                similarity=similarity,
                percentile=generation.percentile(similarity),
                source=source,
                score=score if scorer.named else None,
            )
            for number, (similarity, score, source) in enumerate(columns, start=1)
        ]
        joined = time.perf_counter()
        return Answer(
            neighbours=neighbours,
            query=query,
            more=len(found.rows) > page.stop,
            exact=exact,
            timings_ms={
                "search": 1e3 * (searched - looked_up),
                "metadata": 1e3 * (joined - searched + looked_up - started),
            },
        )

    def _diversified(self, found: Ranked, wanted: int, diversity: float) -> Ranked:
        """The first of a ranking in another order, the others after them."""
        pool = found.rows[:POOL]
        order = diversified(
            found.scores[:POOL],
            self.generation.index.vectors(pool),
            diversity,
            min(wanted, len(pool)),
        )
        return found.at(np.concatenate([order, np.arange(POOL, len(found.rows))]))

    def _among(self, options: Options) -> Rows | None:
        """Rows that the filters let through; None for all."""
        if options.where is None and options.region is None:
            return None
        return self._store.select_rows(
            self._number, where=options.where, region=options.region
        )

    def _rules(self, options: Options, query_rows: Collection[int]) -> Rules:
        # A list of IDs to leave out may know more than this generation has.
        known = self._store.rows_named(self._number, options.exclude)
        return Rules(
            excluded={*query_rows, *known.values()},
            min_similarity=options.min_similarity,
            duplicate_radius_arcsec=None
            if options.keep_duplicates
            else options.duplicate_radius_arcsec,
        )


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
    _within("diversity", options.diversity, 0, 1, "")
    _within("offset", options.offset, 0, MAX_OFFSET, "")
    _within(
        "duplicate_radius_arcsec", options.duplicate_radius_arcsec, 0, 3600, "arcsec"
    )
    if options.min_similarity is not None:
        _within("min_similarity", options.min_similarity, -1, 1, "")
    if options.region is not None:
        ra, dec, radius_deg = options.region
        check_cone(ra, dec, radius_deg * 3600)


def _within(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:  # also when it is NaN
        msg = f"{name} must be {low} to {high} {unit}".rstrip() + f"; it was {value}"
        raise InvalidQueryError(
            msg, parameter=name, limit=f"{low} to {high}", actual=str(value)
        )
