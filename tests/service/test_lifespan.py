"""What is there from the start is never looked through again for what nobody has."""

import gc

from fastapi.testclient import TestClient

from twinjet.service.app import create_app
from twinjet.service.config import Config

# Of the libraries; there are several hundred thousand.
_LIBRARIES = 100_000


def test_libraries_are_not_looked_through_for_garbage(config: Config) -> None:
    with TestClient(create_app(config)) as client:
        assert client.get("/readyz").is_success
        assert gc.get_freeze_count() > _LIBRARIES
    assert gc.get_freeze_count() == 0
