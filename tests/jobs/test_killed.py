"""Killed at every boundary and at random: the service answers, the job finishes."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from crashing import Killed
from fastapi.testclient import TestClient
from installations import Installation
from numpy.typing import NDArray

from twinjet.index.generation import folder_name, open_generation
from twinjet.service.app import create_app
from twinjet.service.config import Config

# Steps of a job: plan, three shards, assemble, verify, publish, done.
STEPS = 8


class Questions(threading.Thread):
    """Asks for neighbours again and again and compares each answer with brute force.

    The vectors and names of a generation are read before it can be retired.
    """

    def __init__(self, installation: Installation, client: TestClient) -> None:
        super().__init__(daemon=True)
        self._installation = installation
        self._client = client
        self._truth = cache(self._read)
        self.stop = threading.Event()
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []

    def run(self) -> None:
        """Ask until told to stop."""
        turn = 0
        # The workers, too, need the machine.
        while not self.stop.wait(0.01):
            turn += 1
            name = f"T100+{turn % 8:03d}"
            try:
                answer = self._client.get(f"/similar/{name}", params={"k": 5})
                if answer.status_code != 200:
                    self.faults.append(f"{answer.status_code} {answer.text[:300]}")
                    continue
                body = answer.json()
                number = body["generation"]["number"]
                self.answers[number] += 1
                names, vectors = self._truth(number)
                similarities = vectors @ vectors[names.index(name)]
                for neighbour in body["neighbours"]:
                    row = names.index(neighbour["source"]["source_id"])
                    wrong = abs(similarities[row] - neighbour["similarity"])
                    if wrong > 1e-5:
                        self.faults.append(f"{name} in {number}: off by {wrong}")
                best = np.sort(np.delete(similarities, names.index(name)))[::-1][:5]
                found = [n["similarity"] for n in body["neighbours"]]
                if not np.allclose(best, found, atol=1e-5):
                    self.faults.append(f"{name} in {number}: {found}, not {best}")
            except Exception as exc:  # noqa: BLE001 - any fault is one
                self.faults.append(repr(exc))

    def _read(self, number: int) -> tuple[list[str], NDArray[np.float32]]:
        opened = open_generation(
            self._installation.home.generations / folder_name(number)
        )
        rows = range(opened.manifest.count)
        sources = self._installation.store.sources_by_row(number, rows)
        return [s.source_id for s in sources], np.array(opened.vectors)


@contextmanager
def asked(installation: Installation) -> Iterator[Questions]:
    """A service that is asked all the time; at the end nothing was wrong."""
    config = Config(
        home=installation.home.path,
        database_url=installation.database_url,
        encoder=installation.card,
        refresh_s=0.05,
    )
    with TestClient(create_app(config)) as client:
        questions = Questions(installation, client)
        questions.start()
        try:
            yield questions
        finally:
            questions.stop.set()
            questions.join(timeout=60)
    assert questions.faults == []


@contextmanager
def killed(installation: Installation) -> Iterator[Killed]:
    workers = Killed(
        installation.home.path, installation.database_url, installation.card
    )
    try:
        yield workers
    finally:
        workers.close()


def first_generation(installation: Installation) -> None:
    """Something to serve."""
    request = replace(installation.sky(8, name="first", seed=1), name="sky")
    with installation.worker():
        *_, last = installation.jobs.follow(installation.jobs.submit(request).id)
    assert last.state == "succeeded", last.error


def no_shard_was_made_twice(installation: Installation) -> None:
    made = Counter((installation.home.path / "made.log").read_text().split())
    assert max(made.values()) == 1, made


def wait_for_end(installation: Installation, job_id: str) -> None:
    *_, last = installation.jobs.follow(job_id)
    assert last.state == "succeeded", last.error


@pytest.mark.slow
def test_killed_at_every_boundary_of_every_step(installation: Installation) -> None:
    """Before a step, when it is done and nobody knows, and when it is recorded."""
    first_generation(installation)
    request = replace(installation.sky(12), name="sky")
    deaths = 0
    with asked(installation) as questions, killed(installation) as workers:
        job = installation.jobs.submit(request)
        while not installation.jobs.get(job.id).has_ended:
            process = workers.start(boundary=deaths % 3 + 1)
            deadline = time.monotonic() + 60
            while not workers.has_ended(process):
                assert time.monotonic() < deadline, installation.jobs.get(job.id)
                if installation.jobs.get(job.id).has_ended:
                    workers.kill(process)
                    break
                time.sleep(0.02)
            deaths += 1
            assert deaths < 10 * STEPS, installation.jobs.get(job.id)
        wait_for_end(installation, job.id)
        time.sleep(0.5)
    # After its last step a worker has nothing more to pass by, and is killed.
    assert deaths >= 3 * STEPS - 1
    assert set(questions.answers) == {1, 2}
    no_shard_was_made_twice(installation)
    assert sorted(p.name for p in installation.home.generations.iterdir()) == [
        "g000001",
        "g000002",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("least", [6, pytest.param(50, marks=pytest.mark.torture)])
def test_killed_at_random_moments(
    installation: Installation,
    least: int,
    record_property: Callable[[str, object], None],
) -> None:
    first_generation(installation)
    rng = random.Random(4)  # noqa: S311 - no secret
    kills = jobs = 0
    with asked(installation) as questions, killed(installation) as workers:
        while kills < least:
            jobs += 1
            request = installation.sky(24, name=f"sky{jobs}", seed=jobs)
            # Of skies by chance one may be worse than another, which is no matter here.
            request = replace(request, name="sky", force=True)
            job = installation.jobs.submit(request)
            while not installation.jobs.get(job.id).has_ended:
                process = workers.start()
                # A worker takes work after some 0.3 s, and the job would take 3.
                time.sleep(rng.uniform(0.2, 1.2))
                workers.kill(process)
                kills += 1
            wait_for_end(installation, job.id)
        time.sleep(0.5)
    assert kills >= least
    record_property("killed", f"{kills} times, in {jobs} jobs")
    assert set(questions.answers) <= set(range(1, jobs + 2))
    assert jobs + 1 in questions.answers
    no_shard_was_made_twice(installation)
    assert len(list(installation.home.generations.iterdir())) <= 4
