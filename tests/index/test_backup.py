"""Backups under writes, restores that are whole or nothing, and what a check finds."""

import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import empty_database
from homes import add_generation, faults_of, make_home, truth
from requirements import require
from servers import Postgres, running_postgres
from serving import wait_until

from twinjet.index.database import create_engine
from twinjet.index.discovery.session import Change
from twinjet.index.discovery.sessions import SessionStore
from twinjet.index.durable import file_digest
from twinjet.index.errors import BackupError, StoreError
from twinjet.index.home import Home, system_url
from twinjet.index.locks import if_unleased
from twinjet.index.opening import open_store
from twinjet.index.published import open_published
from twinjet.index.rates import Rates
from twinjet.index.retention import retire
from twinjet.index.row_digest import digest_of_rows
from twinjet.index.search import Searcher
from twinjet.index.store import SourceStore
from twinjet.index.upkeep import restore as restoring
from twinjet.index.upkeep.backup import _hold_all, _Holds, back_up
from twinjet.index.upkeep.inspection import Finding, inspect
from twinjet.index.upkeep.restore import restore


@pytest.fixture
def home(tmp_path: Path) -> Home:
    make_home(tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[SourceStore]:
    with closing(open_store(home, home.database_url)) as opened:
        yield opened


@pytest.fixture
def backup(home: Home, store: SourceStore, tmp_path: Path) -> Path:
    back_up(home, store, jobs_url(home), tmp_path / "backup")
    return tmp_path / "backup"


def jobs_url(home: Home) -> str:
    return system_url(home.database_url, home.path)


def answers_rightly(home: Home, url: str, number: int) -> bool:
    with closing(open_store(home, url, look=True)) as opened:
        current = opened.current()
        assert current is not None
        assert current.number == number
        searcher = Searcher(open_published(current, home, opened), opened)
        return list(faults_of(searcher, {number: truth(number)})) == []


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def damaged(home: Home) -> list[Finding]:
    found = inspect(home, home.database_url, jobs_url(home))
    return [finding for finding in found if finding.state == "damaged"]


def make_sessions(home: Home, stop: threading.Event) -> None:
    """Begin sessions with a label and delete them, again and again."""
    sessions = SessionStore(create_engine(home.database_url))
    mark = Change("J1000+0", 10.0, 20.0, "like")
    while not stop.is_set():
        made = sessions.create("hunt", notes="", exclude=[], changes=[mark])
        sessions.delete(made.session_id)


def assert_restored(place: Path, other: Home, current: int) -> None:
    """What a backup holds answers in another home; both are gone then."""
    restore(place, other, other.database_url)
    assert answers_rightly(other, other.database_url, current)
    assert contents(place / "generations") == contents(other.generations)
    assert damaged(other) == []
    shutil.rmtree(place)
    shutil.rmtree(other.path)


def test_backups_under_writes_give_the_same_answers_elsewhere(
    home: Home, store: SourceStore, tmp_path: Path
) -> None:
    """Up to twenty, while generations are published and retired and labels come."""
    stop = threading.Event()
    faults: list[BaseException] = []

    def publish() -> None:
        try:
            with closing(open_store(home, home.database_url)) as mine:
                # Twenty a second: a generation may go before it can be held.
                while not stop.wait(0.05):
                    add_generation(home, mine)
                    retire(home, mine, keep=2)
        except BaseException as exc:  # noqa: BLE001 - any fault is one
            faults.append(exc)

    def label() -> None:
        try:
            make_sessions(home, stop)
        except BaseException as exc:  # noqa: BLE001 - any fault is one
            faults.append(exc)

    writers = [threading.Thread(target=job) for job in (publish, label)]
    for writer in writers:
        writer.start()
    try:
        seen = set()
        for turn in range(20):
            place = tmp_path / f"backup{turn}"
            made = back_up(home, store, jobs_url(home), place)
            if made.left_out:  # removed faster than it could be held, and said so
                shutil.rmtree(place)
                continue
            assert made.current is not None
            seen.add(made.current)
            assert_restored(place, Home(tmp_path / f"other{turn}"), made.current)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert faults == []
    assert len(seen) > 1


def test_a_backup_is_whole_or_not_there(
    home: Home, store: SourceStore, tmp_path: Path
) -> None:
    path = home.generations / "g000002" / "vectors.npy"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    made = back_up(home, store, jobs_url(home), tmp_path / "one")
    assert list(made.left_out) == ["g000002"]
    assert list(made.generations) == ["g000001"]
    (home.generations / "g000001" / "index.faiss").unlink()
    with pytest.raises(BackupError, match="no generation is whole"):
        back_up(home, store, jobs_url(home), tmp_path / "two")
    with pytest.raises(BackupError, match="already"):
        back_up(home, store, jobs_url(home), tmp_path / "one")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "one"]


