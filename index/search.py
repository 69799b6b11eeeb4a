"""Neighbours of a source, a position, a vector or examples, within one generation."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from twinjet.index.diversity import POOL, diversified
from twinjet.index.errors import InvalidQueryError, NoSourceAtPositionError
from twinjet.index.examples import Examples, resolve_examples
from twinjet.index.filtered import FilteredRows
from twinjet.index.generation import OpenGeneration
from twinjet.index.options import Options, check_cone, check_options
from twinjet.index.ranking import Look, Ranked, Rules, look_of, rank
from twinjet.index.scorers import Scorer, farthest_from, nearest_to
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
from twinjet.index.vectors.port import Rows, Vectors


@dataclass(frozen=True)
class Neighbour:
    """A source and how alike it is."""

    rank: int
    """From 1; the pages of one search continue it."""
    similarity: float
    """Cosine, -1 to 1; larger is closer. Of examples, to the one it is most like."""
    percentile: float | None
    """Percentage of random pairs of the generation that are less similar."""
    expected_by_chance: float | None
    """How many of the sources searched would be at least so similar to one drawn at
    random; of several examples an upper bound; None without a calibration."""
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
    searched: int
    """Sources that passed the filters, without those that were asked for."""
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
        self.store = store
        self._number = generation.manifest.number
        self._filtered = FilteredRows()

    def similar_to_source(self, source_id: str, options: Options) -> Answer:
        """Neighbours of a catalogued source, which is not among them.

        Raises
        ------
        UnknownSourceError
            No such source in this generation.
        InvalidQueryError, FilterError
            An option is out of bounds.
        """
        check_options(options)
        started = time.perf_counter()
        row, source = self.store.row_of(self._number, source_id)
        return self._similar_to_row(row, source, options, started=started)

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
        check_options(options)
        check_cone(ra, dec, radius_arcsec)
        started = time.perf_counter()
        found = self.store.cone(self._number, ra, dec, radius_arcsec, limit=1)
        if not found:
            raise NoSourceAtPositionError(ra, dec, radius_arcsec)
        row, source, _ = found[0]
        return self._similar_to_row(row, source, options, started=started)

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
        check_options(options)
        dimension = self.generation.manifest.dimension
        if vector.shape != (dimension,):
            msg = (
                f"the vector has shape {vector.shape}; this generation's ({dimension},)"
            )
            raise InvalidQueryError(
                msg, parameter="vector", limit=dimension, actual=len(vector)
            )
        return self._similar(vector, options, started=time.perf_counter())

    def similar_to_examples(self, examples: Examples, options: Options) -> Answer:
        """What is like some examples and unlike others, none of which is among it.

        Raises
        ------
        UnknownExamplesError
            Some IDs are not those of sources of this generation.
        InvalidQueryError, FilterError
            The examples cannot be used, or an option is out of bounds.
        """
        check_options(options)
        if options.least:
            msg = "of examples the least similar are those of unlike without like"
            raise InvalidQueryError(msg, parameter="order", actual="least")
        started = time.perf_counter()
        resolved = resolve_examples(examples, self.generation, self.store)
        return self._search(
            resolved.scorer, options, query_rows=resolved.rows, started=started
        )

    def _similar_to_row(
        self, row: int, source: Source, options: Options, *, started: float
    ) -> Answer:
        vector = self.generation.index.vectors(np.array([row]))[0]
        return self._similar(
            vector, options, query=source, query_rows=[row], started=started
        )

    def _similar(
        self,
        vector: Vectors,
        options: Options,
        *,
        query: Source | None = None,
        query_rows: Collection[int] = (),
        started: float,
    ) -> Answer:
        scorer = farthest_from(vector) if options.least else nearest_to(vector)
        return self._search(
            scorer, options, query=query, query_rows=query_rows, started=started
        )

    def _search(
        self,
        scorer: Scorer,
        options: Options,
        *,
        query: Source | None = None,
        query_rows: Collection[int] = (),
        started: float,
    ) -> Answer:
        among = self.among(options)
        rules = self.rules(options, query_rows)
        looked_up = time.perf_counter()
        generation = self.generation
        look, exact = look_of(generation.index, scorer, among, exact=options.exact)
        found = self.ranked(look, scorer, rules, options)
        searched = time.perf_counter()
        page = found.page(options.offset, options.k)
        sources = self.store.sources_by_row(self._number, page.rows.tolist())
        compared = self.searched(among, query_rows)
        neighbours = self.neighbours(
            page, scorer, sources, offset=options.offset, searched=compared
        )
        joined = time.perf_counter()
        return Answer(
            neighbours=neighbours,
            query=query,
            more=len(found.rows) > options.offset + options.k,
            exact=exact,
            searched=compared,
            timings_ms={
                "lookup": 1e3 * (looked_up - started),
                "search": 1e3 * (searched - looked_up),
                "metadata": 1e3 * (joined - searched),
            },
        )

    def ranked(
        self, look: Look, scorer: Scorer, rules: Rules, options: Options
    ) -> Ranked:
        """The ranking as far as a page of it needs, and one more."""
        wanted = options.wanted
        found = rank(
            look,
            max(wanted, POOL) if options.diversity else wanted,
            scorer=scorer,
            index=self.generation.index,
            rules=rules,
            positions=self.generation.positions,
        )
        if options.diversity:
            found = self._diversified(found, wanted, options.diversity)
        return found

    def neighbours(
        self,
        page: Ranked,
        scorer: Scorer,
        sources: Sequence[Source],
        *,
        offset: int,
        searched: int,
    ) -> list[Neighbour]:
        """Neighbours of a page of a ranking, whose sources these are."""
        columns = zip(
            page.similarities.tolist(), page.scores.tolist(), sources, strict=True
        )
        return [
            Neighbour(
                rank=rank_,
                similarity=similarity,
                percentile=self.generation.percentile(similarity),
                expected_by_chance=self.generation.expected_by_chance(
                    similarity, searched, references=len(scorer.references)
                ),
                source=source,
                score=score if scorer.named else None,
            )
            for rank_, (similarity, score, source) in enumerate(columns, offset + 1)
        ]

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

    def among(self, options: Options) -> Rows | None:
        """Rows that the filters let through; None for all."""
        where = options.where
        if where is None and options.region is None:
            return None
        if where is not None and options.region is None:
            return self._filtered.of(
                where, lambda: self.store.select_rows(self._number, where=where)
            )
        return self.store.select_rows(
            self._number,
            where=where,
            region=options.region,
            positions=self.generation.positions,
        )

    def searched(self, among: Rows | None, query_rows: Collection[int]) -> int:
        """How many sources a search looks at, without those that were asked for."""
        if among is None:
            return self.generation.manifest.count - len(query_rows)
        return len(among) - int(np.isin(list(query_rows), among).sum())

    def rules(self, options: Options, query_rows: Collection[int]) -> Rules:
        """What may be in the answer to a query, whose own rows may not."""
        # A list of IDs to leave out may know more than this generation has.
        known = self.store.rows_named(self._number, options.exclude)
        return Rules(
            excluded={*query_rows, *known.values()},
            min_similarity=options.min_similarity,
            duplicate_radius_arcsec=None
            if options.keep_duplicates
            else options.duplicate_radius_arcsec,
        )
