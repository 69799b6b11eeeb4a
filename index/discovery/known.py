"""Named lists of known sources: what a search is not to find again, or starts from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from twinjet.index.errors import (
    InvalidQueryError,
    SessionConflictError,
    SessionLimitError,
    UnknownListError,
)
from twinjet.index.names import source_key
from twinjet.index.schema import (
    DiscoveryExclusionRow,
    SourceListEntryRow,
    SourceListRow,
    SourceRow,
)
from twinjet.index.sky import unit_vectors
from twinjet.index.source_tables import Entry
from twinjet.index.vectors.port import Rows

MAX_LISTS = 1000
MAX_RADIUS_ARCSEC = 3600.0

# What a path of HTTP and a shell take without quoting.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"

_BLOCK = 1000


@dataclass(frozen=True)
class KnownList:
    """A named list."""

    name: str
    radius_arcsec: float
    """Sources within this of a position of the list are on it."""
    entries: int
    digest: str
    """SHA-256 of its entries and its radius."""
    updated_at: datetime


class ListStore:
    """Lists in SQL.

    Parameters
    ----------
    engine
        From `twinjet.index.database.create_engine`, migrated.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(twinjet_write=True)

    def put(
        self, name: str, entries: Sequence[Entry], *, radius_arcsec: float
    ) -> KnownList:
        """Keep a list; one of the same name is replaced as a whole.

        Raises
        ------
        InvalidQueryError
            The name or the radius cannot be one.
        SessionLimitError
            There are too many lists.
        """
        if not re.fullmatch(_NAME, name):
            msg = "a list is named by 1 to 100 letters, digits and . _ -, a letter or "
            msg += f"digit first; not {name[:120]!r}"
            raise InvalidQueryError(msg, parameter="name", actual=name[:120])
        if not 0 <= radius_arcsec <= MAX_RADIUS_ARCSEC:
            msg = f"radius_arcsec must be 0 to {MAX_RADIUS_ARCSEC:g} arcsec; it was "
            msg += f"{radius_arcsec}"
            raise InvalidQueryError(
                msg,
                parameter="radius_arcsec",
                limit=MAX_RADIUS_ARCSEC,
                actual=str(radius_arcsec),
            )
        with Session(self._writer) as sql, sql.begin():
            row = sql.scalars(
                sa.select(SourceListRow)
                .where(SourceListRow.name == name)
                .with_for_update()
            ).first()
            if row is None:
                count = sql.scalar(
                    sa.select(sa.func.count()).select_from(SourceListRow)
                )
                if (count or 0) >= MAX_LISTS:
                    msg = f"there are {MAX_LISTS} lists already; delete some"
                    raise SessionLimitError(msg, limit=MAX_LISTS, actual=MAX_LISTS + 1)
                row = SourceListRow(name=name)
                sql.add(row)
            row.radius_arcsec, row.entries = radius_arcsec, len(entries)
            row.digest = _digest(entries, radius_arcsec)
            row.updated_at = datetime.now(UTC)
            sql.flush()
            sql.execute(
                sa.delete(SourceListEntryRow).where(
                    SourceListEntryRow.list_name == name
                )
            )
            for start in range(0, len(entries), _BLOCK):
                block = enumerate(entries[start : start + _BLOCK], start)
                sql.execute(
                    sa.insert(SourceListEntryRow),
                    [_row(name, number, entry) for number, entry in block],
                )
            return _list(row)

    def get(self, name: str) -> KnownList:
        """One list.

        Raises
        ------
        UnknownListError
            There is none of this name.
        """
        with Session(self._engine) as sql:
            row = sql.get(SourceListRow, name.replace("\0", "?"))
            if row is None:
                raise _unknown(name)
            return _list(row)

    def lists(self) -> list[KnownList]:
        """All lists by name."""
        with Session(self._engine) as sql:
            found = [_list(row) for row in sql.scalars(sa.select(SourceListRow))]
        return sorted(found, key=lambda one: one.name)

    def delete(self, name: str) -> None:
        """Forget a list.

        Raises
        ------
        UnknownListError
            There is none of this name.
        SessionConflictError
            Sessions leave its sources out.
        """
        with Session(self._writer) as sql, sql.begin():
            row = sql.scalars(
                sa.select(SourceListRow)
                .where(SourceListRow.name == name.replace("\0", "?"))
                .with_for_update()
            ).first()
            if row is None:
                raise _unknown(name)
            users = sql.scalar(
                sa.select(sa.func.count())
                .select_from(DiscoveryExclusionRow)
                .where(DiscoveryExclusionRow.list_name == name)
            )
            if users:
                msg = f"{users} sessions leave out the sources of {name!r}; it stays"
                raise SessionConflictError(msg, parameter="name", actual=users)
            sql.delete(row)

    def rows_of(self, name: str, generation: int) -> Rows:
        """Rows of a generation that a list names, in any spelling; ascending."""
        query = (
            sa.select(SourceRow.row)
            .join(
                SourceListEntryRow,
                SourceListEntryRow.source_key == SourceRow.source_key,
            )
            .where(
                SourceRow.generation == generation,
                SourceListEntryRow.list_name == name,
            )
        )
        with self._engine.connect() as connection:
            rows = np.array(connection.scalars(query).all(), dtype=np.int64)
        return np.unique(rows)

    def places_of(self, name: str) -> NDArray[np.float64]:
        """Positions of a list as unit vectors, shape (m, 3)."""
        query = sa.select(SourceListEntryRow.ra, SourceListEntryRow.dec).where(
            SourceListEntryRow.list_name == name, SourceListEntryRow.ra.is_not(None)
        )
        with self._engine.connect() as connection:
            found = np.array(
                [tuple(row) for row in connection.execute(query)], dtype=np.float64
            ).reshape(-1, 2)
        return unit_vectors(found[:, 0], found[:, 1])


def _row(name: str, number: int, entry: Entry) -> dict[str, Any]:
    key = None if entry.source_id is None else source_key(entry.source_id)
    return {
        "list_name": name,
        "number": number,
        "source_id": entry.source_id,
        "source_key": key,
        "ra": entry.ra,
        "dec": entry.dec,
    }


def _digest(entries: Sequence[Entry], radius_arcsec: float) -> str:
    whole = sha256(repr(radius_arcsec).encode())
    for entry in entries:
        line = f"\n{entry.source_id}\t{entry.ra}\t{entry.dec}"
        whole.update(line.encode("utf-8", "surrogatepass"))
    return whole.hexdigest()


def _unknown(name: str) -> UnknownListError:
    msg = f"no list {name[:100]!r} of known sources; `GET /lists` has all"
    return UnknownListError(msg, parameter="name", actual=name[:100])


def _list(row: SourceListRow) -> KnownList:
    moment = row.updated_at
    return KnownList(
        name=row.name,
        radius_arcsec=row.radius_arcsec,
        entries=row.entries,
        digest=row.digest,
        updated_at=moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment,
    )