@pytest.mark.parametrize(
    ("largest", "told"),
    [("database", "cannot be copied to"), ("vectors", "cannot be written")],
)
def test_without_room_there_is_no_backup(
    home: Home, store: SourceStore, tmp_path: Path, largest: str, told: str
) -> None:
    """What cannot be written is nothing that was damaged already."""
    database = Path(store.engine.url.database or "").stat().st_size
    vectors = max(p.stat().st_size for p in home.generations.rglob("*.npy"))
    room = {"database": database, "vectors": vectors}[largest] - 1
    if largest == "vectors":
        assert database <= room, "the copy of the database would fail first"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(BackupError, match=told):
            back_up(home, store, jobs_url(home), tmp_path / "backup")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]


def test_a_backup_lies_outside_of_its_home(
    backup: Path, home: Home, store: SourceStore, tmp_path: Path
) -> None:
    with pytest.raises(BackupError, match="in the home itself"):
        back_up(home, store, jobs_url(home), home.path / "backup")
    other = Home(tmp_path / "other")
    other.path.mkdir()
    backup.rename(other.path / "backup")
    with pytest.raises(BackupError, match="in the home itself"):
        restore(other.path / "backup", other, other.database_url)
    assert (other.path / "backup" / "backup.json").exists()


@pytest.mark.parametrize("part", ["file", "gone", "list", "seal", "elsewhere"])
def test_a_damaged_backup_is_not_restored(
    backup: Path, tmp_path: Path, part: str
) -> None:
    path = backup / "generations" / "g000001" / "vectors.npy"
    if part == "file":
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif part == "gone":
        path.unlink()
    elif part == "seal":
        (backup / "backup.json.sha256").write_text("0\n")
    else:
        written = json.loads((backup / "backup.json").read_text())
        if part == "elsewhere":
            written["files"]["../escaped"] = written["files"]["home.id"]
        else:
            written["current"] = 1
        (backup / "backup.json").write_text(json.dumps(written))
        if part == "elsewhere":
            seal = file_digest(backup / "backup.json")
            (backup / "backup.json.sha256").write_text(seal)
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError):
        restore(backup, other, other.database_url)
    assert not other.path.exists() or list(other.path.iterdir()) == []


def test_a_restore_needs_an_empty_home(
    backup: Path, home: Home, store: SourceStore, tmp_path: Path
) -> None:
    before = contents(home.generations)
    with pytest.raises(BackupError, match="not empty"):
        restore(backup, home, home.database_url)
    assert contents(home.generations) == before
    with pytest.raises(BackupError, match="PostgreSQL"):
        restore(backup, Home(tmp_path / "new"), "postgresql+psycopg://localhost/none")


