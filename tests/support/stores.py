"""The same sources in SQLite and in PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from databases import empty_database

from twinjet.index.database import create_engine, upgrade
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore


@contextmanager
def both_stores(
    folder: Path,
    server: str,
    sources: Sequence[Source],
    columns: Sequence[Column] = (),
) -> Iterator[dict[str, SourceStore]]:
    """Generation 1 in SQLite, and in a PostgreSQL that orders text as English."""
    english = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    with empty_database(server, english) as postgresql:
        urls = {
            "sqlite": f"sqlite:///{folder / 'store.sqlite'}",
            "postgresql": postgresql,
        }
        stores = {kind: _filled(url, sources, columns) for kind, url in urls.items()}
        try:
            yield stores
        finally:
            for store in stores.values():
                store.close()


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
