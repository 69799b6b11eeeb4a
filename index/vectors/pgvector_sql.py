"""How pgvector's types and settings are said in SQL, and what its errors become."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.errors import IndexUnavailableError, LostVectorsError
from twinjet.index.vectors.port import Rows, Vectors

_log = logging.getLogger(__name__)

PREFIX = "vectors_"
"""Of every table of vectors."""


class Numbers(sa.types.UserDefinedType[str]):
    """A type of pgvector's, in text."""

    cache_ok = True

    def __init__(self, kind: str, dimension: int) -> None:
        self.kind = kind
        self.dimension = dimension

    def get_col_spec(self, **_: Any) -> str:
        """Its name in SQL."""
        return f"{self.kind}({self.dimension})"


def table_of(name: str, dimension: int) -> sa.Table:
    """Of the vectors of a generation."""
    return sa.Table(
        PREFIX + name,
        sa.MetaData(),
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("v", Numbers("vector", dimension), nullable=False),
    )


def exists(connection: sa.Connection, name: str) -> bool:
    """Whether a generation has its table."""
    return sa.inspect(connection).has_table(PREFIX + name)


def query_of(query: Vectors, kind: Numbers) -> sa.ColumnElement[str]:
    """The query as a parameter: every digit that a float32 has."""
    return sa.cast(sa.literal(str(query.tolist()), sa.Text), kind)


def rows_of(rows: Rows) -> sa.BindParameter[Any]:
    """Rows as a parameter."""
    return sa.literal(rows.tolist(), ARRAY(sa.BigInteger))


def set_all(connection: sa.Connection, settings: Mapping[str, str | int]) -> None:
    """Settings of this transaction."""
    here = sa.true()
    pairs = settings.items()
    set_one = sa.func.set_config
    connection.execute(sa.select(*(set_one(n, str(v), here) for n, v in pairs)))


@contextmanager
def answering(*, loud: bool = False) -> Iterator[None]:
    """Turn whatever goes wrong over there into one error; its words for whom it suits.

    People who search do not hear them: they may name machines.
    """
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as exc:
        if isinstance(getattr(exc, "orig", exc), psycopg.errors.UndefinedTable):
            msg = (
                "vectors of this generation are gone from pgvector: `twinjet "
                "rollback` to it loads them"
            )
            raise LostVectorsError(msg) from exc
        cause = str(getattr(exc, "orig", None) or exc).strip().partition("\n")[0]
        if loud:
            msg = f"pgvector cannot be loaded: {cause}"
        else:
            _log.warning("pgvector does not answer: %s", cause)
            msg = "pgvector does not answer; try again in a moment"
        raise IndexUnavailableError(msg) from exc