@pytest.mark.parametrize("calls", range(1, 12))
def test_a_restore_that_is_interrupted_is_refused_and_done_again(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """At every step of putting things in place."""
    left = calls

    def stop(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    other = Home(tmp_path / "other")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        stop()
        return real(self, target)

    def sync(path: Path) -> None:
        stop()

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        patched.setattr(restoring, "fsync_path", sync)
        try:
            restore(backup, other, other.database_url)
        except KeyboardInterrupt:
            if other.unfinished.exists():
                with pytest.raises(StoreError, match="twinjet db restore"):
                    open_store(other, other.database_url)
    if left <= 0:
        try:
            restore(backup, other, other.database_url)
        except BackupError as exc:
            # All was there when it came to its end.
            assert "not empty" in str(exc)  # noqa: PT017
    assert answers_rightly(other, other.database_url, 2)


@pytest.fixture
def interrupted(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    """A home whose restore ended in the midst of it."""
    other = Home(tmp_path / "other")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "_put_in_place", stop)
        with pytest.raises(KeyboardInterrupt):
            restore(backup, other, other.database_url)
    yield other
    restore(backup, other, other.database_url)
    assert answers_rightly(other, other.database_url, 2)


def test_an_interrupted_restore_removes_no_other_database(
    interrupted: Home, backup: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.sqlite"
    elsewhere.write_bytes(b"somebody's")
    with pytest.raises(BackupError, match="repeat that one"):
        restore(backup, interrupted, f"sqlite:///{elsewhere}")
    assert elsewhere.read_bytes() == b"somebody's"


def test_an_interrupted_restore_is_not_ended_by_another(
    interrupted: Home, home: Home, store: SourceStore, tmp_path: Path
) -> None:
    """Its files would be with the database of the first."""
    add_generation(home, store)
    back_up(home, store, jobs_url(home), tmp_path / "another")
    with pytest.raises(BackupError, match="repeat that one"):
        restore(tmp_path / "another", interrupted, interrupted.database_url)


def test_nobody_begins_in_a_home_that_is_being_restored(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Home(tmp_path / "other")
    copy = restoring._copy

    def meanwhile(*of: Any) -> None:
        with pytest.raises(StoreError, match="twinjet db restore"):
            open_store(other, other.database_url)
        copy(*of)

    monkeypatch.setattr(restoring, "_copy", meanwhile)
    restore(backup, other, other.database_url)
    assert answers_rightly(other, other.database_url, 2)


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_the_log_of_another_database_is_not_played_over_a_restored_one(
    backup: Path, tmp_path: Path, ending: str
) -> None:
    left = tmp_path / f"meta.sqlite{ending}"
    left.write_bytes(b"of another")
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError, match="there already"):
        restore(backup, other, f"sqlite:///{tmp_path}/meta.sqlite")
    assert left.read_bytes() == b"of another"
    assert not other.path.exists() or list(other.path.iterdir()) == []


def test_a_backup_of_a_later_version_is_refused(backup: Path, tmp_path: Path) -> None:
    written = json.loads((backup / "backup.json").read_text())
    written["revision"] = "9999"
    (backup / "backup.json").write_text(json.dumps(written))
    seal = file_digest(backup / "backup.json")
    (backup / "backup.json.sha256").write_text(seal)
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError, match="9999"):
        restore(backup, other, other.database_url)


def test_a_check_finds_damage_and_strays(home: Home, store: SourceStore) -> None:
    assert damaged(home) == []
    (home.path / "notes.tmp").touch()
    (home.generations / ".nfs0001").touch()
    (home.generations / "g000099").mkdir()
    found = list(inspect(home, home.database_url, jobs_url(home)))
    strays = [finding for finding in found if finding.part == "stray"]
    assert (len(strays), {finding.state for finding in strays}) == (3, {"note"})
    with sqlite3.connect(home.path / "twinjet.sqlite") as connection:
        connection.execute("UPDATE source SET ra = ra + 1e-9 WHERE generation = 1")
    connection.close()
    (home.generations / "g000002" / "tail.npy").unlink()
    names = [finding.part for finding in damaged(home)]
    assert names == ["generation 2", "generation 1"]


def test_a_check_calls_nothing_stray_that_is_of_use(
    home: Home, store: SourceStore
) -> None:
    with closing(Rates(home.database_url, home)) as rates:
        assert rates.take("somebody", 1) is None
        for name in ("simulated", "cutouts", "catalogues", "workers", "jobs"):
            (home.path / name).mkdir(exist_ok=True)
        assert (home.path / "rates.sqlite-wal").exists()
        found = list(inspect(home, home.database_url, jobs_url(home)))
    assert [finding for finding in found if finding.part == "stray"] == []


def test_a_check_says_whether_postgresql_would_notice_a_damaged_page(
    postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")

    def noted(url: str) -> bool:
        open_store(home, url).close()
        found = list(inspect(home, url, system_url(url, home.path)))
        assert {finding.state for finding in found} <= {"ok", "note"}
        return any("data_checksums is off" in finding.detail for finding in found)

    with running_postgres(postgres.initdb, "--data-checksums") as server:
        assert not noted(server.url)
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SHOW data_checksums").scalar() == "on"
    engine.dispose()
    assert noted(postgres_url) is not kept


def test_postgresql_is_backed_up_and_restored_into_an_empty_one(
    postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    require(
        "postgres",
        available=shutil.which("pg_dump") is not None,
        reason="pg_dump is not on PATH",
    )
    home = Home(tmp_path / "home")
    with closing(open_store(home, postgres_url)) as store:
        for _ in range(2):
            add_generation(home, store)
        jobs = system_url(postgres_url, home.path)
        made = back_up(home, store, jobs, tmp_path / "backup")
        before = digest_of_rows(store.engine, 2)
    assert (made.current, made.left_out) == (2, {})
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError, match="tables already"):
        restore(tmp_path / "backup", other, postgres_url)
    with empty_database(postgres.url) as url:
        restore(tmp_path / "backup", other, url)
        assert answers_rightly(other, url, 2)
        engine = create_engine(url)
        assert digest_of_rows(engine, 2) == before
        engine.dispose()
        version = sa.text("SELECT version_num FROM alembic_version")
        with create_engine(url).connect() as connection:
            assert connection.scalar(version) == made.revision


def test_more_generations_than_a_pool_has_connections_are_held(
    postgres_url: str, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    with closing(open_store(home, postgres_url)) as store:
        made = [add_generation(home, store) for _ in range(20)]
        holds = _Holds(home, store.engine)
        assert _hold_all(store, holds) == set()
        for number in (1, len(made)):
            with if_unleased(store.engine, number) as free:
                assert not free
        holds.release()

        def is_free() -> bool:
            with if_unleased(store.engine, 1) as free:
                return free

        # Its own process of PostgreSQL has yet to see that a connection has ended.
        wait_until(is_free)


def test_without_pg_dump_it_says_what_to_do(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PATH", str(tmp_path))
    with closing(open_store(home, postgres_url)) as store:
        jobs = system_url(postgres_url, home.path)
        with pytest.raises(BackupError, match="pg_dump is not on PATH"):
            back_up(home, store, jobs, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_the_command_says_what_it_did(home: Home, tmp_path: Path) -> None:
    from commands import TWINJET  # noqa: PLC0415 - one test only

    def run(*arguments: object) -> tuple[int, str]:
        command = [str(TWINJET), "db", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = run("backup", tmp_path / "b", "--home", home.path, "--json")
    assert (code, json.loads(said)["current"]) == (0, 2)
    code, said = run("restore", tmp_path / "b", "--home", tmp_path / "other")
    assert (code, "generation 2 is in force" in said) == (0, True)
    code, said = run("check", "--home", tmp_path / "other", "--json")
    states = {json.loads(line)["state"] for line in said.splitlines()}
    assert (code, states <= {"ok", "note"}) == (0, True)
    (tmp_path / "other" / "generations" / "g000002" / "vectors.npy").unlink()
    code, said = run("check", "--home", tmp_path / "other")
    assert (code, "damaged  generation 2" in said) == (1, True)
