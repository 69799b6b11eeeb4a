"""Generations in servers of vectors: loaded, looked at, switched, dropped."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from databases import empty_database
from requirements import require
from servers import Milvus, Postgres, free_port
from skies import index_sky, small_encoder, write_sky

from twinjet.index.checks import Limits
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import (
    GenerationDamagedError,
    IndexUnavailableError,
    LostVectorsError,
    StoreError,
)
from twinjet.index.generation import OpenGeneration, index_name, open_generation
from twinjet.index.home import Home
from twinjet.index.options import Options
from twinjet.index.published import publish_again
from twinjet.index.reindex import Report
from twinjet.index.search import Searcher
from twinjet.index.store import SourceStore
from twinjet.index.vectors.automatic import AutomaticEngine
from twinjet.index.vectors.engine import VectorEngine, open_engine
from twinjet.index.vectors.faiss_index import FaissIndex
from twinjet.index.vectors.pgvector import _LOAD_LOCK, PgvectorEngine
from twinjet.index.vectors.policy import bytes_per_row
from twinjet.index.verify import verify
from twinjet.index.waiting import bound_waiting
from twinjet.model.encoder import Encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return small_encoder(views=1)


@dataclass
class Place:
    """An installation whose vectors are in a server."""

    folder: Path
    database_url: str
    engine: VectorEngine
    store: SourceStore
    encoder: Encoder
    restart: str
    """Python that makes the same engine in another process."""

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    def sky(self, count: int, seed: int = 0) -> Path:
        folder = self.folder / f"sky{count}-{seed}"
        write_sky(folder, count, seed=seed)
        return folder

    def index(self, sky: Path, *, engine: bool = True) -> Report:
        return index_sky(
            sky,
            self.home.path,
            self.encoder,
            database_url=self.database_url,
            engine=self.engine if engine else None,
        )

    def opened(self, *, engine: bool = True) -> OpenGeneration:
        current = self.store.current()
        assert current is not None
        folder = self.home.generation(current.folder)
        return open_generation(folder, self.engine if engine else None)


def pgvector_place(folder: Path, url: str, encoder: Encoder) -> Place:
    database = create_engine(url)
    upgrade(database)
    return Place(
        folder,
        url,
        # A graph even of a small sky.
        PgvectorEngine(database, scan_from=0),
        SourceStore(database),
        encoder,
        "from twinjet.index.database import create_engine\n"
        "from twinjet.index.vectors.pgvector import PgvectorEngine\n"
        f"engine = PgvectorEngine(create_engine({url!r}), scan_from=0)",
    )


def milvus_place(folder: Path, uri: str, encoder: Encoder) -> Place:
    from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415 - an extra

    home = Home(folder / "home")
    home.path.mkdir()
    database = create_engine(home.database_url)
    upgrade(database)
    return Place(
        folder,
        home.database_url,
        MilvusEngine(uri),
        SourceStore(database),
        encoder,
        "from twinjet.index.vectors.milvus import MilvusEngine\n"
        f"engine = MilvusEngine({uri!r})",
    )


# The small Milvus in this process, which takes a second where the server takes ten,
# has the server's own client before it; what needs two processes takes the server.
@pytest.fixture(params=["pgvector", "milvus-lite"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, encoder: Encoder
) -> Iterator[Place]:
    if request.param == "pgvector":
        url = request.getfixturevalue("pgvector_url")
        made = pgvector_place(tmp_path, url, encoder)
    elif request.param == "milvus":
        uri = request.getfixturevalue("milvus").uri
        made = milvus_place(tmp_path, uri, encoder)
    else:
        require(
            "milvus-lite",
            available=find_spec("milvus_lite") is not None,
            reason="milvus-lite is not installed",
        )
        made = milvus_place(tmp_path, str(tmp_path / "lite.db"), encoder)
    with closing(made.store):
        for name in made.engine.loaded():
            made.engine.drop(name)
        yield made
        for name in made.engine.loaded():
            made.engine.drop(name)


def numbers(engine: VectorEngine) -> list[str]:
    return sorted(name.partition("_")[0] for name in engine.loaded())


@pytest.mark.parametrize("place", ["pgvector", "milvus", "milvus-lite"], indirect=True)
def test_a_build_is_loaded_and_answers_as_its_files_do(place: Place) -> None:
    report = place.index(place.sky(20))
    assert report.verification is not None
    assert {"engine", "recall"} <= {c.name for c in report.verification.checks}
    assert place.engine.loaded() == [index_name(1, report.digest)]
    here = Searcher(place.opened(engine=False), place.store)
    there = Searcher(place.opened(), place.store)
    assert type(here.generation.index) is not type(there.generation.index)
    for options in (Options(k=5), Options(k=5, where="redshift > 0.3"), Options(k=50)):
        one = here.similar_to_source("T100+003", options).neighbours
        assert there.similar_to_source("T100+003", options).neighbours == one
    again = place.index(place.folder / "sky20-0")
    assert not again.published


def test_the_latest_generations_stay_in_the_engine(place: Place) -> None:
    for seed in range(5):
        place.index(place.sky(4, seed))
    assert numbers(place.engine) == ["g000003", "g000004", "g000005"]


def test_rollback_serves_what_is_there_and_loads_what_is_not(place: Place) -> None:
    place.index(place.sky(4))
    place.index(place.sky(6))
    publish_again(1, place.home, place.store, place.engine)
    assert len(place.opened().index) == 4
    for name in place.engine.loaded():
        place.engine.drop(name)
    with pytest.raises(GenerationDamagedError, match=r"0 vectors .* rollback"):
        place.opened()
    publish_again(2, place.home, place.store, place.engine)
    assert len(place.opened().index) == 6
    assert numbers(place.engine) == ["g000002"]


def test_an_index_of_before_the_engine_is_built_anew_for_it(place: Place) -> None:
    sky = place.sky(5)
    place.index(sky, engine=False)
    report = place.index(sky)
    assert (report.published, report.number, report.reused) == (True, 2, 5)
    assert len(place.opened().index) == 5


@pytest.mark.parametrize("place", ["pgvector", "milvus", "milvus-lite"], indirect=True)
def test_what_an_engine_has_lost_is_an_error_and_never_an_answer(place: Place) -> None:
    report = place.index(place.sky(6))
    name = index_name(1, report.digest)
    index, alone = place.opened().index, place.engine.open(name, 6, None)
    assert alone is not None
    query = index.vectors(np.array([1]))[0]
    place.engine.check(name, 6)
    place.engine.drop(name)
    for ask in (
        lambda: place.engine.check(name, 6),
        lambda: index.search(query, 3),
        lambda: alone.search(query, 3, exact=True),
        lambda: alone.search(query, 3, among=np.arange(3)),
        lambda: alone.vectors(np.arange(3)),
    ):
        with pytest.raises(LostVectorsError, match="`twinjet rollback`"):
            ask()
    publish_again(1, place.home, place.store, place.engine)
    assert place.opened().index.search(query, 3)[1][0] == 1


@pytest.mark.parametrize("place", ["milvus", "milvus-lite"], indirect=True)
def test_rows_that_somebody_removes_are_missed(place: Place) -> None:
    from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415 - an extra

    report = place.index(place.sky(6))
    name = index_name(1, report.digest)
    assert isinstance(place.engine, MilvusEngine)
    place.engine._client.delete("twinjet_" + name, ids=[2, 3])
    with pytest.raises(LostVectorsError, match="4 vectors in Milvus, not 6"):
        place.engine.check(name, 6)


@pytest.mark.parametrize("place", ["pgvector", "milvus-lite"], indirect=True)
def test_what_fits_into_memory_is_left_to_faiss(place: Place) -> None:
    server, per_row = place.engine, bytes_per_row(place.encoder.card.dimension)
    place.engine = AutomaticEngine(server, memory_bytes=6 * per_row)
    place.index(place.sky(6))
    assert server.loaded() == []
    assert isinstance(place.opened().index, FaissIndex)
    place.index(place.sky(7))
    assert numbers(server) == ["g000002"]
    assert not isinstance(place.opened().index, FaissIndex)
    publish_again(1, place.home, place.store, place.engine)
    assert isinstance(place.opened().index, FaissIndex)
    # A machine with less memory, and nobody has loaded it.
    place.engine = AutomaticEngine(server, memory_bytes=1)
    assert isinstance(place.opened().index, FaissIndex)
    publish_again(1, place.home, place.store, place.engine)
    assert not isinstance(place.opened().index, FaissIndex)


# Ends the process, as kill -9 does, when the engine has had some blocks of rows.
KILLER = """
import os, sys
import numpy as np
{engine}

