"""Sources in SQL, the same on SQLite and PostgreSQL."""

import threading

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import (
    InvalidQueryError,
    StoreError,
    UnknownGenerationError,
    UnknownSourceError,
)
from twinjet.index.regions import Cone
from twinjet.index.resolve import resolve
from twinjet.index.schema import Base, GenerationRow
from twinjet.index.sky import (
    chord_of,
    cone_ranges,
    healpix_cells,
    separation_arcsec,
    unit_vectors,
)
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore

COLUMNS = (
    Column("size", "arcsec"),
    Column("z"),
    Column("fr", kind="text"),
    Column("bent", kind="boolean"),
)


def sky(count: int = 600) -> list[Source]:
    """Sources all over, many at the poles and at RA 0."""
    rng = np.random.default_rng(0)
    ra = rng.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    ra[: count // 6] = rng.normal(0, 0.01, count // 6) % 360
    dec[count // 6 : count // 3] = 90 - np.abs(rng.normal(0, 0.01, count // 6))
    dec[count // 3 : count // 2] = -90 + np.abs(rng.normal(0, 0.01, count // 6))
    dec[: count // 6] = rng.normal(0, 0.01, count // 6)
    return [
        Source(
            f"J{number:04d}+{number:04d}",
            float(ra[number]),
            float(dec[number]),
            "FIRST",
            f"{number}.fits",
            {
                "size": number % 50 + 0.5,
                "z": None if number % 3 == 0 else number / count,
                "fr": "O'Brien" if number % 7 == 0 else ["FRI", "FRII"][number % 2],
                "bent": None if number % 11 == 0 else number % 5 == 0,
            },
        )
        for number in range(count)
    ]


SKY = sky()


@pytest.fixture
def filled(store: SourceStore) -> tuple[SourceStore, int]:
    return store, publish(store, SKY)


def publish(store: SourceStore, sources: list[Source]) -> int:
    number = store.begin_generation(
        encoder_id="e", catalogue_name="c", catalogue_digest="d", columns=COLUMNS
    )
    store.add_sources(number, 0, sources[:100])
    store.add_sources(number, 100, sources[100:])
    store.publish_build(number, source_count=len(sources), folder=f"g{number}")
    return number


@pytest.mark.parametrize(
    "radius", [0.0, 0.5, 30.0, 3600.0, 36_000.0, 400_000.0, 648_000.0]
)
@pytest.mark.parametrize(
    "centre", [(0, 0), (360, 0), (359.999, 0.001), (17, 90), (200, -90), (100, 20)]
)
def test_a_cone_is_what_brute_force_finds(
    filled: tuple[SourceStore, int], centre: tuple[float, float], radius: float
) -> None:
    store, number = filled
    here = unit_vectors(*centre)[0]
    there = unit_vectors([s.ra for s in SKY], [s.dec for s in SKY])
    gaps = ((there - here) ** 2).sum(axis=1)
    wanted = np.flatnonzero(gaps <= chord_of(radius) ** 2 + 1e-30)
    found = store.cone(number, *centre, radius, limit=10_000)
    assert sorted(row for row, _, _ in found) == wanted.tolist()
    separations = [separation for _, _, separation in found]
    assert separations == sorted(separations)
    few = store.cone(number, *centre, radius, limit=3)
    assert [s for _, _, s in few] == separations[:3]


def test_a_cone_of_no_radius_finds_the_very_position(
    filled: tuple[SourceStore, int],
) -> None:
    store, number = filled
    for source in SKY[::50]:
        found = store.cone(number, source.ra, source.dec, 0.0, limit=10)
        assert source in [s for _, s, _ in found]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-90, 90),
    radius=st.floats(0, 648_000),
    seed=st.integers(0, 2**31),
)
def test_no_source_of_a_cone_is_outside_of_its_cells(
    ra: float, dec: float, radius: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, 3))
    points[:100] = unit_vectors(ra, dec)[0] + chord_of(radius) * 0.6 * points[:100]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    at_ra = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360
    at_dec = np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1)))
    gaps = ((unit_vectors(at_ra, at_dec) - unit_vectors(ra, dec)) ** 2).sum(axis=1)
    inside = gaps <= chord_of(radius) ** 2
    ranges = cone_ranges(ra, dec, radius)
    for cell in healpix_cells(at_ra, at_dec)[inside]:
        assert any(first <= cell <= last for first, last in ranges)


