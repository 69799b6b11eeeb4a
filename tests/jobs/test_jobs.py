"""Jobs on SQLite and PostgreSQL: begun once, followed, cancelled, repeated."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, count, repeat

import numpy as np
import pytest
from commands import TWINJET
from fastapi.testclient import TestClient
from installations import Installation
from skies import small_encoder

from twinjet.index.errors import (
    HomeMismatchError,
    IdempotencyError,
    JobConflictError,
    JobError,
    UnknownJobError,
)
from twinjet.index.generation import open_generation
from twinjet.index.home import Home, system_url
from twinjet.index.jobs.jobs import Job
from twinjet.index.jobs.worker import Worker
from twinjet.index.plan import Watcher
from twinjet.index.reindex import check_build, embed_shard
from twinjet.model.encoder import Encoder
from twinjet.service.app import create_app
from twinjet.service.cli import cli
from twinjet.service.config import Config

# The step of a shard, as the job calls it.
STEP = "twinjet.index.jobs.steps.embed_shard"


def ended(installation: Installation, job: Job) -> Job:
    *_, last = installation.jobs.follow(job.id)
    return last


def test_a_job_publishes_and_says_how_far_it_is(installation: Installation) -> None:
    request = installation.sky(10)
    job = installation.jobs.submit(request)
    assert (job.state, job.progress) == ("queued", None)
    with installation.worker():
        seen = list(installation.jobs.follow(job.id))
    last = seen[-1]
    assert last.state == "succeeded", last.error
    assert last.report is not None
    assert {k: last.report[k] for k in ("number", "count", "embedded", "shards")} == {
        "number": 1,
        "count": 10,
        "embedded": 10,
        "shards": 3,
    }
    assert last.finished_at is not None
    assert last.finished_at > last.created_at
    for one in seen:
        if one.progress is not None and one.progress.total is not None:
            assert 0 <= one.progress.done <= one.progress.total
    current = installation.store.current()
    assert current is not None
    assert current.report is not None
    assert {check["name"] for check in current.report["checks"]} >= {
        *("files", "counts", "encoder", "rows", "vectors", "recall", "canaries"),
    }
    assert [job.id for job in installation.jobs.latest()] == [last.id]


def test_a_catalogue_that_grew_embeds_what_is_new_and_counts_what_changed(
    installation: Installation,
) -> None:
    request = installation.sky(14)
    table = installation.folder / "sky" / "catalogue.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:13]) + "\n")
    with installation.worker():
        ended(installation, installation.jobs.submit(request))
        lines[2] = lines[2].replace("FRI,", "FRII,")  # corrected
        ra = float(lines[3].split(",")[2])
        lines[3] = lines[3].replace(f",{ra},", f",{ra + 0.0005},")  # moved 1.8 arcsec
        del lines[6]  # gone
        table.write_text("\n".join(lines) + "\n")
        job = ended(installation, installation.jobs.submit(request))
        assert job.report is not None, job.error
        assert (job.report["count"], job.report["embedded"]) == (13, 3)
        again = ended(installation, installation.jobs.submit(request))
        assert again.report is not None
        assert (again.report["published"], again.report["embedded"]) == (False, 0)
    current = installation.store.current()
    assert current is not None
    assert current.report is not None
    diff = current.report["diff"]
    counts = ("before", "after", "added", "removed", "moved", "corrected", "unchanged")
    assert [diff[c] for c in counts] == [12, 13, 2, 1, 1, 1, 9]
    assert diff["examples"]["removed"] == ["T100+005"]


def test_the_same_key_is_the_same_job(installation: Installation) -> None:
    request = installation.sky(4)
    first = installation.jobs.submit(request, idempotency_key="a")
    assert installation.jobs.submit(request, idempotency_key="a").id == first.id
    with pytest.raises(IdempotencyError):
        installation.jobs.submit(replace(request, force=True), idempotency_key="a")
    with pytest.raises(JobConflictError, match=first.id):
        installation.jobs.submit(request, idempotency_key="b")
    with pytest.raises(JobConflictError, match=first.id):
        installation.jobs.submit(request)
    with installation.worker():
        assert ended(installation, first).state == "succeeded"
    assert installation.jobs.submit(request, idempotency_key="a").id == first.id
    assert installation.jobs.submit(request).id != first.id


def test_fifty_at_once_with_one_key_are_one_job(installation: Installation) -> None:
    request = installation.sky(4)
    barrier, found = threading.Barrier(10), []

    def submit() -> None:
        barrier.wait()
        for _ in range(5):
            job = installation.jobs.submit(request, idempotency_key="k")
            found.append(job.id)

    threads = [threading.Thread(target=submit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (50, 1)
    assert len(installation.jobs.latest()) == 1


def test_one_key_at_once_for_different_requests_is_one_job_and_refusals(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sees the other before it asks."""
    request = installation.sky(4)
    first = installation.jobs.submit(request, idempotency_key="k")
    find, looks = installation.jobs._find, iter([None])
    monkeypatch.setattr(installation.jobs, "_find", lambda n: next(looks, find(n)))
    other = replace(request, name="other")
    with pytest.raises(IdempotencyError, match=first.id):
        installation.jobs.submit(other, idempotency_key="k")
    looks = iter([None])
    assert installation.jobs.submit(request, idempotency_key="k").id == first.id


