"""Rows of sessions, within a transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from twinjet.index.discovery.proposals import Strategy
from twinjet.index.discovery.session import (
    LABELS,
    MAX_LABELS,
    MAX_MARKS,
    Change,
    DiscoverySession,
    Label,
    Mark,
    Round,
)
from twinjet.index.errors import (
    SessionConflictError,
    SessionLimitError,
    UnknownListError,
    UnknownSessionError,
)
from twinjet.index.schema import (
    DiscoveryExclusionRow,
    DiscoveryMarkRow,
    DiscoveryRoundRow,
    DiscoverySessionRow,
    SourceListRow,
)

# Parameters of one statement; SQLite takes 32,766.
_BLOCK = 1000


def apply(
    sql: Session, session_id: str, changes: Sequence[Change], now: datetime
) -> tuple[list[DiscoveryMarkRow], bool]:
    """Make changes of labels; returns the marks, and whether anything changed."""
    held = held_marks(sql, session_id, [change.source_id for change in changes])
    marks, any_changed = [], False
    for change in changes:
        mark = held.get(change.source_id)
        if mark is None and change.label is None and not change.note:
            continue
        if mark is None:
            mark = added_mark(sql, session_id, change, now)
        marks.append(mark)
        note = mark.note if change.note is None else change.note
        if (mark.label, mark.note) == (change.label, note):
            continue
        if mark.version != change.version:
            raise _labelled_meanwhile(mark, change)
        mark.label, mark.note, mark.updated_at = change.label, note, now
        mark.version += 1
        any_changed = True
    sql.flush()
    count = count_of(session_id)
    labelled = sql.scalar(count.where(DiscoveryMarkRow.label.is_not(None))) or 0
    check_limit(labelled, MAX_LABELS, "labels in a session")
    check_limit(sql.scalar(count) or 0, MAX_MARKS, "sources in a session")
    return marks, any_changed


def added_mark(
    sql: Session, session_id: str, source: Change | Mark, now: datetime
) -> DiscoveryMarkRow:
    """A new mark of a source, without a label."""
    mark = DiscoveryMarkRow(
        session_id=session_id,
        source_id=source.source_id,
        ra=source.ra,
        dec=source.dec,
        label=None,
        note="",
        version=0,
        updated_at=now,
    )
    sql.add(mark)
    return mark


def held_marks(
    sql: Session, session_id: str, source_ids: Sequence[str]
) -> dict[str, DiscoveryMarkRow]:
    """Marks of sources by their IDs."""
    found: dict[str, DiscoveryMarkRow] = {}
    for start in range(0, len(source_ids), _BLOCK):
        query = sa.select(DiscoveryMarkRow).where(
            DiscoveryMarkRow.session_id == session_id,
            DiscoveryMarkRow.source_id.in_(source_ids[start : start + _BLOCK]),
        )
        found |= {row.source_id: row for row in sql.scalars(query)}
    return found


def locked(sql: Session, session_id: str) -> DiscoverySessionRow:
    """A session that nobody else changes before the transaction ends."""
    query = sa.select(DiscoverySessionRow).where(
        DiscoverySessionRow.session_id == plain(session_id)
    )
    row = sql.scalars(query.with_for_update()).first()
    if row is None:
        raise unknown(session_id)
    return row


def leave_out(sql: Session, session_id: str, names: Sequence[str]) -> None:
    """Leave out the sources of these lists, and of no others."""
    names = [plain(name) for name in names]
    query = sa.select(SourceListRow.name).where(SourceListRow.name.in_(names))
    # Until the end nobody takes away a list that is being used.
    there = set(sql.scalars(query.with_for_update()))
    for name in names:
        if name not in there:
            msg = f"no list {name[:100]!r} of known sources; `GET /lists` has all"
            raise UnknownListError(msg, parameter="exclude", actual=name[:100])
    sql.execute(
        sa.delete(DiscoveryExclusionRow).where(
            DiscoveryExclusionRow.session_id == session_id
        )
    )
    sql.add_all(
        DiscoveryExclusionRow(session_id=session_id, list_name=name)
        for name in sorted(set(names))
    )


def left_out(sql: Session, session_id: str) -> list[str]:
    """Names of the lists that a session leaves out."""
    query = sa.select(DiscoveryExclusionRow.list_name)
    return list(
        sql.scalars(query.where(DiscoveryExclusionRow.session_id == session_id))
    )


def touch(row: DiscoverySessionRow) -> None:
    """Count a change."""
    row.version += 1
    row.updated_at = datetime.now(UTC)


def count_of(session_id: str) -> sa.Select[int]:
    """How many marks a session has."""
    query = sa.select(sa.func.count()).select_from(DiscoveryMarkRow)
    return query.where(DiscoveryMarkRow.session_id == session_id)


def plain(text: str) -> str:
    """Without what is no part of a name and PostgreSQL refuses."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def check_limit(count: int, limit: int, what: str) -> None:
    """Refuse more than is kept."""
    if count > limit:
        msg = f"at most {limit} {what}; it would be {count}"
        raise SessionLimitError(msg, limit=limit, actual=count)


def unknown(session_id: str) -> UnknownSessionError:
    """No session of an ID."""
    shown = session_id[:100]
    msg = f"no session {shown!r}; `GET /sessions` has all"
    return UnknownSessionError(msg, parameter="session_id", actual=shown)


def taken(name: str) -> SessionConflictError:
    """Another session has the name."""
    msg = f"there is a session {name!r} already; give another name"
    return SessionConflictError(msg, parameter="name", actual=name)


def _labelled_meanwhile(mark: DiscoveryMarkRow, change: Change) -> SessionConflictError:
    now = f"labelled {mark.label}" if mark.label else "not labelled"
    msg = (
        f"{mark.source_id} is {now} at version {mark.version}, not {change.version}: "
        "somebody else has changed it; look at it and send that version"
    )
    return SessionConflictError(
        msg, parameter="version", limit=mark.version, actual=change.version
    )


def session_of(row: DiscoverySessionRow, exclude: Sequence[str]) -> DiscoverySession:
    """The value of a row."""
    return DiscoverySession(
        session_id=row.session_id,
        name=row.name,
        notes=row.notes,
        exclude=tuple(sorted(set(exclude))),
        version=row.version,
        created_at=_in_utc(row.created_at),
        updated_at=_in_utc(row.updated_at),
    )


def mark_of(row: DiscoveryMarkRow) -> Mark:
    """The value of a row."""
    label: Label | None = next((one for one in LABELS if one == row.label), None)
    strategy: Strategy | None = None
    if row.strategy is not None:
        strategy = "explore" if row.strategy == "explore" else "exploit"
    return Mark(
        source_id=row.source_id,
        ra=row.ra,
        dec=row.dec,
        label=label,
        note=row.note,
        version=row.version,
        updated_at=_in_utc(row.updated_at),
        round=row.round,
        place=row.place,
        strategy=strategy,
        score=row.score,
        similarity=row.similarity,
    )


def round_of(row: DiscoveryRoundRow) -> Round:
    """The value of a row."""
    values = {name: getattr(row, name) for name in Round.__annotations__}
    return Round(**values | {"created_at": _in_utc(row.created_at)})


def _in_utc(moment: datetime) -> datetime:
    """With its time zone, which SQLite does not keep."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
