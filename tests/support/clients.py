"""Applications that are asked without a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from twinjet.service.app import create_app
from twinjet.service.config import Config


@contextmanager
def client_of(
    config: Config, peer: str = "192.0.2.1", **settings: Any
) -> Iterator[TestClient]:
    """Asks an application with other settings from an address, without a server."""
    app = create_app(Config(**(config.model_dump() | settings)))
    with TestClient(app, raise_server_exceptions=False, client=(peer, 50000)) as client:
        yield client
