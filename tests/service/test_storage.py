"""What disks do to a service: full, damaged, of another machine."""

import asyncio
import errno
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from homes import add_generation, make_home
from problems import assert_problem
from pydantic import SecretStr
from skies import small_encoder

from twinjet.index.errors import StoreError
from twinjet.index.filesystem import kind_of, refuse_network
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.quarantine import damage_of
from twinjet.index.retention import retire
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.resources import Resources

KEY = "0123456789abcdef"


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """A home of two generations, of sources S..., and an encoder."""
    make_home(tmp_path / "home")
    small_encoder(views=1).save(tmp_path)
    return Config(
        home=tmp_path / "home",
        encoder=tmp_path / "small.json",
        refresh_s=3600,
        admin_key=SecretStr(KEY),
    )


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("path", ["/similar", "/embeddings"])
def test_an_upload_that_finds_no_room_is_a_507(
    settings: Config, monkeypatch: pytest.MonkeyPatch, error: int, path: str
) -> None:
    def full(_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", full)
    with TestClient(create_app(settings)) as client:
        answer = client.post(path, files={"file": ("a.fits", bytes(2**21))})
        assert_problem(answer, 507, "storage-full")


def test_a_damaged_database_is_said_and_answers_nothing(settings: Config) -> None:
    path = settings.home / "twinjet.sqlite"
    path.write_bytes(bytes(100) + path.read_bytes()[100:])
    with TestClient(create_app(settings)) as client:
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert "twinjet db restore" in ready.json()["trouble"]
        for one in ("/similar/J2000%2B0", "/sources", "/generations", "/sessions"):
            answer = client.get(one)
            assert_problem(answer, 503, "store-damaged")
            assert "twinjet db restore" in answer.json()["detail"]
        asked = {"Authorization": f"Bearer {KEY}"}
        assert client.get("/jobs", headers=asked).status_code == 503


def test_a_database_that_is_damaged_while_it_is_served_is_noticed(
    settings: Config,
) -> None:
    with TestClient(create_app(settings)) as client:
        assert client.get("/similar/J2000%2B0").status_code == 200
        path = settings.home / "twinjet.sqlite"
        for end in ("", "-wal", "-shm"):
            part = path.with_name(path.name + end)
            if part.exists():
                part.write_bytes(os.urandom(part.stat().st_size))
        client.app.state.resources.store.engine.dispose()  # type: ignore[attr-defined]
        assert_problem(client.get("/similar/J2001%2B0"), 503, "store-damaged")
        assert client.get("/readyz").json()["status"] == "unavailable"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_is_taken_away_is_neither_read_nor_written(
    settings: Config, *, replaced: bool
) -> None:
    asked = {"Authorization": f"Bearer {KEY}"}
    known = {"file": ("a.csv", b"id\nJ1\n")}
    with TestClient(create_app(settings)) as client:
        assert client.get("/jobs", headers=asked).status_code == 200
        answer = client.put("/lists/before", files=known, headers=asked)
        assert answer.status_code == 200
        jobs, metadata = (
            settings.home / name for name in ("jobs.sqlite", "twinjet.sqlite")
        )
        for path, url in ((jobs, "/jobs"), (metadata, "/similar/J2000%2B0")):
            data = path.read_bytes()
            # Its inode is kept: another file may not have it.
            path.rename(path.with_name("away"))
            if replaced:
                path.write_bytes(data)
            answer = client.get(url, headers=asked)
            assert_problem(answer, 503, "store-damaged")
            assert "Restart the service" in answer.json()["detail"]
            ready = client.get("/readyz").json()
            assert (ready["status"] == "unavailable") == (path == metadata)
        answer = client.put("/lists/after", files=known, headers=asked)
        assert_problem(answer, 503, "store-damaged")


def test_who_has_a_database_alone_keeps_nobody_waiting_for_long(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.service.resources._BUSY_S", 0.05)
    asked = {"Authorization": f"Bearer {KEY}"}
    known = {"file": ("a.csv", b"id\nJ1\n")}
    with TestClient(create_app(settings)) as client:
        assert client.put("/lists/a", files=known, headers=asked).status_code == 200
        path = settings.home / "twinjet.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = client.put("/lists/a", files=known, headers=asked)
            assert_problem(answer, 503, "store-unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert client.get("/lists/a").status_code == 200
            other.execute("ROLLBACK")
        assert client.put("/lists/a", files=known, headers=asked).status_code == 200


def test_jobs_that_are_held_meanwhile_keep_nobody_waiting_for_long(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.index.database._LOOK_S", 0.05)
    asked = {"Authorization": f"Bearer {KEY}"}
    with TestClient(create_app(settings)) as client:
        assert client.get("/jobs", headers=asked).status_code == 200
        path = settings.home / "jobs.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = client.get("/jobs", headers=asked)
            assert_problem(answer, 503, "store-unavailable")
            other.execute("ROLLBACK")
        assert client.get("/jobs", headers=asked).status_code == 200


def test_jobs_that_somebody_has_alone_are_not_damaged(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.index.database._LOOK_S", 0.05)
    path = settings.home / "jobs.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE a (b)")
        other.execute("BEGIN EXCLUSIVE")
        with TestClient(create_app(settings)) as client:
            answer = client.get("/jobs", headers={"Authorization": f"Bearer {KEY}"})
            assert_problem(answer, 503, "store-unavailable")
            assert "locked by another program" in answer.json()["detail"]


def test_damaged_jobs_leave_searches_alone(settings: Config) -> None:
    (settings.home / "jobs.sqlite").write_bytes(b"no database" * 500)
    with TestClient(create_app(settings)) as client:
        asked = {"Authorization": f"Bearer {KEY}"}
        assert_problem(client.get("/jobs", headers=asked), 503, "store-damaged")
        assert client.get("/similar/J2000%2B0").status_code == 200
        assert client.get("/readyz").json()["generation"] == 2


def test_a_damaged_generation_is_marked_stays_and_is_told(settings: Config) -> None:
    folder = settings.home / "generations" / "g000002"
    path = folder / "isolation.npy"
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for _ in range(2):  # a server, and one that is started later
        with TestClient(create_app(settings)) as client:
            ready = client.get("/readyz").json()
            assert (ready["status"], ready["generation"]) == ("degraded", 1)
            listed = client.get("/generations").json()["generations"]
            assert "isolation.npy" in listed[0]["damage"]
            assert listed[1]["damage"] is None
    home = Home(settings.home)
    with closing(open_store(home, home.database_url)) as store:
        for _ in range(3):
            add_generation(home, store)
        retire(home, store, keep=1)
        kept = {generation.number for generation in store.generations()}
        assert {2, 5} <= kept
        assert not {3, 4} & kept
        store.publish(2)
    assert damage_of(folder) is not None
    path.write_bytes(whole)  # from a backup, say
    with TestClient(create_app(settings)) as client:
        assert client.get("/readyz").json()["generation"] == 2
        listed = client.get("/generations").json()["generations"]
        assert {generation["damage"] for generation in listed} == {None}
    assert not (folder / "damaged.json").exists()


def test_files_of_a_later_version_are_left_to_it(settings: Config) -> None:
    path = settings.home / "generations" / "g000002" / "manifest.json"
    home = Home(settings.home)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with closing(open_store(home, home.database_url)) as store:
        from twinjet.index.durable import file_digest  # noqa: PLC0415 - for this one

        store.seal(2, file_digest(path))
    held = Resources(settings)
    held.refresh()
    assert held.served.generation.number == 1
    assert "format 2" in str(held.trouble)
    held.close()
    assert not (path.parent / "damaged.json").exists()


def test_what_nobody_has_foreseen_does_not_end_the_look_for_generations(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Resources(settings.model_copy(update={"refresh_s": 0.001}))
    held.refresh()
    looks = 0
    real = held.store.current

    def failing() -> object:
        nonlocal looks
        looks += 1
        if looks <= 3:
            msg = "a fault of ours"
            raise RuntimeError(msg)
        return real()

    monkeypatch.setattr(held.store, "current", failing)
    troubles = []

    async def watch() -> None:
        def then() -> None:
            troubles.append(held.trouble)
            if looks > 4:
                watching.cancel()

        watching = asyncio.ensure_future(held.refresh_for_ever(then))
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(watch())
    held.close()
    assert "a fault of ours" in str(troubles[0])
    assert troubles[-1] is None


MOUNTS = """\
22 1 0:20 / / rw - ext4 /dev/sda1 rw
23 22 0:21 / /data rw shared:1 - nfs4 server:/data rw
24 23 0:22 / /data/fast\\040disk rw - xfs /dev/sdb1 rw
25 22 0:23 / /home/me/far rw - fuse.sshfs me@there: rw
"""


def test_sqlite_on_another_machines_disk_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    kinds = {
        "/var/lib/twinjet": "ext4",
        "/data/home/twinjet.sqlite": "nfs4",
        "/data/fast disk/twinjet.sqlite": "xfs",
        "/database": "ext4",
        "/home/me/far/x": "fuse.sshfs",
    }
    for place, kind in kinds.items():
        assert kind_of(Path(place), mounts) == kind
    with pytest.raises(StoreError, match=r"TWINJET_HOME.*PostgreSQL"):
        refuse_network(Path("/data/home/twinjet.sqlite"), mounts)
    refuse_network(Path("/data/fast disk/twinjet.sqlite"), mounts)
    assert kind_of(tmp_path) is not None
