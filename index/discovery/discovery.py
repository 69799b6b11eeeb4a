"""Where sessions are kept, and the generation that they look for candidates in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twinjet.index.discovery.known import ListStore
from twinjet.index.discovery.session import Mark
from twinjet.index.discovery.sessions import SessionStore
from twinjet.index.discovery.standing import Standing, standing_of
from twinjet.index.errors import InvalidQueryError, UnknownExamplesError
from twinjet.index.generation import OpenGeneration
from twinjet.index.source import Source
from twinjet.index.store import SourceStore


@dataclass(frozen=True)
class Discovery:
    """Sessions in one generation; sources are known by ID, the vectors are its own."""

    generation: OpenGeneration
    store: SourceStore
    """Metadata of this generation, among others."""
    radius_arcsec: float
    """Sources closer than this are one object."""

    @property
    def sessions(self) -> SessionStore:
        """What is kept of sessions."""
        return SessionStore(self.store.engine)

    @property
    def lists(self) -> ListStore:
        """Lists of known sources."""
        return ListStore(self.store.engine)

    @property
    def number(self) -> int:
        """Of the generation."""
        return self.generation.manifest.number

    def standing(self, session_id: str) -> Standing:
        """A session, and which of its sources this generation has.

        Raises
        ------
        UnknownSessionError
            There is none of this ID.
        """
        session, marks = self.sessions.with_marks(session_id)
        return standing_of(session, marks, self.generation, self.store)

    def rows_named(self, names: Sequence[str], parameter: str) -> dict[str, int]:
        """Rows of IDs in any spelling.

        Raises
        ------
        UnknownExamplesError
            Some are not there.
        """
        rows = self.store.rows_named(self.number, names)
        unknown = [name for name in names if name not in rows]
        if unknown:
            raise UnknownExamplesError(unknown, parameter=parameter)
        return rows

    def sources_of(
        self, standing: Standing, marks: Iterable[Mark]
    ) -> dict[str, Source]:
        """Sources of those marks that are in this generation, by ID."""
        names = [mark.source_id for mark in marks]
        rows = [standing.rows[name] for name in names if name in standing.rows]
        found = self.store.sources_by_row(self.number, rows)
        return {source.source_id: source for source in found}


def check_within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is out of bounds.

    Raises
    ------
    InvalidQueryError
        It is, or it is NaN.
    """
    if not low <= value <= high:  # also when it is NaN
        msg = f"{name} must be {low} to {high}; it was {value}"
        raise InvalidQueryError(
            msg, parameter=name, limit=f"{low} to {high}", actual=str(value)
        )
