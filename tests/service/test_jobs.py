"""Jobs over HTTP: who may, what is refused, what is told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from problems import assert_problem
from skies import small_encoder, write_sky

from twinjet.index.database import create_engine
from twinjet.index.jobs.worker import Worker
from twinjet.index.store import SourceStore
from twinjet.service.app import create_app
from twinjet.service.config import Config

KEY = "a key of sixteen characters or more"
ADMIN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    write_sky(tmp_path / "sky", 6)
    small_encoder(views=1).save(tmp_path)
    monkeypatch.setenv("TWINJET_ADMIN_KEY", KEY)
    return Config(
        home=tmp_path / "home", encoder=tmp_path / "small.json", refresh_s=0.05
    )


@pytest.fixture
def client(config: Config) -> Iterator[TestClient]:
    with TestClient(create_app(config)) as client:
        yield client


@pytest.fixture
def worker(client: TestClient, config: Config) -> Iterator[Worker]:
    store = SourceStore(create_engine(config.metadata_url))
    working = Worker(
        config.files, store, config.jobs_url, encoder=lambda: small_encoder(views=1)
    )
    with working:
        yield working
    store.close()


def body(config: Config, **more: object) -> dict[str, object]:
    return {"cutouts": str(config.home.parent / "sky"), **more}


def test_a_job_is_asked_for_followed_and_served(
    client: TestClient, config: Config, worker: Worker
) -> None:
    answer = client.post("/jobs/reindex", json=body(config), headers=ADMIN)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["Location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert (job["catalogue"], job["state"]) == ("sky", "queued")
    with client.stream("GET", job["links"]["events"], headers=ADMIN) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen = [
            json.loads(line.removeprefix("data:"))
            for line in stream.iter_lines()
            if line.startswith("data:")
        ]
    assert seen[-1]["state"] == "succeeded", seen[-1]
    assert seen[-1]["links"]["generation"] == "/generations/1"
    assert client.get(job["links"]["self"], headers=ADMIN).json() == seen[-1]
    listed = client.get("/jobs", headers=ADMIN).json()["jobs"]
    assert [one["id"] for one in listed] == [job["id"]]
    report = client.get("/generations/1").json()["report"]
    assert {check["passed"] for check in report["checks"]} == {True}
    for _ in range(100):
        if client.get("/readyz").json()["generation"] == 1:
            break
    assert client.get("/similar/T100%2B001").status_code == 200


def test_the_same_key_gives_the_same_job(client: TestClient, config: Config) -> None:
    headers = ADMIN | {"Idempotency-Key": "once"}
    first = client.post("/jobs/reindex", json=body(config), headers=headers).json()
    again = client.post("/jobs/reindex", json=body(config), headers=headers).json()
    assert again["id"] == first["id"]
    other = client.post("/jobs/reindex", json=body(config, force=True), headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")
    second = client.post("/jobs/reindex", json=body(config), headers=ADMIN)
    assert_problem(second, 409, "job-under-way")
    assert first["id"] in second.json()["detail"]
    ended = client.delete(f"/jobs/{first['id']}", headers=ADMIN).json()
    assert ended["state"] == "cancelled"
    third = client.post("/jobs/reindex", json=body(config), headers=ADMIN)
    assert third.status_code == 202


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another key"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs/reindex"),
        ("GET", "/jobs"),
        ("GET", "/jobs/x"),
        ("GET", "/jobs/x/events"),
        ("DELETE", "/jobs/x"),
        ("POST", "/generations/1/publish"),
    ],
)
def test_without_the_key_nothing_is_told(
    client: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, path, headers=headers, json={"cutouts": "x"})
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_a_service_without_an_admin_key_knows_none(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWINJET_ADMIN_KEY")
    with TestClient(create_app(Config(home=config.home))) as client:
        answer = client.post("/jobs/reindex", json=body(config), headers=ADMIN)
        assert_problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    ("sent", "parameter"),
    [
        ({}, "cutouts"),
        ({"cutouts": ""}, "cutouts"),
        ({"cutouts": "/x", "max_failed_fraction": 2}, "max_failed_fraction"),
        ({"cutouts": "/x", "pixel_scale_arcsec": 0}, "pixel_scale_arcsec"),
        ({"cutouts": "/x", "colour": 1}, "colour"),
        ({"cutouts": "/x\0x"}, "cutouts"),
        ({"cutouts": "sky"}, "cutouts"),
        ({"cutouts": "../sky"}, "cutouts"),
        ({"cutouts": "/x", "catalogue": "sky.csv"}, "catalogue"),
        ({"cutouts": "/x", "catalogue": "/sky\0.csv"}, "catalogue"),
        ({"cutouts": "/x", "encoder": "\0"}, "encoder"),
    ],
)
def test_what_cannot_be_a_job_is_refused(
    client: TestClient, sent: dict[str, object], parameter: str
) -> None:
    # As bytes, for not every client sends halves of characters.
    content = json.dumps(sent).encode("ascii")
    headers = ADMIN | {"Content-Type": "application/json"}
    answer = client.post("/jobs/reindex", content=content, headers=headers)
    assert_problem(answer, 422, "invalid-parameter")
    assert answer.json()["parameter"] == parameter


def test_a_place_that_nobody_understands_is_refused(client: TestClient) -> None:
    sent = {"cutouts": "gopher:/x"}
    answer = client.post("/jobs/reindex", json=sent, headers=ADMIN)
    assert_problem(answer, 422, "invalid-parameter")
    assert "gopher" in answer.json()["detail"]
    sent = {"cutouts": "/" + "x" * 4000}  # a name that no file system has
    answer = client.post("/jobs/reindex", json=sent, headers=ADMIN)
    assert_problem(answer, 422, "invalid-parameter")
    assert "File name too long" in answer.json()["detail"]
    assert_problem(client.get("/jobs/none", headers=ADMIN), 404, "unknown-job")
    assert_problem(client.get("/jobs/none/events", headers=ADMIN), 404, "unknown-job")
    assert_problem(client.delete("/jobs/none", headers=ADMIN), 404, "unknown-job")


def test_an_earlier_generation_is_published_again(
    client: TestClient, config: Config, worker: Worker
) -> None:
    for more in ({}, {"name": "other"}):
        answer = client.post("/jobs/reindex", json=body(config, **more), headers=ADMIN)
        *_, last = worker.jobs.follow(answer.json()["id"])
        assert last.state == "succeeded", last.error
    assert client.get("/generations/2").json()["current"]
    answer = client.post("/generations/1/publish", headers=ADMIN)
    assert (answer.status_code, answer.json()["current"]) == (200, True)
    missing = client.post("/generations/9/publish", headers=ADMIN)
    assert_problem(missing, 404, "unknown-generation")
    (config.home / "generations" / "g000002" / "vectors.npy").unlink()
    damaged = client.post("/generations/2/publish", headers=ADMIN)
    assert_problem(damaged, 503, "index-unavailable")
    assert client.get("/generations/1").json()["current"]
