"""A session as it stands in a generation: which rows are liked, known, seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinjet.index.discovery.known import ListStore
from twinjet.index.discovery.proposals import Labelled, near, near_places
from twinjet.index.discovery.session import POSITIVE, DiscoverySession, Mark
from twinjet.index.errors import NoExamplesError
from twinjet.index.generation import OpenGeneration
from twinjet.index.sky import unit_vectors
from twinjet.index.store import SourceStore
from twinjet.index.vectors.port import Rows


@dataclass(frozen=True)
class Standing:
    """A session in a generation.

    Attributes
    ----------
    session, marks
        What it knows, marks in the order of IDs.
    rows
        Row of each marked source that the generation has.
    """

    session: DiscoverySession
    marks: list[Mark]
    rows: dict[str, int]

    @property
    def vanished(self) -> list[Mark]:
        """Labelled sources that the generation does not have."""
        return [m for m in self.marks if m.label and m.source_id not in self.rows]

    def rows_of(self, marks: Sequence[Mark]) -> Rows:
        """Rows of those marks that are in the generation, ascending."""
        found = [self.rows[m.source_id] for m in marks if m.source_id in self.rows]
        return np.array(sorted(found), np.int64)


def standing_of(
    session: DiscoverySession,
    marks: list[Mark],
    generation: OpenGeneration,
    store: SourceStore,
) -> Standing:
    """Look a session's sources up in a generation."""
    names = [mark.source_id for mark in marks]
    rows = store.rows_of(generation.manifest.number, names)
    return Standing(session, marks, rows)


def labelled_of(
    standing: Standing,
    generation: OpenGeneration,
    lists: ListStore,
    *,
    radius_arcsec: float,
) -> Labelled:
    """What is liked and disliked, and what nobody has said anything about.

    A labelled source takes its place in the sky, that of today and that of the day
    when it was labelled, though it has vanished.

    Raises
    ------
    NoExamplesError
        Nothing that is liked is in the generation.
    """
    marks = [mark for mark in standing.marks if mark.label]
    likes = standing.rows_of([m for m in marks if m.label in POSITIVE])
    dislikes = standing.rows_of([m for m in marks if m.label not in POSITIVE])
    if len(likes) == 0:
        wanted = sum(mark.label in POSITIVE for mark in marks)
        msg = (
            f"none of the {wanted} examples and likes is in generation "
            f"{generation.manifest.number}: label some that are"
        )
        raise NoExamplesError(msg, parameter="examples", limit=1, actual=0)
    taken = _taken(standing, marks, generation, radius_arcsec)
    for name in standing.session.exclude:
        listed = rows_listed(name, generation, lists)
        taken |= near(generation.positions, listed, radius_arcsec)
    return Labelled(likes, dislikes, ~taken)


def seen_of(
    standing: Standing, generation: OpenGeneration, *, radius_arcsec: float
) -> NDArray[np.bool_]:
    """What has been proposed, and what is at the place of such a source; shape (N,)."""
    marks = [mark for mark in standing.marks if mark.round is not None]
    return _taken(standing, marks, generation, radius_arcsec)


def rows_listed(name: str, generation: OpenGeneration, lists: ListStore) -> Rows:
    """Rows that a list names, or that are within its radius of a place of it."""
    known = lists.get(name)
    listed = near_places(
        generation.positions, lists.places_of(name), known.radius_arcsec
    )
    listed[lists.rows_of(name, generation.manifest.number)] = True
    return np.flatnonzero(listed)


def _taken(
    standing: Standing,
    marks: Sequence[Mark],
    generation: OpenGeneration,
    radius_arcsec: float,
) -> NDArray[np.bool_]:
    positions = generation.positions
    places = unit_vectors([m.ra for m in marks], [m.dec for m in marks])
    taken = near(positions, standing.rows_of(marks), radius_arcsec)
    return taken | near_places(positions, places, radius_arcsec)
