"""The same sources in SQLite and in PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from twinjet.index.database import create_engine, upgrade
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore


@contextmanager
def both_stores(
    folder: Path,
    postgres_url: str,
    sources: Sequence[Source],
    columns: Sequence[Column] = (),
) -> Iterator[dict[str, SourceStore]]:
    """Generation 1 in a SQLite file, and in a PostgreSQL that orders text as English.

    The database is one of its own: others may be at work in the same server.
    """
    administrator = create_engine(postgres_url)
    name = f"english_{folder.name.replace('-', '_')}"
    _run(
        administrator,
        f"CREATE DATABASE {name} TEMPLATE template0 "
        "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
    )
    english = sa.make_url(postgres_url).set(database=name)
    urls = {
        "sqlite": f"sqlite:///{folder / 'store.sqlite'}",
        "postgresql": english.render_as_string(hide_password=False),
    }
    stores = {kind: _filled(url, sources, columns) for kind, url in urls.items()}
    try:
        yield stores
    finally:
        for store in stores.values():
            store.close()
        _run(administrator, f"DROP DATABASE {name} WITH (FORCE)")
        administrator.dispose()


def _filled(
    url: str, sources: Sequence[Source], columns: Sequence[Column]
) -> SourceStore:
    engine = create_engine(url)
    upgrade(engine)
    store = SourceStore(engine)
    number = store.begin_generation(
        encoder_id="e", catalogue_name="c", catalogue_digest="d", columns=columns
    )
    for start in range(0, len(sources), 1000):
        store.add_sources(number, start, sources[start : start + 1000])
    store.publish_build(number, source_count=len(sources), folder="g1")
    return store


def _run(engine: sa.Engine, statement: str) -> None:
    with engine.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        alone.execute(sa.text(statement))
