"""Disk full, a failing fsync, a database that goes away, damaged files.

Nothing wrong is served, the reason is said, and the job goes on when the fault is gone.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from fastapi.testclient import TestClient
from installations import Installation
from problems import assert_problem

from twinjet.index import durable
from twinjet.index.embed import embed_items
from twinjet.index.errors import GenerationDamagedError
from twinjet.index.generation import open_generation, unused
from twinjet.index.jobs.jobs import Job
from twinjet.index.keys import Item
from twinjet.index.reindex import assemble, check_build, embed_shard
from twinjet.service.app import create_app
from twinjet.service.config import Config

STEPS = "twinjet.index.jobs.steps"
WAIT = "twinjet.index.jobs.workflows.FIRST_WAIT_S"


# Files are the same whatever the database; and only a server can go away.
ON_SQLITE = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("installation", ["postgresql"], indirect=True)


class Postgres(Protocol):
    """What the fixture of this name can do."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def ended(installation: Installation, job: Job) -> Job:
    *_, last = installation.jobs.follow(job.id)
    return last


def served(installation: Installation) -> TestClient:
    config = Config(
        home=installation.home.path,
        database_url=installation.database_url,
        encoder=installation.card,
        refresh_s=0.05,
    )
    return TestClient(create_app(config))


@ON_SQLITE
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("times", [1, 10_000])
def test_a_disk_that_fails_keeps_the_earlier_generation(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, error: int, times: int
) -> None:
    """Once: the step is tried again. For ever: the job ends with the reason."""
    request = replace(installation.sky(8, name="one"), name="sky")
    with installation.worker():
        assert ended(installation, installation.jobs.submit(request)).report
    left = times
    original = durable.fsync_path

    def failing(path: Path) -> None:
        nonlocal left
        if "generations" in str(path) and left > 0:
            left -= 1
            raise OSError(error, os.strerror(error), str(path))
        original(path)

    request = replace(installation.sky(9, name="two", seed=2), name="sky")
    monkeypatch.setattr(durable, "fsync_path", failing)
    # The waits between tries are what they are; here nobody waits for them.
    monkeypatch.setattr(WAIT, 0.01)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(replace(request)))
        if times == 1:
            assert job.state == "succeeded", job.error
            return
        assert (job.state, os.strerror(error) in str(job.error)) == ("failed", True)
        folders = [p.name for p in installation.home.generations.iterdir()]
        assert folders == ["g000001"]  # the room is given back
        with served(installation) as client:
            assert client.get("/readyz").json()["generation"] == 1
            assert client.get("/similar/T100%2B001").status_code == 200
        left = 0  # the disk has room again
        job = ended(installation, installation.jobs.submit(request))
        assert job.state == "succeeded", job.error
        assert job.report is not None
        assert job.report["embedded"] == 0
    folders = sorted(p.name for p in installation.home.generations.iterdir())
    assert folders == ["g000001", f"g{job.report['number']:06d}"]


