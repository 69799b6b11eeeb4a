"""Databases that nobody has used."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from twinjet.index.database import create_engine


@contextmanager
def empty_database(server: str, options: str = "") -> Iterator[str]:
    """URL of a new database of a PostgreSQL, which is gone afterwards.

    Parameters
    ----------
    server
        URL of a database there.
    options
        What follows the name in CREATE DATABASE.
    """
    name = f"twinjet_{uuid.uuid4().hex}"
    url = sa.make_url(server).set(database=name)
    execute(server, f"CREATE DATABASE {name} {options}")
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(server: str, statement: str) -> None:
    """A statement that runs in no transaction."""
    engine = create_engine(server)
    try:
        with engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.execute(sa.text(statement))
    finally:
        engine.dispose()
