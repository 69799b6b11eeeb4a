"""Hunts: from some examples, with an expert who labels ten candidates a round."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinjet.index.database import create_engine, upgrade
from twinjet.index.discovery.proposals import Labelled, near, propose, ranked
from twinjet.index.discovery.ranker import background_rows, fit_ranker
from twinjet.index.discovery.rounds import DEFAULT_COUNT
from twinjet.index.generation import OpenGeneration, open_generation
from twinjet.index.home import Home
from twinjet.index.scorers import Scorer, mean_of, nearest_to
from twinjet.index.store import SourceStore

ROUNDS = 3
DEPTHS = (10, 50, 100)
RADIUS_ARCSEC = 10.0

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Scoring = Callable[[Labelled, Rows, int], Scorer]
"""Of the labels, the examples of the split and its number: what ranks."""


@dataclass(frozen=True)
class Galaxies:
    """An index of MiraBest, row by row; positions in ICRS degrees."""

    generation: OpenGeneration
    fr_class: NDArray[np.str_]
    morphology: NDArray[np.str_]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]


@dataclass(frozen=True)
class Hunt:
    """What is sought, among what, from what.

    Attributes
    ----------
    generation
        Its vectors and positions.
    sought
        Shape (N,): of the kind.
    allowed
        Shape (N,): may be a candidate.
    known
        Rows that examples are drawn from.
    """

    generation: OpenGeneration
    sought: Mask
    allowed: Mask
    known: Rows


def hunted(
    hunt: Hunt, scoring: Scoring | None, explore: float, *, examples: int, splits: int
) -> dict[str, NDArray[np.float64]]:
    """Hunts from different examples.

    Returns
    -------
    dict
        ``list``: of the confirmed and then the best of the rest; ``looks``: of the
        candidates looked at and then the best of the rest. Each of shape (members,
        rounds, depths): in what part of the splits where it was held out a member was
        among the first so many; NaN for one that never was.
    """
    members = np.flatnonzero(hunt.sought & hunt.allowed)
    shape = len(members), ROUNDS + 1, len(DEPTHS)
    found = {measure: np.zeros(shape) for measure in ("list", "looks")}
    times = np.zeros(len(members))
    for number in range(splits):
        rng = np.random.default_rng(number)
        known = np.sort(rng.choice(hunt.known, examples, replace=False))
        held_out = ~np.isin(members, known)
        times += held_out
        for after, lists in enumerate(one_hunt(hunt, scoring, explore, known, number)):
            for measure, rows in lists.items():
                for place, depth in enumerate(DEPTHS):
                    hit = np.isin(members, rows[:depth]) & held_out
                    found[measure][:, after, place] += hit
    with np.errstate(invalid="ignore"):
        return {name: one / times[:, None, None] for name, one in found.items()}


def one_hunt(
    hunt: Hunt, scoring: Scoring | None, explore: float, known: Rows, number: int
) -> list[dict[str, Rows]]:
    """The lists after each round of labels, from none on."""
    generation = hunt.generation
    likes: list[int] = known.tolist()
    dislikes: list[int] = []
    looked = np.empty(0, np.int64)
    rng = np.random.default_rng([1, number])
    lists = []
    for _ in range(ROUNDS + 1):
        taken = np.array([*likes, *dislikes], np.int64)
        free = ~near(generation.positions, taken, RADIUS_ARCSEC)
        labelled = Labelled(
            np.sort(np.array(likes, np.int64)),
            np.sort(np.array(dislikes, np.int64)),
            free & hunt.allowed,
        )
        candidates = np.flatnonzero(labelled.unlabelled)
        if scoring is None:
            best = rng.permutation(candidates)[: max(DEPTHS)]
            rows = best[:DEFAULT_COUNT]
        else:
            scorer = scoring(labelled, known, number)
            depth = max(DEPTHS)
            best = ranked(generation, scorer, candidates, depth, RADIUS_ARCSEC).rows
            proposals = propose(
                generation,
                scorer,
                candidates,
                count=DEFAULT_COUNT,
                explore=explore,
                radius_arcsec=RADIUS_ARCSEC,
            )
            rows = np.array([one.row for one in proposals], np.int64)
        confirmed = np.array([row for row in likes if row not in known], np.int64)
        lists.append(
            {
                "list": np.concatenate([confirmed, best]),
                "looks": np.concatenate([looked, best]),
            }
        )
        looked = np.concatenate([looked, rows])
        likes += rows[hunt.sought[rows]].tolist()
        dislikes += rows[~hunt.sought[rows]].tolist()
    return lists


def learned(generation: OpenGeneration, weight: float, share: float) -> Scoring:
    """The ranker of a session with other numbers; share 0 is without a background."""
    vectors = generation.index.vectors

    def scoring(labelled: Labelled, _: Rows, __: int) -> Scorer:
        return fit_ranker(
            vectors(labelled.likes),
            vectors(labelled.dislikes),
            vectors(background_rows(len(generation.index), labelled.unlabelled)),
            loss_weight=weight,
            background_share=share,
        )

    return scoring


def likes_minus_dislikes(generation: OpenGeneration) -> Scoring:
    """What `POST /similar` does by default."""
    vectors = generation.index.vectors
    return lambda labelled, _, __: mean_of(
        vectors(labelled.likes), vectors(labelled.dislikes)
    )


def mean_of_examples(generation: OpenGeneration) -> Scoring:
    """Nothing is learned: what was looked at only leaves the list."""
    vectors = generation.index.vectors
    none = np.empty(0, np.int64)
    return lambda _, known, __: mean_of(vectors(known), vectors(none))


def one_example(generation: OpenGeneration) -> Scoring:
    """The neighbours of one of the examples."""
    return lambda _, known, number: nearest_to(
        generation.index.vectors(known[number % len(known)][None])[0]
    )


def galaxies_of(home: Path) -> Galaxies:
    """The index of a home, as `twinjet index` published it."""
    files = Home(home)
    engine = create_engine(files.database_url)
    upgrade(engine)
    store = SourceStore(engine)
    try:
        current = store.current()
        if current is None:
            msg = f"nothing is indexed in {home}"
            raise SystemExit(msg)
        sources = store.sources_by_row(current.number, range(current.source_count))
    finally:
        store.close()
    return Galaxies(
        generation=open_generation(files.generation(current.folder)),
        fr_class=np.array([str(s.columns["fr_class"]) for s in sources]),
        morphology=np.array([str(s.columns["morphology"]) for s in sources]),
        ra=np.array([s.ra for s in sources]),
        dec=np.array([s.dec for s in sources]),
    )
