"""A file that brings its decoder down, or takes too much: one answer, no more."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from decoders import ODD, odd
from fastapi import FastAPI
from fastapi.testclient import TestClient
from oddities import plain
from problems import assert_problem
from serving import wait_until

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.decoding.sandbox import IMAGE


@contextmanager
def served_by(program: Sequence[str], config: Config) -> Iterator[TestClient]:
    """A service whose decoders run another program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twinjet.service.resources.IMAGES", odd(program=program))
        with TestClient(create_app(config)) as client:
            yield client


def app_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


@pytest.mark.parametrize("path", ["/similar", "/embeddings"])
def test_the_answer_names_the_limit_and_the_log_the_request(
    config: Config, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with served_by(ODD, config) as client:
        for deed, limit in ((b"crash", None), (b"allocate", IMAGE.room_bytes)):
            caplog.clear()
            name = {"X-Request-ID": "ticket-17"}
            refused = client.post(path, files={"file": deed}, headers=name)
            body = assert_problem(refused, 422, "decode-failed")
            assert body.get("limit") == limit
            told = [r for r in caplog.records if "is replaced" in r.getMessage()]
            assert [r.levelname for r in told] == ["WARNING"]
            assert "ticket-17" in told[0].getMessage()
        assert client.post(path, files={"file": plain()}).status_code == 200


def test_of_several_files_the_one_is_named(config: Config) -> None:
    with served_by(ODD, config) as client:
        files = [("like", ("a.fits", plain())), ("unlike", ("b.fits", b"crash"))]
        refused = client.post("/similar", files=files)
        body = assert_problem(refused, 422, "decode-failed")
        assert body["parameter"] == "unlike[0]"


def test_without_decoders_uploads_are_refused_and_searches_go_on(
    config: Config,
) -> None:
    with served_by((*ODD, "--never"), config) as client:
        # The first may wait for a start that comes to nothing.
        decoders = app_of(client).state.resources.inference._decoders
        wait_until(lambda: decoders._retry_at is not None)
        refused = client.post("/similar", files={"file": plain()})
        assert_problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/similar/T100%2B003").status_code == 200
