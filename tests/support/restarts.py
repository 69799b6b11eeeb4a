"""A service that is started anew."""

from contextlib import ExitStack

from fastapi.testclient import TestClient

from twinjet.service.app import create_app
from twinjet.service.config import Config


class Service:
    """A service that can be started anew."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._open = ExitStack()
        self.start()

    def start(self) -> None:
        """Start it, again if it runs."""
        self._open.close()
        self.client = self._open.enter_context(TestClient(create_app(self._config)))

    def close(self) -> None:
        """End it."""
        self._open.close()