def test_a_damaged_shard_is_made_again(installation: Installation) -> None:
    request = installation.sky(8)
    with installation.worker():
        assert ended(installation, installation.jobs.submit(request)).report
        first, second = sorted(installation.home.shards.rglob("*.parquet"))
        data = bytearray(first.read_bytes())
        data[len(data) // 2] ^= 0xFF
        first.write_bytes(data)
        second.unlink()
        job = ended(
            installation, installation.jobs.submit(replace(request, name="again"))
        )
    assert job.report is not None, job.error
    assert (job.report["embedded"], job.report["count"]) == (8, 8)


def test_a_shard_that_is_damaged_before_it_is_read_is_made_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = installation.sky(8)
    left = 1

    def damaging(*arguments: object, **named: object) -> object:
        nonlocal left
        if left > 0:
            left -= 1
            for shard in installation.home.shards.rglob("*.parquet"):
                shard.write_bytes(b"PAR1")
        return assemble(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(f"{STEPS}.assemble", damaging)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
        assert job.report is not None, job.error
        assert (job.report["count"], job.report["embedded"]) == (8, 8)
        left = 10_000
        job = ended(
            installation, installation.jobs.submit(replace(request, name="other"))
        )
        assert (job.state, "damaged 3 times" in str(job.error)) == ("failed", True)


@ON_SQLITE
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(
            bytes([*path.read_bytes()[:-9], path.read_bytes()[-9] ^ 1])
            + path.read_bytes()[-8:]
        ),
    ],
    ids=["shorter", "longer", "gone", "one bit"],
)
@pytest.mark.parametrize("name", ["vectors.npy", "index.faiss", "manifest.json"])
def test_a_damaged_generation_is_not_published(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: Callable[[Path], object],
) -> None:
    request = installation.sky(6)

    def damaging(*arguments: object, **named: object) -> object:
        for folder in installation.home.generations.glob("g*"):
            (folder / name).chmod(0o644)
            damage(folder / name)
        return check_build(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(f"{STEPS}.check_build", damaging)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
        if name == "manifest.json" and job.state == "succeeded":
            # Spaces at the end of JSON are no damage.
            current = installation.store.current()
            assert current is not None
            open_generation(installation.home.generations / current.folder)
            return
        assert job.state == "failed"
        assert "files" in str(job.error)
        assert installation.store.current() is None
        monkeypatch.setattr(f"{STEPS}.check_build", check_build)
        job = ended(installation, installation.jobs.submit(request))
        assert job.state == "succeeded", job.error


@ON_POSTGRESQL
def test_a_database_that_goes_away_is_waited_for(
    installation: Installation, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at once in the middle of a job and started again some seconds later."""
    first = replace(installation.sky(6, name="first", seed=1), name="sky")
    with installation.worker():
        assert ended(installation, installation.jobs.submit(first)).report
    second = replace(installation.sky(16), name="sky")
    reached = threading.Event()

    def slow(*arguments: object, **named: object) -> object:
        if arguments[1] == 2:
            reached.set()
            time.sleep(1.0)
        return embed_shard(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(f"{STEPS}.embed_shard", slow)
    with installation.worker(), served(installation) as client:
        job = installation.jobs.submit(second)
        assert reached.wait(60)
        postgres.stop()
        try:
            assert client.get("/livez").status_code == 200
            answer = client.get("/similar/T100%2B001")
            assert_problem(answer, 503, "store-unavailable")
            time.sleep(2.0)
            assert client.get("/readyz").json()["status"] == "degraded"
        finally:
            postgres.start()
        last = ended(installation, job)
        assert last.state == "succeeded", last.error
        for _ in range(200):
            if client.get("/readyz").json()["generation"] == 2:
                break
            time.sleep(0.05)
        assert client.get("/similar/T100%2B015").status_code == 200


def test_a_generation_that_is_open_is_not_removed(installation: Installation) -> None:
    requests = [
        replace(installation.sky(4, name=f"s{n}", seed=n), name="sky", force=True)
        for n in range(6)
    ]
    with installation.worker():
        assert ended(installation, installation.jobs.submit(requests[0])).report
        held = open_generation(installation.home.generations / "g000001")
        vectors = np.array(held.vectors)
        for request in requests[1:5]:
            assert ended(installation, installation.jobs.submit(request)).report
        folders = sorted(p.name for p in installation.home.generations.iterdir())
        assert folders == ["g000001", "g000003", "g000004", "g000005"]
        np.testing.assert_array_equal(held.vectors, vectors)
        assert installation.store.count(1) == 4
        with unused(installation.home.generations / "g000001") as free:
            assert not free
        del held
        assert ended(installation, installation.jobs.submit(requests[5])).report
    folders = sorted(p.name for p in installation.home.generations.iterdir())
    assert folders == ["g000004", "g000005", "g000006"]
    with pytest.raises(GenerationDamagedError):
        open_generation(installation.home.generations / "g000001")


@ON_SQLITE
def test_a_shard_that_could_not_be_written_is_not_embedded_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for three tries; what was embedded waits in memory."""
    request = installation.sky(8)
    left, embedded = 3, []
    original = durable.fsync_path

    def failing(path: Path) -> None:
        nonlocal left
        if "shards" in str(path) and left > 0:
            left -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(path)

    def counting(items: Sequence[Item], **named: object) -> object:
        embedded.append(len(items))
        return embed_items(items, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(durable, "fsync_path", failing)
    monkeypatch.setattr("twinjet.index.reindex.embed_items", counting)
    monkeypatch.setattr(WAIT, 0.01)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
    assert job.report is not None, job.error
    assert (job.report["count"], left, embedded) == (8, 0, [4, 4])
