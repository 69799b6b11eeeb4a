"""A service over a small sky, with its lifespan."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from skies import index_sky, small_encoder, write_sky

from twinjet.service.app import create_app
from twinjet.service.config import Config


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sky")
    write_sky(folder, 40)
    return folder


@pytest.fixture(scope="session")
def config(sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    home = tmp_path_factory.mktemp("home")
    encoder = small_encoder()
    encoder.save(home / "encoder")
    index_sky(sky, home, encoder)
    return Config(
        home=home,
        encoder=home / "encoder" / "small.json",
        refresh_s=0.05,
        decoders=1,  # most applications of the tests are not sent any file
        anonymous="ingest",
    )


@pytest.fixture(scope="session")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small encoder of one view, for homes without cutouts."""
    folder = tmp_path_factory.mktemp("encoder")
    small_encoder(views=1).save(folder)
    return folder / "small.json"


@pytest.fixture
def fresh(config: Config) -> Iterator[Config]:
    """A home in which nobody has been counted yet."""
    yield config
    for path in config.home.glob("rates.sqlite*"):
        path.unlink()


@pytest.fixture(scope="session")
def client(config: Config) -> Iterator[TestClient]:
    # It is there until the last test: no need to look for generations all the time.
    app = create_app(config.model_copy(update={"refresh_s": 1.0}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def empty_client(tmp_path: Path, config: Config) -> Iterator[TestClient]:
    """A service with nothing to serve."""
    app = create_app(config.model_copy(update={"home": tmp_path}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
