"""The best of all sources for one question, each object once, in a lasting order.

The order of a ranking never depends on how much of it was asked for, so that its
pages join without a gap or a repetition.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from twinjet.index.scorers import Scorer
from twinjet.index.sky import chord_of
from twinjet.index.vectors.port import Rows, VectorIndex, Vectors, best
from twinjet.index.vectors.ranking import ROUNDING

# Vectors that are scored at a time: of 512 dimensions 16 MB.
BLOCK_ROWS = 8192

# Scores that are kept of several directions at a time.
_SCAN_BYTES = 128 * 2**20

# The first look into an index that is not exact; each further one is twice as deep.
_FIRST_LOOK = 64


@dataclass(frozen=True)
class Ranked:
    """Sources, the best first; arrays of one length."""

    rows: Rows
    similarities: Vectors
    """Cosine to the example that each is most like."""
    scores: Vectors
    """What they were ranked by."""

    def at(self, places: NDArray[np.int64]) -> "Ranked":
        """Some of them, in another order."""
        return Ranked(self.rows[places], self.similarities[places], self.scores[places])

    def page(self, offset: int, count: int) -> "Ranked":
        """So many of them from a place on."""
        return self.at(np.arange(len(self.rows))[offset : offset + count])


@dataclass(frozen=True)
class Rules:
    """What may be in a ranking.

    Attributes
    ----------
    excluded
        Rows that are not, and whose places in the sky are taken.
    min_similarity
        What is less similar is not.
    duplicate_radius_arcsec
        Sources closer than this are one object; None keeps all.
    """

    excluded: Collection[int] = ()
    min_similarity: float | None = None
    duplicate_radius_arcsec: float | None = None


class Look(Protocol):
    """Scores and rows, the best first, at least so many if there are."""

    def __call__(self, depth: int, /) -> tuple[Vectors, Rows]:
        """Look so deep."""


class Scored:
    """A look at scores that are all there; those of ``-inf`` are left out.

    Parameters
    ----------
    scores
        Shape (n,), float32.
    rows
        Shape (n,), ascending.
    settle
        Scores of rows as they are shown; those of `scores` may be off by rounding.
    """

    def __init__(
        self, scores: Vectors, rows: Rows, settle: Callable[[Rows], Vectors]
    ) -> None:
        self._settle = settle
        allowed = scores > -np.inf
        whole = bool(allowed.all())  # as it nearly always is: nothing is copied
        self._scores = scores if whole else scores[allowed]
        self._rows = rows if whole else rows[allowed]

    def __call__(self, depth: int, /) -> tuple[Vectors, Rows]:
        """The best, ties in ascending order of row."""
        count = len(self._scores)
        least = -np.inf
        if 0 < depth < count:
            least = float(np.partition(self._scores, count - depth)[count - depth])
        places = np.flatnonzero(self._scores >= least - 2 * ROUNDING)
        chosen = self._rows[places]
        scores = self._settle(chosen)
        # Rounding may not leave out what the first look let in.
        scores = np.where(scores > -np.inf, scores, self._scores[places])
        return best(scores, chosen, depth)


class Scan(Scored):
    """A look at every vector, in blocks; a score for each is kept in between.

    Parameters
    ----------
    index
        Whose vectors.
    scorer
        What they are ranked by.
    among
        Only these rows; all when None.
    """

    def __init__(
        self, index: VectorIndex, scorer: Scorer, among: Rows | None = None
    ) -> None:
        rows = np.arange(len(index)) if among is None else among
        parts = [
            scorer.score(index.vectors(rows[start : start + BLOCK_ROWS]))
            for start in range(0, len(rows), BLOCK_ROWS)
        ]
        scores = np.concatenate([np.empty(0, np.float32), *parts], dtype=np.float32)
        super().__init__(scores, rows, settling(index, scorer))


def scans(
    index: VectorIndex,
    directions: Vectors,
    scorers: Sequence[Scorer],
    among: Rows | None = None,
) -> Iterator[Scored]:
    """A look at every vector for each of many directions, some of them at a time.

    What is read is scored for all of these; the best are settled as of one alone.

    Parameters
    ----------
    index
        Whose vectors.
    directions
        Shape (q, D), float32.
    scorers
        Of each direction.
    among
        Only these rows; all when None.
    """
    rows = np.arange(len(index)) if among is None else among
    together = max(1, _SCAN_BYTES // max(1, 4 * len(rows)))
    for first in range(0, len(directions), together):
        some = directions[first : first + together]
        scores = np.empty((len(some), len(rows)), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            scores[:, part] = some @ index.vectors(rows[part]).T
        for row, scorer in zip(scores, scorers[first:], strict=False):
            yield Scored(row, rows, settling(index, scorer))


def settling(index: VectorIndex, scorer: Scorer) -> Callable[[Rows], Vectors]:
    """Scores of rows by a scorer, to the last bit the same in any company."""

    def settle(rows: Rows) -> Vectors:
        parts = [
            scorer.settled(index.vectors(rows[start : start + BLOCK_ROWS]))
            for start in range(0, len(rows), BLOCK_ROWS)
        ]
        return np.concatenate([np.empty(0, np.float32), *parts], dtype=np.float32)

    return settle


class IndexLook:
    """A look through an index; what a deeper one finds comes after what was found.

    An index that is not exact may miss a source until it looks deeper. Put in its
    place it would shift all that come after, and pages would repeat a source.
    """

    def __init__(
        self, index: VectorIndex, direction: Vectors, among: Rows | None = None
    ) -> None:
        self._index, self._direction, self._among = index, direction, among
        self._available = len(index) if among is None else len(among)
        self._depth = 0
        self._scores = np.empty(0, np.float32)
        self._rows = np.empty(0, np.int64)

    def __call__(self, depth: int, /) -> tuple[Vectors, Rows]:
        """At least so many, if there are."""
        while self._depth < min(depth, self._available):
            self._depth = max(_FIRST_LOOK, 2 * self._depth)
            scores, rows = self._index.search(
                self._direction, self._depth, among=self._among
            )
            new = ~np.isin(rows, self._rows)
            self._scores = np.concatenate([self._scores, scores[new]])
            self._rows = np.concatenate([self._rows, rows[new]])
        return self._scores, self._rows


class ExactLook:
    """A look through an index that compares every vector."""

    def __init__(
        self, index: VectorIndex, direction: Vectors, among: Rows | None = None
    ) -> None:
        self._index, self._direction, self._among = index, direction, among

    def __call__(self, depth: int, /) -> tuple[Vectors, Rows]:
        """The best, ties in ascending order of row."""
        return self._index.search(
            self._direction, max(depth, 1), among=self._among, exact=True
        )


def look_of(
    index: VectorIndex, scorer: Scorer, among: Rows | None, *, exact: bool
) -> tuple[Look, bool]:
    """How to answer a scorer, and whether every vector is compared."""
    if scorer.direction is None:
        return Scan(index, scorer, among), True
    if exact or index.is_exact(among):
        return ExactLook(index, scorer.direction, among), True
    return IndexLook(index, scorer.direction, among), False


def rank(
    look: Look,
    wanted: int,
    *,
    scorer: Scorer,
    index: VectorIndex,
    rules: Rules,
    positions: NDArray[np.float64],
) -> Ranked:
    """The best `wanted` sources that the rules let in.

    How many the rules take is not known before: look twice as far until there are
    enough or there is no more.

    Parameters
    ----------
    look
        Where they come from.
    wanted
        At most so many.
    scorer, index
        For the similarities.
    rules
        What may be in it.
    positions
        Shape (N, 3), unit vectors, of all sources.
    """
    depth = wanted + len(rules.excluded) + 16
    while True:
        scores, rows = look(depth)
        whole = len(rows) < depth or depth >= len(index)
        similarities = _similarities(scores, rows, scorer, index)
        keep = ~np.isin(rows, list(rules.excluded))
        if rules.min_similarity is not None:
            keep &= similarities >= rules.min_similarity
            # Ranked by similarity, all that come later are less similar still.
            descending = scorer.direction is not None and not scorer.named
            if descending and len(rows) and similarities[-1] < rules.min_similarity:
                whole = True
        if rules.duplicate_radius_arcsec is not None:
            keep &= first_of_each_object(
                positions, rows, keep, rules.excluded, rules.duplicate_radius_arcsec
            )
        if keep.sum() >= wanted or whole:
            kept = np.flatnonzero(keep)[:wanted]
            return Ranked(rows[kept], similarities[kept], scores[kept])
        depth *= 2


def first_of_each_object(
    positions: NDArray[np.float64],
    rows: Rows,
    keep: NDArray[np.bool_],
    excluded: Collection[int],
    radius_arcsec: float,
) -> NDArray[np.bool_]:
    """Which rows are farther than a radius from every better kept one.

    Excluded sources, the query among them, count as better: what lies on the query's
    place in the sky is the query again.
    """
    taken = np.array(sorted(excluded), dtype=np.int64)
    kept = np.flatnonzero(keep)
    tree = cKDTree(positions[np.concatenate([taken, rows[kept]])])
    # Chords are exact for the smallest angles, where cosines are not.
    pairs = tree.query_pairs(chord_of(radius_arcsec), output_type="ndarray")
    stays = np.ones(len(taken) + len(kept), dtype=bool)
    # In the order of the better one, whose own fate is known by then.
    for better, worse in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if stays[better] and worse >= len(taken):
            stays[worse] = False
    first = np.zeros(len(rows), dtype=bool)
    first[kept[stays[len(taken) :]]] = True
    return first


def _similarities(
    scores: Vectors, rows: Rows, scorer: Scorer, index: VectorIndex
) -> Vectors:
    if scorer.direction is not None and not scorer.named:
        return scores
    parts = [
        scorer.similarities(index.vectors(rows[start : start + BLOCK_ROWS]))
        for start in range(0, len(rows), BLOCK_ROWS)
    ]
    return np.concatenate([np.empty(0, np.float32), *parts], dtype=np.float32)
