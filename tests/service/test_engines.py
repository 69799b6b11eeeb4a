"""A service whose vectors are in another server, which may go away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_twinjet
from fastapi.testclient import TestClient
from problems import assert_problem
from servers import Milvus, free_port
from skies import index_sky

from twinjet.index.database import create_engine
from twinjet.index.vectors.pgvector import PgvectorEngine
from twinjet.service.app import create_app
from twinjet.service.config import Config


@pytest.fixture
def home(
    tmp_path: Path,
    config: Config,
    pgvector_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Of an installation with its vectors in pgvector, for every process."""
    monkeypatch.setenv("TWINJET_DATABASE_URL", pgvector_url)
    monkeypatch.setenv("TWINJET_VECTORS", "pgvector")
    monkeypatch.setenv("TWINJET_ENCODER", str(config.encoder))
    monkeypatch.setenv("TWINJET_WORKERS", "0")
    # As the other home was made: OpenVINO's last bits are others.
    monkeypatch.setenv("TWINJET_ENGINE", "torch")
    return tmp_path / "home"


@pytest.fixture
def engine(pgvector_url: str) -> Iterator[PgvectorEngine]:
    database = create_engine(pgvector_url)
    yield PgvectorEngine(database)
    database.dispose()


def test_commands_and_routes_search_in_pgvector(
    home: Path, sky: Path, engine: PgvectorEngine, client: TestClient
) -> None:
    run_twinjet("index", sky, home=home)
    (name,) = engine.loaded()
    assert name.startswith("g000001_")
    found = run_twinjet("search", "T100+003", home=home)
    app = create_app(Config(home=home))
    with TestClient(app, raise_server_exceptions=False) as pg:
        asked = "/similar/T100%2B003?k=5"
        ours = client.get(asked).json()["neighbours"]
        theirs = pg.get(asked).json()["neighbours"]
        assert [n["similarity"] for n in theirs] == [n["similarity"] for n in ours]
        assert theirs[0]["source"]["source_id"] in found
        # What is searched is really over there.
        engine.drop(name)
        body = assert_problem(pg.get(asked), 503, "index-unavailable")
        assert "pgvector" in body["detail"]
        app.state.resources.refresh()
        health = pg.get("/readyz").json()
        assert health["status"] == "unavailable"
        assert "0 vectors in pgvector" in health["trouble"]
        run_twinjet("rollback", 1, home=home)
        assert engine.loaded() == [name]
        app.state.resources.refresh()
        assert pg.get("/readyz").json()["status"] == "ok"
        assert pg.get(asked).json()["neighbours"] == theirs
    assert "T100" in run_twinjet("search", "T100+003", home=home)


def test_while_its_engine_is_away_a_service_is_degraded(
    tmp_path: Path, sky: Path, config: Config, milvus: Milvus
) -> None:
    away = config.model_copy(
        update={"vectors": "milvus", "milvus_uri": milvus.uri, "home": tmp_path / "m"}
    )
    app = create_app(away)
    with TestClient(app, raise_server_exceptions=False) as client:
        held = app.state.resources
        held.vector_engine._timeout_s = 1
        index_sky(sky, away.home, held.inference.encoder, engine=held.vector_engine)
        held.refresh()
        assert client.get("/readyz").json()["status"] == "ok"
        milvus.freeze()
        try:
            held.refresh()
            body = client.get("/readyz").json()
            assert (body["status"], body["generation"]) == ("degraded", 1)
            assert "Milvus does not answer" in body["trouble"]
            problem = client.get("/similar/T100%2B003")
            assert_problem(problem, 503, "index-unavailable")
        finally:
            milvus.thaw()
        held.refresh()
        assert client.get("/readyz").json()["status"] == "ok"
        assert client.get("/similar/T100%2B003").status_code == 200


def test_without_its_engine_a_service_starts_and_says_what_is_missing(
    config: Config,
) -> None:
    away = config.model_copy(
        update={
            "vectors": "milvus",
            "milvus_uri": f"http://127.0.0.1:{free_port()}",
        }
    )
    with TestClient(create_app(away), raise_server_exceptions=False) as client:
        body = assert_problem(
            client.get("/similar/T100%2B003"), 503, "index-unavailable"
        )
        assert "Milvus does not answer" in body["detail"]
