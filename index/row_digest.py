"""What the rows of a generation were when it was built, as one number.

Neither SQLite nor PostgreSQL notice a byte that changes inside a text or a number, or
rows that have changed places; an answer would have the wrong name, or none.
"""

from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from twinjet.index.schema import GenerationRow, SourceRow

# Rows that are read together: a megabyte or two.
_BLOCK = 2000

_OF_GENERATION = ("number", "encoder_id", "catalogue_name", "catalogue_digest")


def digest_of_rows(engine: sa.Engine, number: int) -> str:
    """SHA-256 of a generation's sources in their order, and of what describes them.

    Of numbers as they are and of JSON as the database writes it: the same until a row
    is changed, added, removed or moved; different in SQLite and in PostgreSQL.

    Parameters
    ----------
    engine
        Of the metadata store.
    number
        Of the generation.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = sha256()
    described = [GenerationRow.__table__.c[name] for name in _OF_GENERATION]
    columns = sa.cast(GenerationRow.columns, sa.Text)
    about = sa.select(*described, columns).where(GenerationRow.number == number)
    rows = (
        sa.select(*map(_as_it_is, SourceRow.__table__.columns))
        .where(SourceRow.generation == number)
        .order_by(SourceRow.row)
        .execution_options(yield_per=_BLOCK)
    )
    with engine.connect() as connection:
        digest.update(repr(connection.execute(about).all()).encode())
        for part in connection.execute(rows).partitions():
            # Of floats this has every digit that tells them apart.
            digest.update("".join(map(repr, part)).encode())
    return digest.hexdigest()


def _as_it_is(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """JSON as text: to read it would take longer than all the rest."""
    is_json = isinstance(column.type, sa.JSON)
    return sa.cast(column, sa.Text) if is_json else column
