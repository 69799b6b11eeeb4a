"""Pages of sources in a stable order, by key and not by count.

A token holds the sort and the last source's place in it, so that a page takes the
same time wherever it is.
"""

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import sqlalchemy as sa

from twinjet.index.errors import FilterError, InvalidQueryError
from twinjet.index.regions import Region
from twinjet.index.schema import SourceRow
from twinjet.index.source import Column
from twinjet.index.where import column_expression

_DEFAULT_SORT = "source_id"


def page_of(
    connection: sa.Connection,
    query: sa.Select[Any],
    columns: Sequence[Column],
    *,
    region: Region | None = None,
    sort: str | None,
    after: str | None,
    limit: int,
) -> tuple[list[sa.Row[Any]], str | None]:
    """Rows of one page and the token of the next, None at the end.

    Parameters
    ----------
    connection
        To ask.
    query
        Which sources, and columns of `SourceRow` with its row.
    columns
        Measured columns that the generation has.
    region
        Only sources in it.
    sort
        A column, with ``-`` before it for descending; missing values come last.
    after
        Token of the page before.
    limit
        Rows of a page.

    Raises
    ------
    InvalidQueryError
        No such column, or the token is not one for this sort.
    """
    sort = sort or _DEFAULT_SORT
    descending = sort.startswith("-")
    try:
        value, kind = column_expression(sort.removeprefix("-"), columns)
    except FilterError as exc:
        raise InvalidQueryError(str(exc), parameter="sort", actual=sort) from None
    if kind == "boolean":
        # Truth has an order in SQLite and none that a parameter compares with.
        value = sa.case((value.is_(None), None), (value, 1), else_=0)
    missing = sa.case((value.is_(None), 1), else_=0)
    if after is not None:
        query = query.where(_beyond(_decode(after, sort), value, missing, descending))
    order = value.desc() if descending else value.asc()
    places = (SourceRow.x, SourceRow.y, SourceRow.z)
    # The value is found by its place, the last: it may be one of the columns again.
    ordered = query.add_columns(*places, value).order_by(missing, order, SourceRow.row)
    if region is not None:
        ordered = ordered.where(region.condition())
    rows = _first(connection, ordered, region, limit + 1)
    page = rows[:limit]
    token = None
    if len(rows) > limit:
        token = _encode(sort, page[-1][-1], page[-1].row)
    return page, token


def _first(
    connection: sa.Connection, query: sa.Select[Any], region: Region | None, wanted: int
) -> list[Any]:
    """The first rows that are in the region, of which the query finds a few more."""
    if region is None or region.exact_in_sql:
        return list(connection.execute(query.limit(wanted)).all())
    found: list[Any] = []
    for rows in connection.execute(query).yield_per(max(wanted, 100)).partitions():
        places = np.array([(row.x, row.y, row.z) for row in rows])
        found += [rows[n] for n in np.flatnonzero(region.contains(places)).tolist()]
        if len(found) >= wanted:
            break
    return found[:wanted]


def _beyond(
    last: tuple[Any, int],
    value: Any,
    missing: Any,
    descending: bool,  # noqa: FBT001
) -> sa.ColumnElement[bool]:
    """Sources after the last one of the page before."""
    last_value, last_row = last
    later = SourceRow.row > last_row
    if last_value is None:
        return sa.and_(missing == 1, later)
    further = value < last_value if descending else value > last_value
    return sa.or_(missing == 1, further, sa.and_(value == last_value, later))


def _encode(sort: str, value: Any, row: int) -> str:
    text = json.dumps([sort, value, row], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(token: str, sort: str) -> tuple[Any, int]:
    made_for = value = row = None
    with suppress(ValueError, TypeError):
        padded = token + "=" * (-len(token) % 4)
        decoded = base64.b64decode(padded, b"-_", validate=True)
        made_for, value, row = json.loads(decoded)
    good = made_for == sort and type(row) is int and 0 <= row < 2**63
    good = good and (value is None or isinstance(value, str | int | float))
    if not good:
        msg = "not a token of a page in this order; take it from `next`"
        raise InvalidQueryError(msg, parameter="after", actual=token[:50])
    return value, int(row or 0)