class Deadly(np.ndarray):
    left = {blocks}
    def __getitem__(self, key):
        if isinstance(key, slice):
            Deadly.left -= 1
            if Deadly.left < 0:
                os._exit(9)
        return super().__getitem__(key).view(np.ndarray)

engine.load({name!r}, np.load({path!r}).view(Deadly))
"""


@pytest.mark.parametrize("place", ["pgvector", "milvus"], indirect=True)
def test_killed_while_it_is_loaded_nothing_is_there_and_the_next_time_all(
    place: Place,
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10_000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path, name = place.folder / "vectors.npy", "g000007_ab12"
    np.save(path, vectors)
    code = KILLER.format(engine=place.restart, blocks=2, name=name, path=str(path))
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9
    with pytest.raises(GenerationDamagedError, match="0 vectors"):
        place.engine.open(name, len(vectors), None)
    place.engine.load(name, vectors)
    place.engine.load(name, vectors)
    assert place.engine.loaded() == [name]
    index = place.engine.open(name, len(vectors), None)
    assert index is not None
    _, rows = index.search(vectors[9_999], 3, exact=True)
    assert rows[0] == 9_999
    with pytest.raises(GenerationDamagedError, match=r"10000 vectors .* not 9999"):
        place.engine.open(name, 9_999, None)


def test_what_a_dead_build_left_in_the_engine_goes(place: Place) -> None:
    vectors = np.eye(3, 8, dtype=np.float32)
    place.engine.load("g000099_dead", vectors)
    place.index(place.sky(4))
    assert numbers(place.engine) == ["g000001"]


def test_an_engine_with_other_rows_is_not_published(
    tmp_path: Path, pgvector_url: str, encoder: Encoder
) -> None:
    place = pgvector_place(tmp_path, pgvector_url, encoder)
    with closing(place.store):
        sky = place.sky(6)
        report = place.index(sky)
        table = sa.table(
            "vectors_" + index_name(1, report.digest), sa.column("row"), sa.column("v")
        )
        twice = {"v": table.c.v + table.c.v}
        change = sa.update(table).where(table.c.row == 2).values(twice)
        with (
            pytest.raises(sa.exc.DBAPIError, match="are not changed"),
            place.store.engine.begin() as connection,
        ):
            connection.execute(change)
        disable = sa.text(f"ALTER TABLE {table.name} DISABLE TRIGGER USER")
        with place.store.engine.begin() as connection:
            connection.execute(disable)
            connection.execute(change)
        found = verify(
            1,
            "g000001",
            home=place.home,
            store=place.store,
            encoder=encoder,
            provider=FolderProvider(sky),
            limits=Limits(),
            engine=place.engine,
        )
        assert "engine" in {check.name for check in found.failed}


def test_a_server_that_is_away_is_an_error_and_never_part_of_an_answer(
    tmp_path: Path, pgvector: Postgres, pgvector_url: str, encoder: Encoder
) -> None:
    place = pgvector_place(tmp_path, pgvector_url, encoder)
    with closing(place.store):
        place.index(place.sky(6))
        index = place.opened().index
        query = index.vectors(np.array([1]))[0]
        pgvector.stop()
        try:
            for ask in (
                lambda: index.search(query, 3),
                lambda: index.search(query, 3, exact=True),
                place.engine.loaded,
                lambda: place.engine.load("g000002_x", query[None]),
            ):
                with pytest.raises(IndexUnavailableError, match="pgvector"):
                    ask()
        finally:
            pgvector.start()
        assert index.search(query, 3)[1][0] == 1


def test_a_server_that_hangs_is_given_up(milvus: Milvus) -> None:
    from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415 - an extra

    engine = MilvusEngine(milvus.uri, timeout_s=1)
    vectors = np.eye(8, dtype=np.float32)
    engine.load("g000001_hangs", vectors)
    index = engine.open("g000001_hangs", 8, vectors)
    milvus.freeze()
    try:
        for ask in (
            lambda: index.search(vectors[3], 2),
            engine.loaded,
            lambda: engine.open("g000001_hangs", 8, vectors),
            lambda: engine.load("g000002_x", vectors),
        ):
            with pytest.raises(IndexUnavailableError, match="Milvus"):
                ask()
    finally:
        milvus.thaw()
    assert index.search(vectors[3], 2)[1][0] == 3
    engine.publish("g000001_hangs")
    engine.drop("g000001_hangs")
    assert "g000001_hangs" not in engine.loaded()


def test_nobody_at_the_address_is_an_error() -> None:
    from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415 - an extra

    engine = MilvusEngine(f"http://127.0.0.1:{free_port()}", timeout_s=1)
    with pytest.raises(IndexUnavailableError, match="Milvus does not answer"):
        engine.loaded()


def test_pgvector_needs_its_extension(postgres_url: str) -> None:
    database = create_engine(postgres_url)
    with pytest.raises(IndexUnavailableError, match="vector"):
        PgvectorEngine(database).load("g000001_x", np.eye(3, dtype=np.float32))
    database.dispose()


def test_pgvector_is_loaded_however_long_it_takes(pgvector: Postgres) -> None:
    """In a service, which waits for other statements not so long."""
    with empty_database(pgvector.url) as url, ThreadPoolExecutor(1) as pool:
        database, other = create_engine(url), create_engine(url)
        bound_waiting(database, 1.0)
        engine = PgvectorEngine(database)
        with other.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOAD_LOCK)))
            loaded = pool.submit(engine.load, "g000001_x", np.eye(3, dtype=np.float32))
            time.sleep(2.5)
            assert not loaded.done()
        loaded.result()
        assert engine.open("g000001_x", 3, None) is not None
        database.dispose()
        other.dispose()


def test_pgvector_needs_postgresql_and_milvus_an_address(tmp_path: Path) -> None:
    database = create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    assert open_engine("faiss", database, None) is None
    with pytest.raises(StoreError, match="TWINJET_DATABASE_URL"):
        open_engine("pgvector", database, None)
    with pytest.raises(StoreError, match="TWINJET_MILVUS_URI"):
        open_engine("milvus", database, None)


def test_auto_is_the_server_that_there_is(
    tmp_path: Path, pgvector_url: str, postgres_url: str
) -> None:
    sqlite = create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    assert open_engine("auto", sqlite, None) is None
    nobody = f"http://127.0.0.1:{free_port()}"
    assert isinstance(open_engine("auto", sqlite, nobody), AutomaticEngine)
    for url, kind in ((pgvector_url, AutomaticEngine), (postgres_url, type(None))):
        database = create_engine(url)
        assert isinstance(open_engine("auto", database, None), kind)
        database.dispose()
