"""A network that breaks what PostgreSQL says, which has the vectors, too.

Whatever it does, an answer is whole or a refusal, and afterwards all are whole.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import sqlalchemy as sa
from databases import empty_database
from faulty_proxy import NO_FAULT, Fault, FaultyProxy, faulty_proxy
from problems import assert_problem
from servers import Postgres
from serving import Running, running, wait_until
from skies import index_sky

from twinjet.index.database import create_engine
from twinjet.index.vectors.pgvector import PgvectorEngine
from twinjet.model.encoder import load_encoder
from twinjet.service.app import create_app
from twinjet.service.config import Config

# Each asks the database several times; those of neighbours, the vectors there.
PATHS = (
    "/similar/T100%2B003?k=5",
    "/similar/T100%2B017?k=30&region=CIRCLE%200%20-14%205",
    "/similar?ra=355&dec=-17&radius_arcsec=30",
    "/sources?limit=40",
    "/sources?where=redshift%20%3E%200.3",
    "/generations",
)

# What there is to say while something is away.
REFUSALS = {"store-unavailable", "index-unavailable", "overloaded"}

CLIENTS = 4
REQUESTS = 40

# Of a request that waits for ever.
_FOREVER_S = 60.0

# What a connection has been told after some requests; when it is let in, 400.
_SOME_BYTES = 20_000

FAULTS = {
    "late": Fault("late", delays_s=(0.01, 0.05)),
    "later than anybody waits": Fault("late", delays_s=(3.0, 3.0)),
    "reset": Fault("reset", within_bytes=_SOME_BYTES),
    "reset at once": Fault("reset"),
    "cut": Fault("cut", within_bytes=_SOME_BYTES),
    "cut at once": Fault("cut"),
    "half-open": Fault("half-open"),
    "garbage": Fault("garbage", within_bytes=_SOME_BYTES),
    "garbage at once": Fault("garbage"),
}


@dataclass
class Place:
    """A service, the network before its database, and what it answers."""

    served: Running
    proxy: FaultyProxy
    whole: dict[str, bytes]
    """Answers in quiet, by path."""

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.served.url + path, timeout=_FOREVER_S)

    def said(self, path: str) -> str:
        """What came of a request: a whole answer, or the kind of a refusal."""
        answer = self.get(path)
        if answer.status_code == 200:
            assert answer.content == self.whole[path]
            return "whole"
        kind = str(answer.json()["type"]).rpartition("/")[2]
        assert kind in REFUSALS, answer.text
        assert_problem(answer, 503, kind)
        return kind

    def is_well(self) -> bool:
        """Whether all who ask together have their answers, and nothing is amiss."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            said = {*clients.map(self.said, 2 * PATHS)}
        status = self.get("/readyz").json()["status"]
        return (said, status) == ({"whole"}, "ok")


@dataclass
class Network:
    """An index whose database is behind a proxy."""

    settings: dict[str, Any]
    """Of who asks through it."""
    proxy: FaultyProxy

    @contextmanager
    def service(self, config: Config, **settings: Any) -> Iterator[Place]:
        told = config.model_dump() | self.settings | settings
        with running(create_app(Config(**told))) as served:
            place = Place(served, self.proxy, {})
            for path in PATHS:
                answer = place.get(path)
                assert answer.status_code == 200, answer.text
                place.whole[path] = answer.content
            try:
                yield place
            finally:
                # What waits for ever would be waited for.
                self.proxy.hang_up()


@pytest.fixture(scope="module")
def network(
    pgvector: Postgres,
    sky: Path,
    config: Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Network]:
    home = tmp_path_factory.mktemp("behind")
    assert config.encoder is not None
    encoder = load_encoder(config.encoder)
    with empty_database(pgvector.url) as url:
        database = create_engine(url)
        engine = PgvectorEngine(database)
        index_sky(sky, home, encoder, database_url=url, engine=engine)
        database.dispose()
        server = sa.make_url(url)
        assert server.port is not None
        with faulty_proxy(server.port) as proxy:
            behind = server.set(port=proxy.port)
            settings = {
                "home": home,
                "database_url": behind.render_as_string(hide_password=False),
                "vectors": "pgvector",
                # A place for each of those that ask at once.
                "reads": 16,
                # A length of a message that was garbled is waited for.
                "database_stall_s": 3.0,
            }
            yield Network(settings, proxy)


@pytest.fixture(scope="module")
def place(network: Network, config: Config) -> Iterator[Place]:
    with network.service(config) as place:
        yield place


@pytest.mark.parametrize("name", FAULTS)
def test_behind_a_faulty_network_answers_are_whole_or_refused(
    place: Place, name: str
) -> None:
    wait_until(place.is_well)
    before = place.proxy.struck
    paths = [PATHS[number % len(PATHS)] for number in range(REQUESTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        # The first are asked while all is well.
        asked = [clients.submit(place.said, path) for path in paths]
        place.proxy.switch(FAULTS[name])
        try:
            while not all(one.done() for one in asked):
                assert place.get("/livez").status_code == 200
                time.sleep(0.02)
        finally:
            place.proxy.switch(NO_FAULT)
    said = Counter(one.result() for one in asked)
    assert place.proxy.struck > before
    assert ({*said} == {"whole"}) == (name == "late"), said
    wait_until(place.is_well)