def test_separations_are_right_far_below_an_arcsec() -> None:
    for dec in (0.0, 64.0, 89.9999):
        step = 1e-4 / 3600
        pair = unit_vectors([10, 10], [dec, dec + step])
        gap = float(((pair[0] - pair[1]) ** 2).sum())
        assert separation_arcsec(gap) == pytest.approx(1e-4, rel=1e-3)
    assert separation_arcsec(4.0) == pytest.approx(648_000)


def test_a_source_is_found_in_any_spelling(filled: tuple[SourceStore, int]) -> None:
    store, number = filled
    for text in ("J0042+0042", "j0042+0042", "J0042 0042", "RGZ J0042+0042"):
        row, source = store.row_of(number, text)
        assert (row, source) == (42, SKY[42])
    for text in ("J0042-0042", "", "x" * 5000, "a\0b", "'; drop table source; --"):
        with pytest.raises(UnknownSourceError):
            store.row_of(number, text)


def test_what_is_typed_is_resolved_once_and_best_first(
    filled: tuple[SourceStore, int],
) -> None:
    store, number = filled
    found = resolve(store, number, "J0042+0042", limit=5)
    assert (found[0].source, found[0].kind) == (SKY[42], "id")
    found = resolve(store, number, "0042", limit=5)
    assert SKY[42] in [m.source for m in found]
    assert len({m.source.source_id for m in found}) == len(found)
    position = f"{SKY[400].ra:.5f} {SKY[400].dec:+.5f}"
    assert resolve(store, number, position, limit=5)[0].source == SKY[400]
    assert resolve(store, number, "50%_", limit=5) == []


def test_rows_come_in_the_order_asked(filled: tuple[SourceStore, int]) -> None:
    store, number = filled
    rows = [599, 0, 300, 5]
    assert store.sources_by_row(number, rows) == [SKY[row] for row in rows]


@pytest.mark.parametrize(
    "sort", [None, "source_id", "-source_id", "z", "-z", "fr", "bent", "ra"]
)
def test_pages_hold_every_source_once_in_order(
    filled: tuple[SourceStore, int], sort: str | None
) -> None:
    store, number = filled
    seen: list[Source] = []
    token = None
    while True:
        page, token = store.page(number, sort=sort, after=token, limit=71)
        seen += page
        if token is None:
            break
    assert len(seen) == len(SKY)
    assert len({s.source_id for s in seen}) == len(SKY)
    if sort in {"z", "-z"}:
        values = [s.columns["z"] for s in seen]
        known = [v for v in values if v is not None]
        assert values[: len(known)] == known
        assert known == sorted(known, reverse=sort == "-z")


def test_a_token_serves_its_own_order_only(filled: tuple[SourceStore, int]) -> None:
    store, number = filled
    _, token = store.page(number, sort="z", limit=5)
    with pytest.raises(InvalidQueryError, match="token"):
        store.page(number, sort="-z", after=token, limit=5)
    for bad in ("", "x", "e30", "W10", token[:-3] if token else ""):
        with pytest.raises(InvalidQueryError):
            store.page(number, sort="z", after=bad, limit=5)


def test_a_building_generation_is_not_the_current_one(store: SourceStore) -> None:
    first = publish(store, SKY[:150])
    second = store.begin_generation(
        encoder_id="e", catalogue_name="c", catalogue_digest="d", columns=()
    )
    current = store.current()
    assert current is not None
    assert current.number == first
    assert [(g.number, g.state) for g in store.generations()] == [
        (second, "building"),
        (first, "ready"),
    ]
    for number in (second, 99):
        with pytest.raises(UnknownGenerationError):
            store.publish(number)
    with pytest.raises(StoreError):
        store.publish_build(second, source_count=1, folder="x")


