"""Jobs in any order of requests: one key is one job, whatever comes between."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from problems import assert_problem
from pydantic import SecretStr
from restarts import Service

from twinjet.service.config import Config

KEY = "a key of sixteen characters or more"
ADMIN = {"Authorization": f"Bearer {KEY}"}

_PLACES = st.sampled_from(["one", "two"])
_KEYS = st.sampled_from([None, "first", "second", "third"])
_TOGETHER = 8


@pytest.fixture
def service(tmp_path: Path, config: Config) -> Iterator[Service]:
    # A place for each of fifty, of whom none is to be turned away.
    changed = {"home": tmp_path / "home", "admin_key": SecretStr(KEY), "reads": 64}
    service = Service(config.model_copy(update=changed))
    yield service
    service.close()


@dataclass
class Known:
    """A job as the test knows it."""

    id: str
    body: dict[str, Any]
    cancelled: bool = False


@dataclass
class Model:
    """All jobs of one example, the first one first, and who has which key."""

    jobs: list[Known] = field(default_factory=list)
    by_key: dict[str, Known] = field(default_factory=dict)

    def under_way(self, cutouts: str) -> bool:
        """Whether a catalogue has a job that has not ended."""
        return any(not j.cancelled and j.body["cutouts"] == cutouts for j in self.jobs)


class Jobs(RuleBasedStateMachine):
    """Each example has names of its own in the service."""

    service: ClassVar[Service]
    examples: ClassVar[Iterator[int]] = count()

    def __init__(self) -> None:
        super().__init__()
        self.example = next(self.examples)
        self.model = Model()

    def post(self, body: dict[str, Any], key: str | None) -> httpx.Response:
        named = {} if key is None else {"Idempotency-Key": f"{self.example} {key}"}
        answer: httpx.Response = self.service.client.post(
            "/jobs/reindex", json=body, headers=ADMIN | named
        )
        return answer

    def body(self, place: str, *, force: bool) -> dict[str, Any]:
        return {"cutouts": f"/sky/{self.example}/{place}", "force": force} | {
            "name": f"{self.example} {place}"
        }

    def check(
        self, answer: httpx.Response, body: dict[str, Any], key: str | None
    ) -> None:
        earlier = self.model.by_key.get(key or "")
        if earlier is not None and earlier.body != body:
            assert_problem(answer, 422, "idempotency-key-reused")
        elif earlier is not None:
            assert (answer.status_code, answer.json()["id"]) == (202, earlier.id)
        elif self.model.under_way(body["cutouts"]):
            assert_problem(answer, 409, "job-under-way")
        else:
            assert answer.status_code == 202, answer.text
            assert answer.json()["state"] == "queued"
            made = Known(answer.json()["id"], body)
            self.model.jobs.append(made)
            if key is not None:
                self.model.by_key[key] = made

    @rule(place=_PLACES, force=st.booleans(), key=_KEYS)
    def submit(self, place: str, *, force: bool, key: str | None) -> None:
        body = self.body(place, force=force)
        self.check(self.post(body, key), body, key)

    @rule(place=_PLACES, key=_KEYS.filter(bool))
    def submit_at_once(self, place: str, key: str) -> None:
        body = self.body(place, force=False)
        with ThreadPoolExecutor(_TOGETHER) as threads:
            asked = [threads.submit(self.post, body, key) for _ in range(_TOGETHER)]
        for one in asked:
            self.check(one.result(), body, key)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.model.jobs:
            job = data.draw(st.sampled_from(self.model.jobs))
            answer = self.service.client.delete(f"/jobs/{job.id}", headers=ADMIN)
            assert (answer.status_code, answer.json()["state"]) == (
                200,
                "cancelled",
            )
            job.cancelled = True

    @rule()
    def restart(self) -> None:
        self.service.start()

    @invariant()
    def all_are_known(self) -> None:
        answer = self.service.client.get("/jobs?limit=1000", headers=ADMIN)
        mine = {job.id: job for job in self.model.jobs}
        seen = {j["id"]: j["state"] for j in answer.json()["jobs"] if j["id"] in mine}
        assert seen == {
            job.id: "cancelled" if job.cancelled else "queued"
            for job in self.model.jobs
        }

    def teardown(self) -> None:
        for job in self.model.jobs:
            self.service.client.delete(f"/jobs/{job.id}", headers=ADMIN)


def run(service: Service, *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        type("JobsOfService", (Jobs,), {"service": service}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_jobs_are_what_was_asked_for_in_any_order(service: Service) -> None:
    run(service, examples=6, steps=10)


@pytest.mark.torture
def test_so_they_are_at_length(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    record_property("run", "200 runs of up to 40 steps")
    run(service, examples=200, steps=40)


def test_fifty_at_once_with_one_key_are_one_job(service: Service) -> None:
    def ask(_: int) -> httpx.Response:
        headers = ADMIN | {"Idempotency-Key": "fifty"}
        body = {"cutouts": "/sky/fifty"}
        answer: httpx.Response = service.client.post(
            "/jobs/reindex", json=body, headers=headers
        )
        return answer

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(ask, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(service.client.get("/jobs", headers=ADMIN).json()["jobs"]) == 1
