"""Databases that are as if nobody had used them."""

import sqlalchemy as sa

from twinjet.index.database import create_engine


def emptied(url: str) -> str:
    """The URL of a PostgreSQL that has lost everything."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for schema in ("public", "dbos"):
            connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return url