def test_an_earlier_generation_can_be_current_again(store: SourceStore) -> None:
    first, second = publish(store, SKY[:150]), publish(store, SKY[:120])
    store.publish(first)
    current = store.current()
    assert current is not None
    assert current.number == first
    with pytest.raises(StoreError, match="current"):
        store.drop_generation(first)
    store.drop_generation(second)
    assert [g.number for g in store.generations()] == [first]
    assert (store.count(second), store.count(first)) == (0, 150)


def test_readers_go_on_while_a_generation_is_written(store: SourceStore) -> None:
    number = publish(store, SKY)
    stop, faults = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                assert store.row_of(number, "J0042+0042")[0] == 42
            except Exception as exc:  # noqa: BLE001 - any fault is one
                faults.append(exc)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        publish(store, SKY)
    stop.set()
    for reader in readers:
        reader.join()
    assert faults == []


def test_the_migrations_make_the_tables_of_the_schema(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_many_starters_migrate_once(engine: sa.Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
    faults = []

    def start() -> None:
        own = create_engine(url)
        try:
            upgrade(own)
        except Exception as exc:  # noqa: BLE001 - any fault is one
            faults.append(exc)
        finally:
            own.dispose()

    starters = [threading.Thread(target=start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert faults == []
    assert SourceStore(engine).current() is None


def test_what_is_published_again_is_not_dropped_meanwhile(
    engine: sa.Engine, store: SourceStore
) -> None:
    """A rollback has asked, and has not ended, when the retirement comes."""
    first, second = publish(store, SKY[:103]), publish(store, SKY[:103])
    own = create_engine(engine.url.render_as_string(hide_password=False))
    refused: list[str] = []

    def drop() -> None:
        try:
            SourceStore(own).drop_generation(first)
        except StoreError as exc:
            refused.append(str(exc))

    retirement = threading.Thread(target=drop)

    def meanwhile(*arguments: object) -> None:
        if str(arguments[2]).startswith("INSERT INTO publication"):
            retirement.start()
            retirement.join(1.0)  # it waits for us

    sa.event.listen(engine, "before_cursor_execute", meanwhile)
    store.publish(first)
    retirement.join()
    own.dispose()
    current = store.current()
    assert current is not None
    assert (current.number, store.count(first)) == (first, 103)
    assert refused == [f"generation {first} is the current one and stays"]
    store.drop_generation(second)


def test_the_current_generation_is_one_that_is_there(store: SourceStore) -> None:
    first, second = publish(store, SKY[:103]), publish(store, SKY[:103])
    with store.engine.begin() as connection:  # as an earlier version could leave it
        gone = sa.update(GenerationRow).where(GenerationRow.number == second)
        connection.execute(gone.values(state="gone"))
    current = store.current()
    assert current is not None
    assert current.number == first


def test_what_was_passed_over_is_known_after_a_rollback(store: SourceStore) -> None:
    number = publish(store, SKY[:103])
    assert store.generation(number).forced is None
    forced = store.begin_generation(
        encoder_id="e", catalogue_name="c", catalogue_digest="d", columns=[]
    )
    store.add_sources(forced, 0, SKY[:2])
    store.publish_build(forced, source_count=2, folder="f", forced="removed")
    store.publish(number)
    store.publish(forced)
    assert [g.forced for g in store.generations()] == ["removed", None]


def test_a_store_that_cannot_be_reached_says_so() -> None:
    for url in ("nonsense", "sqlite:////nonexistent/folder/x.sqlite"):
        with pytest.raises(StoreError):
            upgrade(create_engine(url))


def test_a_filter_and_a_region_go_together(filled: tuple[SourceStore, int]) -> None:
    store, number = filled
    rows = store.select_rows(number, where="size > 30", region=Cone(0, 0, 1))
    assert 0 < len(rows) < 100
    assert all(SKY[row].columns["size"] > 30 for row in rows)