def test_a_cancelled_job_publishes_nothing(installation: Installation) -> None:
    request = installation.sky(8)
    job = installation.jobs.submit(request)
    assert installation.jobs.cancel(job.id).state == "cancelled"
    with installation.worker():
        second = ended(installation, installation.jobs.submit(request))
        assert second.state == "succeeded"
        assert installation.jobs.cancel(second.id).state == "succeeded"
    assert installation.jobs.get(job.id).report is None
    with pytest.raises(UnknownJobError):
        installation.jobs.cancel("none")


def test_a_job_that_is_cancelled_under_way_ends(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while its second shard is made: nothing after that is begun."""
    request = installation.sky(12)
    reached, go_on = threading.Event(), threading.Event()
    begun = count()

    def slow(*arguments: object, **named: object) -> int:
        if next(begun) == 1:
            reached.set()
            assert go_on.wait(30)
        return embed_shard(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(STEP, slow)
    with installation.worker():
        job = installation.jobs.submit(request)
        assert reached.wait(30)
        assert installation.jobs.cancel(job.id).state == "cancelled"
        go_on.set()
        again = ended(installation, installation.jobs.submit(request))
        assert again.state == "succeeded"
        assert again.report is not None
        assert again.report["reused"] >= 4
    assert installation.store.current() is not None
    assert [g.state for g in installation.store.generations()] == ["ready"]


def test_a_step_of_a_cancelled_job_ends_before_its_end(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The encoder would go on for ever; the next job has its turn at once."""
    request = installation.sky(12)
    reached = threading.Event()

    def endless(*_: object, watcher: Watcher, **__: object) -> int:
        while True:
            watcher.advance(0)
            reached.set()
            time.sleep(0.05)

    monkeypatch.setattr(STEP, endless)
    with installation.worker():
        job = installation.jobs.submit(request)
        assert reached.wait(30)
        installation.jobs.cancel(job.id)
        monkeypatch.setattr(STEP, embed_shard)
        again = ended(installation, installation.jobs.submit(request))
        assert again.state == "succeeded", again.error
    assert installation.jobs.get(job.id).state == "cancelled"
    assert [r for r in caplog.records if r.exc_info and r.name == "dbos"] == []


def test_a_cutout_that_is_replaced_under_way_is_never_taken_for_the_one_before(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = installation.sky(8)
    folder = installation.folder / "sky"
    before = (folder / "T000.fits").read_bytes()
    installation.sky(1, name="other", seed=9)
    other = (installation.folder / "other" / "T000.fits").read_bytes()

    def replacing(*arguments: object, **named: object) -> int:
        (folder / "T000.fits").write_bytes(other)
        return embed_shard(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(STEP, replacing)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
        assert job.report is not None, job.error
        assert (job.report["count"], job.report["problems"]) == (7, 1)
        assert "was replaced" in job.report["named_problems"][0]["reason"]
        monkeypatch.setattr(STEP, embed_shard)
        for data in (other, before):
            (folder / "T000.fits").write_bytes(data)
            job = ended(installation, installation.jobs.submit(request))
            assert job.report is not None, job.error
            assert (job.report["count"], job.report["embedded"]) == (8, 1)


def test_what_ends_a_job_is_said(installation: Installation) -> None:
    request = installation.sky(6)
    with installation.worker():
        missing = replace(request, cutouts=str(installation.folder / "nowhere"))
        job = ended(installation, installation.jobs.submit(missing))
        assert (job.state, "nowhere" in str(job.error)) == ("failed", True)
        for number in (1, 2, 3):
            (installation.folder / "sky" / f"T{number:03d}.fits").unlink()
        job = ended(installation, installation.jobs.submit(request))
        assert (job.state, "3 of 6" in str(job.error)) == ("failed", True)
        tolerant = replace(request, max_failed_fraction=0.5)
        job = ended(installation, installation.jobs.submit(tolerant))
        assert job.report is not None
        assert (job.report["count"], job.report["problems"]) == (3, 3)


def test_a_check_that_is_not_passed_refuses_and_force_is_recorded(
    installation: Installation,
) -> None:
    request = installation.sky(10)
    with installation.worker():
        ended(installation, installation.jobs.submit(request))
        table = installation.folder / "sky" / "catalogue.csv"
        lines = table.read_text().splitlines()
        table.write_text("\n".join(lines[:7]) + "\n")
        job = ended(installation, installation.jobs.submit(request))
        assert job.state == "failed"
        assert "removed: 4 of 10 sources are gone" in str(job.error)
        current = installation.store.current()
        assert current is not None
        assert current.number == 1
        forced = ended(
            installation, installation.jobs.submit(replace(request, force=True))
        )
        assert forced.report is not None
        assert (forced.report["count"], forced.report["embedded"]) == (6, 0)
    with installation.store.engine.connect() as connection:
        recorded = connection.exec_driver_sql(
            "SELECT forced FROM publication ORDER BY id"
        ).scalars()
        assert list(recorded) == [None, "removed"]


def test_a_shard_that_cannot_be_made_is_reported_and_not_fatal(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(installation.sky(20), max_failed_fraction=0.3)

    def failing(*arguments: object, **named: object) -> int:
        if arguments[1] == 2:
            msg = "no such luck"
            raise ValueError(msg)
        return embed_shard(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(STEP, failing)
    monkeypatch.setattr("twinjet.index.jobs.workflows.FIRST_WAIT_S", 0.01)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
    assert job.report is not None, job.error
    assert (job.report["count"], job.report["problems"]) == (16, 4)
    reason = "embed, tried 6 times: no such luck"
    assert job.report["failed_shards"] == [{"shard": 2, "reason": reason}]
    monkeypatch.setattr(STEP, embed_shard)
    with installation.worker():
        again = ended(installation, installation.jobs.submit(request))
    assert again.report is not None, again.error
    assert (again.report["count"], again.report["embedded"]) == (20, 4)


def test_a_generation_is_the_same_whoever_made_it(installation: Installation) -> None:
    request = installation.sky(9)
    with installation.worker():
        first = ended(installation, installation.jobs.submit(request))
        assert first.report is not None
        one = open_generation(installation.home.generations / "g000001")
        vectors = np.array(one.vectors)
        other = replace(request, name="other", shard_sources=2)
        second = ended(installation, installation.jobs.submit(other))
        assert second.report is not None
    assert second.report["digest"] == first.report["digest"] == one.manifest.digest
    two = open_generation(installation.home.generations / "g000002")
    np.testing.assert_array_equal(two.vectors, vectors)


def test_plans_are_kept_and_done_by_the_clock(installation: Installation) -> None:
    request = installation.sky(4)
    installation.jobs.plan("nightly", "0 3 * * *", request)
    installation.jobs.plan("nightly", "* * * * * *", request)  # every second
    assert installation.jobs.plans() == [("nightly", "* * * * * *", request)]
    with pytest.raises(JobError, match="cron"):
        installation.jobs.plan("odd", "now and then", request)
    with installation.worker():
        for _ in range(300):
            if installation.store.current() is not None:
                break
            threading.Event().wait(0.1)
    assert installation.store.current() is not None
    installation.jobs.unplan("nightly")
    assert installation.jobs.plans() == []
    with pytest.raises(UnknownJobError):
        installation.jobs.unplan("nightly")


def test_cutouts_that_cannot_be_read_for_a_while_are_read_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that goes away after the plan is no property of the pixels."""
    request = replace(installation.sky(12), max_failed_fraction=0.9)
    sky, away = installation.folder / "sky", installation.folder / "away"
    begun = count()

    def leaving(*arguments: object, **named: object) -> int:
        if next(begun) == 1:
            sky.rename(away)
        return embed_shard(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(STEP, leaving)
    monkeypatch.setattr("twinjet.index.jobs.workflows.FIRST_WAIT_S", 0.01)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
        # No canary can be read either, which stops it.
        assert (job.state, "canaries" in str(job.error)) == ("failed", True)
        away.rename(sky)
        monkeypatch.setattr(STEP, embed_shard)
        job = ended(installation, installation.jobs.submit(request))
    assert job.report is not None, job.error
    assert (job.report["count"], job.report["embedded"]) == (12, 8)


def test_no_force_publishes_damage(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(installation.sky(6), force=True)

    def damaging(*arguments: object, **named: object) -> object:
        for file in installation.home.generations.glob("g*/vectors.npy"):
            file.write_bytes(b"x")
        return check_build(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("twinjet.index.jobs.steps.check_build", damaging)
    with installation.worker():
        job = ended(installation, installation.jobs.submit(request))
    assert (job.state, "checksum" in str(job.error)) == ("failed", True)
    assert installation.store.current() is None


def test_a_worker_with_another_encoder_makes_no_shards(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = installation.sky(6)

    def other(*arguments: object, **named: object) -> int:
        raise AssertionError

    monkeypatch.setattr(STEP, other)
    monkeypatch.setattr("twinjet.index.jobs.workflows.FIRST_WAIT_S", 0.01)
    with installation.worker() as worker:
        loads = chain([small_encoder(views=1)], repeat(small_encoder(1)))
        monkeypatch.setattr(worker, "_encoder", lambda _name: next(loads))
        job = ended(installation, installation.jobs.submit(request))
    assert (job.state, "TWINJET_ENCODER" in str(job.error)) == ("failed", True)


def test_a_shard_that_one_worker_cannot_make_another_does(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wrong TWINJET_ENCODER does: it fails at once, and would empty the queue."""
    request = installation.sky(32)
    failed = []

    def broken(*arguments: object, **_: object) -> int:
        failed.append(arguments[1])
        msg = "this machine has not what it takes"
        raise JobError(msg)

    monkeypatch.setattr(STEP, broken)
    monkeypatch.setattr("twinjet.index.jobs.workflows.FIRST_WAIT_S", 0.1)
    monkeypatch.setenv("TWINJET_DATABASE_URL", installation.database_url)
    monkeypatch.setenv("TWINJET_ENCODER", str(installation.card))
    command = [str(TWINJET), "worker", "--home", str(installation.home.path)]
    other = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert other.stderr is not None
        assert "is ready" in other.stderr.readline()
        with installation.worker():
            job = ended(installation, installation.jobs.submit(request))
    finally:
        other.kill()
        other.communicate()
    assert failed
    assert job.report is not None, job.error
    assert (job.report["count"], job.report["failed_shards"]) == (32, [])


def test_shards_that_begin_together_load_one_encoder(
    installation: Installation,
) -> None:
    request = installation.sky(6)
    loaded: list[Encoder] = []

    def slowly() -> Encoder:
        time.sleep(0.2)
        loaded.append(small_encoder())
        return loaded[-1]

    url = system_url(installation.database_url, installation.home.path)
    with (
        Worker(installation.home, installation.store, url, encoder=slowly) as worker,
        ThreadPoolExecutor(4) as threads,
    ):
        shops = list(threads.map(worker.workshop, [request] * 4))
    assert len(loaded) == 1
    assert all(shop.encoder is loaded[0] for shop in shops)


def test_a_worker_of_another_home_does_not_begin(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find no plan, and remove generations that are served."""
    request = installation.sky(6)
    with installation.worker():
        assert ended(installation, installation.jobs.submit(request)).report
    url = system_url(installation.database_url, installation.home.path)
    wrong = Home(installation.folder / "wrong")
    with pytest.raises(HomeMismatchError, match="wrong has no home"):
        Worker(wrong, installation.store, url, encoder=small_encoder)
    config = Config(home=wrong.path, database_url=installation.database_url)
    with pytest.raises(HomeMismatchError), TestClient(create_app(config)):
        pass
    monkeypatch.setenv("TWINJET_DATABASE_URL", installation.database_url)
    for command in ("index", str(installation.folder / "sky")), ("generations",):
        with pytest.raises(HomeMismatchError):
            cli.main([*command, "--home", str(wrong.path)], standalone_mode=False)
    assert list(wrong.path.iterdir()) == []


# A worker that does not wait half an hour for others that stand still.
IMPATIENT = """
import sys
from pathlib import Path
from twinjet.index.database import create_engine
from twinjet.index.home import Home
from twinjet.index.home import system_url
from twinjet.index.jobs.worker import Worker
from twinjet.index.store import SourceStore
from twinjet.model.encoder import load_encoder

home, url, card = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
store = SourceStore(create_engine(url))
engine = system_url(url, home)
with Worker(
    Home(home), store, engine, encoder=lambda: load_encoder(card), stalled_s=2.0
):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_shards_of_a_worker_that_stands_still_go_on_elsewhere(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives and holds its lock, and what it reads never comes."""
    request = installation.sky(16)
    reached, go_on = threading.Event(), threading.Event()

    def hanging(*_: object, **__: object) -> int:
        reached.set()
        go_on.wait()
        return 0

    monkeypatch.setattr(STEP, hanging)
    command = [
        *(sys.executable, "-c", IMPATIENT, str(installation.home.path)),
        *(installation.database_url, str(installation.card)),
    ]
    with installation.worker():
        job = installation.jobs.submit(request)
        assert reached.wait(60)
        other = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            last = ended(installation, job)
        finally:
            go_on.set()
            other.communicate()
    assert last.report is not None, last.error
    assert (last.report["count"], last.report["failed_shards"]) == (16, [])
