"""Every refusal that the description declares can be had, one request for each."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from problems import assert_problem
from pydantic import SecretStr
from requirements import require
from skies import index_sky, write_sky
from starlette.types import Message
from starlette.types import Scope as Connection

from twinjet.index.api_keys import ApiKeys, Scope
from twinjet.index.retention import retire
from twinjet.index.schema import Base
from twinjet.model.encoder import load_encoder
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.resources import Resources

KEY = "a key of sixteen characters or more"
ADMIN = {"Authorization": f"Bearer {KEY}"}
NAME = "T100+003"
CUTOUT = "T003.fits"

Asked = dict[str, Any]
"""Arguments of `TestClient.request` besides the method."""


def _file(data: bytes) -> Asked:
    return {"files": {"file": ("a", data)}}


LABELS = "id,label\n" + "\n".join(f"T100+{n:03d},{'ab'[n % 2]}" for n in range(30))
SESSION = {"name": "second", "examples": [NAME]}
MARK = {"source_id": NAME, "label": "dislike", "version": 1}

# One request for each operation that has an answer, but for what is filled in below:
# the session that is there, and a cutout.
VALID: dict[str, Asked] = {
    "POST /similar/batch": {"json": {"ids": [NAME]}},
    "GET /similar/{source_id}": {},
    "GET /similar": {"params": {"ra": 351.5, "dec": -19.1, "radius_arcsec": 3600}},
    "POST /similar": {"json": {"like": [NAME]}},
    "POST /embeddings": {},
    "POST /probe": _file(LABELS.encode()),
    "GET /sources": {},
    "GET /sources/{source_id}": {},
    "GET /sources/{source_id}/cutout.fits": {},
    "GET /sources/{source_id}/cutout.png": {},
    "GET /generations": {},
    "GET /generations/{number}": {},
    "GET /generations/{number}/embeddings.parquet": {},
    "POST /generations/{number}/publish": {},
    "GET /encoders": {},
    "GET /encoders/{encoder_id}": {},
    "GET /outliers": {},
    "GET /metrics": {},
    "POST /jobs/reindex": {"json": {"cutouts": "/sky/first"}},
    "GET /jobs": {},
    "GET /jobs/{job_id}": {},
    "GET /jobs/{job_id}/events": {},
    "DELETE /jobs/{job_id}": {},
    "POST /sessions": {"json": SESSION},
    "GET /sessions": {},
    "GET /sessions/{session_id}": {},
    "PATCH /sessions/{session_id}": {"json": {"version": 1, "notes": "x"}},
    "DELETE /sessions/{session_id}": {},
    "GET /sessions/{session_id}/labels": {},
    "POST /sessions/{session_id}/labels": {"json": {"labels": [MARK]}},
    "GET /sessions/{session_id}/rounds": {},
    "GET /sessions/{session_id}/rounds/{number}": {},
    "PUT /sessions/{session_id}/rounds/{number}": {"json": {"count": 3}},
    "GET /sessions/{session_id}/candidates": {},
    "GET /sessions/{session_id}/export": {},
    "GET /lists": {},
    "GET /lists/{name}": {},
    "PUT /lists/{name}": _file(b"id\nT100+005"),
    "DELETE /lists/{name}": {},
}

# Those that take a file.
FORMS = {
    *("POST /similar", "POST /similar/batch", "POST /embeddings", "POST /probe"),
    "PUT /lists/{name}",
}

NOBODY: dict[str, Asked] = {
    "GET /similar": {"params": {"ra": 1.0, "dec": -89.0}},
    "POST /similar": {"json": {"like": ["nobody"]}},
    "POST /similar/batch": {"params": {"generation": 99}},
    "GET /outliers": {"params": {"generation": 99}},
    "POST /sessions": {"json": SESSION | {"examples": ["nobody"]}},
}

CONFLICT: dict[str, Asked] = {
    "POST /jobs/reindex": {},  # a second one of the same catalogue
    "POST /sessions": {"json": SESSION | {"name": "first"}},
    "PATCH /sessions/{session_id}": {"json": {"version": 99, "notes": "y"}},
    "POST /sessions/{session_id}/labels": {"json": {"labels": [MARK | {"version": 9}]}},
    "PUT /sessions/{session_id}/rounds/{number}": {"json": {"count": 4}},
    "DELETE /lists/{name}": {},  # which the session leaves out
}

# Had elsewhere: a full line of uploads needs an encoder that is held up, which
# tests/service/test_pressure.py does; others need the store to look a key up, and
# nothing else, as in tests/service/test_access.py.
ELSEWHERE = {
    ("POST /embeddings", 503),
    ("GET /encoders", 503),
    ("GET /encoders/{encoder_id}", 503),
    ("GET /metrics", 503),
}


# Whoever watches the service asks these, and they have nothing to refuse.
HEALTH = {"GET /livez", "GET /readyz"}


def operations(config: Config) -> dict[str, set[int]]:
    """Declared refusals of each operation but those of its health."""
    paths = create_app(config).openapi()["paths"]
    found = {
        f"{method.upper()} {path}": {
            int(status)
            for status, told in operation["responses"].items()
            if "application/problem+json" in told.get("content", {})
        }
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert {name for name, statuses in found.items() if not statuses} == HEALTH
    return {name: statuses for name, statuses in found.items() if statuses}


class Service:
    """A service with a session, a list, a job, and a generation that is gone."""

    def __init__(self, client: TestClient, cutout: bytes) -> None:
        self.client = client
        self._cutout = cutout
        self._session = self._job = "none"
        put = self.request("PUT /lists/{name}")
        assert put.status_code == 200, put.text
        body = {"name": "first", "examples": [NAME], "exclude": ["left-out"]}
        self._session = client.post("/sessions", json=body).json()["session_id"]
        assert self.request("PUT /sessions/{session_id}/rounds/{number}").is_success
        self._job = self.request("POST /jobs/reindex").json()["id"]

    def request(self, name: str, **changed: Any) -> httpx.Response:
        """The valid request of an operation, with these arguments changed."""
        method, path = name.split(" ", 1)
        asked = VALID[name] | ({} if VALID[name] else self._uploaded(name))
        asked = {"url": self.path(path), "headers": ADMIN} | asked | changed
        answer: httpx.Response = self.client.request(method, **asked)
        return answer

    def new_key(self, scope: Scope, each_minute: int = 0) -> dict[str, str]:
        """Headers with a key that nobody has used."""
        resources: Resources = self.client.app.state.resources  # type: ignore[attr-defined]
        keys = ApiKeys(resources.store.engine)
        token = keys.create("a test", scope, requests_per_minute=each_minute)[1]
        return {"Authorization": f"Bearer {token}"}

    def label(self, label: str | None) -> None:
        """Label the one example anew."""
        told = self.request("GET /sessions/{session_id}/labels")
        assert told.status_code == 200, told.text
        marks = told.json()["labels"]
        [version] = [one["version"] for one in marks if one["source_id"] == NAME]
        body = {"labels": [MARK | {"label": label, "version": version}]}
        answer = self.request("POST /sessions/{session_id}/labels", json=body)
        assert answer.status_code == 200, answer.text

    def path(self, path: str, **other: str) -> str:
        """With what is there in the place of its parameters, or something else."""
        there = {"source_id": NAME, "session_id": self._session, "job_id": self._job}
        there |= {"name": "left-out", "encoder_id": "small"}
        there |= {"number": "1" if "sessions" in path else "2"} | other
        return path.format(**there)

    def _uploaded(self, name: str) -> Asked:
        return _file(self._cutout) if name == "POST /embeddings" else {}


@pytest.fixture
def service(sky: Path, config: Config, tmp_path: Path) -> Iterator[Service]:
    with served(sky, config, tmp_path, tmp_path / "home") as service:
        yield service


@contextmanager
def served(
    sky: Path,
    config: Config,
    folder: Path,
    home: Path,
    *,
    max_upload_bytes: int = 100_000,
) -> Iterator[Service]:
    """A service over a home that is made, of two skies in a folder."""
    assert config.encoder is not None
    for name, sources in (("earlier", 41), ("sky", 40)):
        write_sky(folder / name, sources)
        index_sky(folder / name, home, load_encoder(config.encoder))
    changed = {
        "home": home,
        "admin_key": SecretStr(KEY),
        "max_upload_bytes": max_upload_bytes,
        "body_stall_s": 0.5,
        "refresh_s": 3600,
    }
    app = create_app(config.model_copy(update=changed))
    with TestClient(app, raise_server_exceptions=False) as client:
        resources: Resources = app.state.resources
        retire(resources.config.files, resources.store, keep=1)
        yield Service(client, (sky / CUTOUT).read_bytes())


def unread(service: Service, name: str) -> httpx.Response:
    return service.request(name, params={"no_such_parameter": "1"})


def too_long(service: Service, name: str) -> httpx.Response:
    files = bytes(200_000)
    if "json" in VALID[name]:
        headers = ADMIN | {"Content-Type": "application/json"}
        return service.request(name, json=None, content=files, headers=headers)
    return service.request(name, **_file(files))


def broken_form(service: Service, name: str) -> httpx.Response:
    headers = ADMIN | {"Content-Type": "multipart/form-data"}
    sent = {"json": None, "files": None, "content": b"x", "headers": headers}
    return service.request(name, **sent)


def no_format(service: Service, name: str) -> httpx.Response:
    if name == "POST /embeddings":
        return service.request(name, **_file(b"no picture"))
    headers = {"Content-Type": "text/plain"}
    return service.request(name, json=None, content=b"x", headers=headers)


def unknown_key(service: Service, name: str) -> httpx.Response:
    return service.request(name, headers={"Authorization": "Bearer of nothing"})


def weak_key(service: Service, name: str) -> httpx.Response:
    return service.request(name, headers=service.new_key("read"))


def used_up_key(service: Service, name: str) -> httpx.Response:
    headers = service.new_key("admin", each_minute=1)
    service.request("GET /lists", headers=headers)
    return service.request(name, headers=headers)


def nobody(service: Service, name: str) -> httpx.Response:
    path = name.split(" ", 1)[1]
    if name in NOBODY:
        return service.request(name, **NOBODY[name])
    other = dict.fromkeys(("source_id", "session_id", "job_id", "name"), "nobody")
    number = "9" if "sessions" in path else "99"
    other |= {"encoder_id": "nobody", "number": number}
    return service.request(name, url=service.path(path, **other))


def gone(service: Service, name: str) -> httpx.Response:
    path = name.split(" ", 1)[1]
    if "{number}" in path:
        return service.request(name, url=service.path(path, number="1"))
    params = VALID[name].get("params", {}) | {"generation": 1}
    return service.request(name, params=params)


def conflict(service: Service, name: str) -> httpx.Response:
    if name in CONFLICT:
        return service.request(name, **CONFLICT[name])
    service.label(None)  # nothing is liked any more
    answer = service.request(name)
    service.label("example")
    return answer


PROVOKED: dict[int, Callable[[Service, str], httpx.Response]] = {
    400: broken_form,
    401: unknown_key,
    403: weak_key,
    404: nobody,
    409: conflict,
    410: gone,
    413: too_long,
    415: no_format,
    422: unread,
    429: used_up_key,
}


# Had by tests of their own.
BY_ITSELF = {408, 503, 507}


def test_each_declared_refusal_can_be_had(service: Service, config: Config) -> None:
    declared = set().union(*operations(config).values())
    assert declared == PROVOKED.keys() | BY_ITSELF
    faults = []
    for name, statuses in operations(config).items():
        for status in sorted(statuses & PROVOKED.keys()):
            answer = PROVOKED[status](service, name)
            kind = answer.headers.get("content-type")
            if (answer.status_code, kind) != (status, "application/problem+json"):
                told = f"{answer.status_code} {answer.text[:300]}"
                faults.append(f"{name} {status}: {told}")
    assert not faults, "\n".join(faults)


async def _stalled(app: Any, scope: Connection) -> int:
    """Status of a request whose body never comes."""
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def test_a_body_that_never_comes_is_refused_by_who_declares_it(
    service: Service, config: Config
) -> None:
    faults = []
    for name, statuses in operations(config).items():
        if 408 not in statuses:
            continue
        method, path = name.split(" ", 1)
        form = "json" not in VALID[name]
        kind = b"multipart/form-data; boundary=b" if form else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", b"100")]
        headers.append((b"authorization", ADMIN["Authorization"].encode()))
        path = service.path(path)
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "raw_path": path.encode(),
            "headers": headers,
            "scheme": "http",
            "client": ("test", 1),
            "server": ("test", 80),
            "http_version": "1.1",
        }
        assert service.client.portal is not None
        status = service.client.portal.call(_stalled, service.client.app, scope)
        if status != 408:
            faults.append(f"{name}: {status}")
    assert not faults


def test_with_a_broken_store_who_declares_it_says_so(
    service: Service, config: Config
) -> None:
    store = service.client.app.state.resources.store  # type: ignore[attr-defined]
    with store.engine.begin() as connection:
        connection.execute(sa.text("pragma foreign_keys = off"))
        Base.metadata.drop_all(connection)
    faults = []
    for name, statuses in operations(config).items():
        answer = service.request(name)
        told = answer.status_code == 503
        declared = 503 in statuses and (name, 503) not in ELSEWHERE
        if told != declared:
            faults.append(f"{name}: {answer.status_code} {answer.text[:200]}")
    assert not faults, "\n".join(faults)


# Where a form of more than a mebibyte waits on the disk.
_LARGE = bytes(2**21)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of 32 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None or os.geteuid():
        require("mounts", available=False, reason="only root can mount a disk")
        return
    command = [mount, "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require("mounts", available=done.returncode == 0, reason=done.stderr.strip())
    yield disk
    subprocess.run([unmount, "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte of a disk; gives the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


def test_on_a_full_disk_who_declares_it_says_so_and_has_changed_nothing(
    sky: Path,
    config: Config,
    tmp_path: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    home = small_disk / "home"
    with served(sky, config, tmp_path, home, max_upload_bytes=2**23) as service:
        unused = service.path("/lists/{name}", name="unused")
        assert service.request("PUT /lists/{name}", url=unused).is_success
        for file in home.glob("*.sqlite"):
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = kept(service)
        filler = fill(small_disk)
        asked = operations(config)
        del asked["GET /jobs/{job_id}/events"]  # which goes on until the job ends
        faults = []
        for name, statuses in asked.items():
            answer = asked_for_much(service, name)
            if (answer.status_code == 507) != (507 in statuses):
                faults.append(f"{name}: {answer.status_code} {answer.text[:200]}")
            elif 507 in statuses:
                assert_problem(answer, 507, "storage-full")
        assert not faults, "\n".join(faults)
        assert kept(service) == before
        filler.unlink()
        for name in asked:
            answer = asked_for_much(service, name)
            assert answer.status_code != 507, (name, answer.text)


def asked_for_much(service: Service, name: str) -> httpx.Response:
    """A request of an operation that has something to write; forms are large."""
    path = name.split(" ", 1)[1]
    if name in FORMS:
        return service.request(name, json=None, **_file(_LARGE))
    if name == "POST /jobs/reindex":
        return service.request(name, json={"cutouts": "/sky/second"})
    if name == "PATCH /sessions/{session_id}":
        version = service.request("GET /sessions/{session_id}").json()["version"]
        return service.request(name, json={"version": version, "notes": "z"})
    if name == "PUT /sessions/{session_id}/rounds/{number}":
        return service.request(name, url=service.path(path, number="2"))
    if name == "DELETE /lists/{name}":
        return service.request(name, url=service.path(path, name="unused"))
    return service.request(name)


def kept(service: Service) -> list[Any]:
    """What has been written, as the service says it."""
    names = ("/sessions", "/lists", "/jobs", "/generations")
    return [service.client.get(name, headers=ADMIN).json() for name in names]


# GET /similar/batch asks for a source of that name, GET /jobs/reindex for such a job.
OVERLAPPING = {"/similar/batch": {"GET"}, "/jobs/reindex": {"GET", "DELETE"}}


def test_other_methods_are_refused_and_those_of_the_path_are_named(
    client: TestClient, config: Config
) -> None:
    for path, declared in create_app(config).openapi()["paths"].items():
        there = {method.upper() for method in declared} | OVERLAPPING.get(path, set())
        if "GET" in there:
            there.add("HEAD")
        for method in ("HEAD", "OPTIONS", "TRACE", "PATCH", "PUT", "BREW"):
            if method not in there:
                answer = client.request(method, path.replace("{number}", "1"))
                assert answer.status_code == 405, (method, path)
                assert {*answer.headers["allow"].split(", ")} == there, path


def test_a_mistyped_parameter_is_refused_with_the_nearest(client: TestClient) -> None:
    answer = client.get("/similar/T100%2B003?wher=redshift>1")
    body = assert_problem(answer, 422, "invalid-parameter")
    assert body["parameter"] == "wher"
    assert "where is near" in body["detail"]
    answer = client.get("/similar/T100%2B003?exclude=a&exclude=b&k=1&k=2")
    body = assert_problem(answer, 422, "invalid-parameter")
    assert (body["parameter"], body["limit"], body["actual"]) == ("k", 1, 2)
