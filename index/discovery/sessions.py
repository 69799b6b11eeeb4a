"""Sessions of discovery in SQL."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from twinjet.index.discovery.rows import (
    added_mark,
    apply,
    check_limit,
    count_of,
    held_marks,
    leave_out,
    left_out,
    locked,
    mark_of,
    plain,
    round_of,
    session_of,
    taken,
    touch,
    unknown,
)
from twinjet.index.discovery.session import (
    MAX_MARKS,
    MAX_SESSIONS,
    Change,
    DiscoverySession,
    Mark,
    Round,
)
from twinjet.index.errors import (
    SessionConflictError,
)
from twinjet.index.schema import (
    DiscoveryMarkRow,
    DiscoveryRoundRow,
    DiscoverySessionRow,
)


class SessionStore:
    """Sessions, their marks and their rounds.

    Every change locks its session, so that changes of one session come one after the
    other and none is lost.

    Parameters
    ----------
    engine
        From `twinjet.index.database.create_engine`, migrated.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(twinjet_write=True)
        # All of a transaction at one moment, as SQLite has it anyway.
        self._reader = (
            engine.execution_options(isolation_level="REPEATABLE READ")
            if engine.dialect.name == "postgresql"
            else engine
        )

    def create(
        self,
        name: str,
        *,
        notes: str,
        exclude: Sequence[str],
        changes: Sequence[Change],
    ) -> DiscoverySession:
        """Begin a session with its examples, all or nothing.

        Raises
        ------
        SessionConflictError
            There is one of this name.
        UnknownListError
            A list is not there.
        SessionLimitError
            There are too many sessions or examples.
        """
        session_id, now = uuid.uuid4().hex, datetime.now(UTC)
        try:
            with Session(self._writer) as sql, sql.begin():
                count = sql.scalar(
                    sa.select(sa.func.count()).select_from(DiscoverySessionRow)
                )
                check_limit(count or 0, MAX_SESSIONS - 1, "sessions; delete some")
                row = DiscoverySessionRow(
                    session_id=session_id,
                    name=name,
                    notes=notes,
                    version=1,
                    created_at=now,
                    updated_at=now,
                )
                sql.add(row)
                sql.flush()
                leave_out(sql, session_id, exclude)
                apply(sql, session_id, changes, now)
                return session_of(row, exclude)
        except IntegrityError as exc:
            raise taken(name) from exc

    def get(self, session_id: str) -> DiscoverySession:
        """One session.

        Raises
        ------
        UnknownSessionError
            There is none of this ID.
        """
        with Session(self._engine) as sql:
            row = sql.get(DiscoverySessionRow, plain(session_id))
            if row is None:
                raise unknown(session_id)
            return session_of(row, left_out(sql, session_id))

    def named(self, name: str) -> DiscoverySession:
        """The session of a name or an ID.

        Raises
        ------
        UnknownSessionError
            There is none.
        """
        of_name = sa.select(DiscoverySessionRow.session_id).where(
            DiscoverySessionRow.name == plain(name).strip()
        )
        with Session(self._engine) as sql:
            found = sql.scalar(of_name)
        return self.get(found or name)

    def sessions(self, *, limit: int, offset: int = 0) -> list[DiscoverySession]:
        """Some of them, the one that changed last first."""
        query = (
            sa.select(DiscoverySessionRow)
            .order_by(
                DiscoverySessionRow.updated_at.desc(), DiscoverySessionRow.session_id
            )
            .limit(limit)
            .offset(offset)
        )
        with Session(self._engine) as sql:
            return [
                session_of(row, left_out(sql, row.session_id))
                for row in sql.scalars(query)
            ]

    def update(
        self,
        session_id: str,
        *,
        version: int,
        name: str | None = None,
        notes: str | None = None,
        exclude: Sequence[str] | None = None,
    ) -> DiscoverySession:
        """Change name, notes or lists; None leaves them as they are.

        Raises
        ------
        UnknownSessionError, UnknownListError
            The session or a list is not there.
        SessionConflictError
            The session is no longer of this version, or another has the name.
        """
        try:
            with Session(self._writer) as sql, sql.begin():
                row = locked(sql, session_id)
                if row.version != version:
                    msg = f"the session is at version {row.version}, not {version}: "
                    msg += "somebody else has changed it; look at it and try again"
                    raise SessionConflictError(
                        msg, parameter="version", limit=row.version, actual=version
                    )
                row.name = row.name if name is None else name
                row.notes = row.notes if notes is None else notes
                if exclude is not None:
                    leave_out(sql, session_id, exclude)
                touch(row)
                sql.flush()
                return session_of(row, left_out(sql, session_id))
        except IntegrityError as exc:
            raise taken(name or "") from exc

    def delete(self, session_id: str) -> None:
        """Forget a session with all that it holds.

        Raises
        ------
        UnknownSessionError
            There is none of this ID.
        """
        with Session(self._writer) as sql, sql.begin():
            sql.delete(locked(sql, session_id))

    def label(self, session_id: str, changes: Sequence[Change]) -> list[Mark]:
        """Give, change or withdraw labels: all of them, or none.

        A change that was made already is no conflict, so that it may be sent again.

        Parameters
        ----------
        session_id
            Of the session.
        changes
            Of different sources.

        Returns
        -------
        list
            The marks of these sources now, in the order of the changes; a label that
            was not there and is withdrawn leaves none.

        Raises
        ------
        UnknownSessionError
            There is none of this ID.
        SessionConflictError
            A source was labelled by somebody else since the version that was seen.
        SessionLimitError
            There would be too many labels.
        """
        with Session(self._writer) as sql, sql.begin():
            row = locked(sql, session_id)
            marks, any_changed = apply(sql, session_id, changes, datetime.now(UTC))
            if any_changed:
                touch(row)
            return [mark_of(mark) for mark in marks]

    def with_marks(self, session_id: str) -> tuple[DiscoverySession, list[Mark]]:
        """A session and all that it knows at one moment, in the order of IDs.

        Raises
        ------
        UnknownSessionError
            There is none of this ID.
        """
        query = sa.select(DiscoveryMarkRow).where(
            DiscoveryMarkRow.session_id == session_id
        )
        with Session(self._reader) as sql:
            row = sql.get(DiscoverySessionRow, plain(session_id))
            if row is None:
                raise unknown(session_id)
            session = session_of(row, left_out(sql, session_id))
            found = [mark_of(row) for row in sql.scalars(query)]
        # Here and not in SQL, whose order of text is that of the database's language.
        return session, sorted(found, key=lambda mark: mark.source_id)

    def rounds(self, session_id: str) -> list[Round]:
        """All rounds, the first one first."""
        query = (
            sa.select(DiscoveryRoundRow)
            .where(DiscoveryRoundRow.session_id == session_id)
            .order_by(DiscoveryRoundRow.number)
        )
        with Session(self._engine) as sql:
            return [round_of(row) for row in sql.scalars(query)]

    def add_round(
        self, session_id: str, version: int, made: Round, marks: Sequence[Mark]
    ) -> bool:
        """Keep a round, if the session is still of the version that it was made from.

        Raises
        ------
        UnknownSessionError
            There is none of this ID.
        SessionLimitError
            There would be too many marks.
        """
        with Session(self._writer) as sql, sql.begin():
            row = locked(sql, session_id)
            if row.version != version:
                return False
            held = held_marks(sql, session_id, [mark.source_id for mark in marks])
            count = sql.scalar(count_of(session_id)) or 0
            check_limit(
                count + len(marks) - len(held), MAX_MARKS, "sources in a session"
            )
            sql.add(
                DiscoveryRoundRow(
                    session_id=session_id,
                    **{name: getattr(made, name) for name in Round.__annotations__},
                )
            )
            for mark in marks:
                known = held.get(mark.source_id)
                if known is None:
                    known = added_mark(sql, session_id, mark, made.created_at)
                known.round, known.place = made.number, mark.place
                known.strategy = mark.strategy
                known.score, known.similarity = mark.score, mark.similarity
            touch(row)
            return True
