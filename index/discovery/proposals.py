"""Which candidates a round proposes: the best so far, and the least certain ones."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from twinjet.index.discovery.ranker import background_rows, fit_ranker, uncertainty
from twinjet.index.generation import OpenGeneration
from twinjet.index.ranking import Ranked, Rules, Scan, rank
from twinjet.index.scorers import Scorer
from twinjet.index.sky import chord_of
from twinjet.index.vectors.port import Rows

Strategy = Literal["exploit", "explore"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

# Positions that are compared at a time.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Proposal:
    """A candidate and why it is one."""

    row: int
    strategy: Strategy
    """``exploit``: among the best. ``explore``: near the boundary."""
    score: float
    """Distance from the boundary, positive on the side of the likes."""
    similarity: float
    """Cosine to the nearest like."""


@dataclass(frozen=True)
class Labelled:
    """What is known of the sources of a generation.

    Attributes
    ----------
    likes, dislikes
        Ascending rows; no row is in both.
    unlabelled
        Shape (N,): neither labelled nor known, nor at the place of one that is.
    """

    likes: Rows
    dislikes: Rows
    unlabelled: NDArray[np.bool_]


def ranker_of(generation: OpenGeneration, labelled: Labelled) -> Scorer:
    """Fit the ranker to the labels, in the vectors of a generation.

    The same labels in the same generation give the same ranker, in whatever order
    they were given.
    """
    index = generation.index
    rows = background_rows(len(index), labelled.unlabelled)
    return fit_ranker(
        index.vectors(labelled.likes),
        index.vectors(labelled.dislikes),
        index.vectors(rows),
    )


def propose(
    generation: OpenGeneration,
    scorer: Scorer,
    candidates: Rows,
    *,
    count: int,
    explore: float,
    radius_arcsec: float,
) -> list[Proposal]:
    """Candidates of one round, each object once.

    Parameters
    ----------
    generation, scorer
        What is ranked, and by what.
    candidates
        Ascending rows.
    count
        Wanted; fewer when there are no more.
    explore
        0 to 1: which part of them is chosen for being uncertain.
    radius_arcsec
        Sources closer than this are one object.

    Returns
    -------
    list
        The best first, then the uncertain, the least certain first.
    """
    uncertain = round(count * explore)
    best = ranked(generation, scorer, candidates, count - uncertain, radius_arcsec)
    chosen = _proposals(best, best.scores, "exploit")
    if uncertain:
        left = candidates[
            ~near(generation.positions, best.rows, radius_arcsec)[candidates]
        ]
        least = ranked(generation, uncertainty(scorer), left, uncertain, radius_arcsec)
        scores = scorer.settled(generation.index.vectors(least.rows))
        chosen += _proposals(least, scores, "explore")
    return chosen


def ranked(
    generation: OpenGeneration,
    scorer: Scorer,
    candidates: Rows,
    count: int,
    radius_arcsec: float,
) -> Ranked:
    """The best of some rows, each object once; every vector is scored."""
    return rank(
        Scan(generation.index, scorer, candidates),
        count,
        scorer=scorer,
        index=generation.index,
        rules=Rules(duplicate_radius_arcsec=radius_arcsec),
        positions=generation.positions,
    )


def near(
    positions: NDArray[np.float64], rows: Rows, radius_arcsec: float
) -> NDArray[np.bool_]:
    """Which sources are some rows, or are within a radius of one; shape (N,)."""
    found = near_places(positions, np.asarray(positions[rows]), radius_arcsec)
    found[rows] = True
    return found


def near_places(
    positions: NDArray[np.float64],
    places: NDArray[np.float64],
    radius_arcsec: float,
) -> NDArray[np.bool_]:
    """Which sources are within a radius of a place.

    Parameters
    ----------
    positions, places
        Shapes (N, 3) and (m, 3): ICRS unit vectors.
    radius_arcsec
        Included.

    Returns
    -------
    ndarray
        Shape (N,).

    Examples
    --------
    >>> from twinjet.index.sky import unit_vectors
    >>> near_places(unit_vectors([359.999, 1], [0, 0]), unit_vectors(0, 0), 5).tolist()
    [True, False]
    """
    found = np.zeros(len(positions), np.bool_)
    if len(places) == 0:
        return found
    tree = cKDTree(places)
    # Rounding of the vectors, 1e-16, is 0.00003 arcsec.
    bound = chord_of(radius_arcsec) + 1e-15
    for start in range(0, len(positions), _BLOCK):
        part = slice(start, start + _BLOCK)
        gaps, _ = tree.query(positions[part], distance_upper_bound=2 * bound)
        found[part] = gaps <= bound
    return found


def _proposals(
    found: Ranked, scores: NDArray[np.float32], strategy: Strategy
) -> list[Proposal]:
    columns = zip(
        found.rows.tolist(), scores.tolist(), found.similarities.tolist(), strict=True
    )
    return [Proposal(row, strategy, score, alike) for row, score, alike in columns]
