"""A discovery session in any order of requests, beside a model of what it must hold."""

import csv
import io
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from problems import assert_problem
from restarts import Service

from twinjet.service.config import Config

NAMES = [f"T100+{number:03d}" for number in range(24)]
KNOWN = NAMES[20:]
"""On a list that every session leaves out."""

LIKED = ("example", "like")
_SOURCES = st.sampled_from(NAMES[:20])
_LABELS = st.sampled_from(["example", "like", "dislike", None])


@pytest.fixture
def service(config: Config) -> Iterator[Service]:
    service = Service(config)
    text = "id\n" + "\n".join(KNOWN)
    put = service.client.put("/lists/left-out", files={"file": ("a.csv", text)})
    assert put.status_code == 200, put.text
    yield service
    # A page of them at a time.
    while made := service.client.get("/sessions").json()["sessions"]:
        for session in made:
            service.client.delete(session["links"]["self"])
    assert service.client.delete("/lists/left-out").status_code == 204
    service.close()


class Session(RuleBasedStateMachine):
    """A session, and what it must hold: labels, their versions, rounds."""

    service: ClassVar[Service]
    examples: ClassVar[Iterator[int]] = count()

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, str | None] = {}
        self.versions: dict[str, int] = {}
        self.rounds: list[list[str]] = []

    @initialize(liked=st.sets(_SOURCES, min_size=1, max_size=3))
    def begin(self, liked: set[str]) -> None:
        self.name = f"hunt {next(self.examples)}"
        body = {"name": self.name, "examples": sorted(liked)}
        body["exclude"] = ["left-out"]
        answer = self.service.client.post("/sessions", json=body)
        assert answer.status_code == 201, answer.text
        self.here: str = answer.json()["links"]["self"]
        self.labels = dict.fromkeys(liked, "example")
        self.versions = {m["source_id"]: m["version"] for m in self.marks()}
        again = self.service.client.post("/sessions", json=body)
        assert_problem(again, 409, "session-conflict")

    @property
    def proposed(self) -> set[str]:
        """Seen; what was labelled unasked and is no more may yet be proposed."""
        return {source for proposed in self.rounds for source in proposed}

    def marks(self) -> list[dict[str, Any]]:
        """All, page by page."""
        found: list[dict[str, Any]] = []
        address: str | None = f"{self.here}/labels?limit=7"
        while address:
            page = self.service.client.get(address).json()
            found += page["labels"]
            address = page["next"]
        return found

    @rule(source=_SOURCES, wanted=_LABELS, stale=st.booleans())
    def label(self, source: str, wanted: str | None, *, stale: bool) -> None:
        seen = self.versions.get(source, 0)
        one = {"source_id": source, "label": wanted, "version": seen + stale}
        answer = self.service.client.post(f"{self.here}/labels", json={"labels": [one]})
        if wanted == self.labels.get(source):
            assert answer.status_code == 200, answer.text  # nothing is to be done
        elif stale:
            assert_problem(answer, 409, "session-conflict")
        else:
            assert answer.status_code == 200, answer.text
            self.labels[source] = wanted
            self.versions[source] = seen + 1

    @precondition(lambda self: any(v in LIKED for v in self.labels.values()))
    @rule(size=st.integers(1, 5), explore=st.sampled_from([0.0, 0.5, 1.0]))
    def propose(self, size: int, explore: float) -> None:
        address = f"{self.here}/rounds/{len(self.rounds) + 1}"
        wishes = {"count": size, "explore": explore}
        answer = self.service.client.put(address, json=wishes)
        if answer.status_code == 409:
            assert_problem(answer, 409, "no-candidates")
            return
        assert answer.status_code == 200, answer.text
        found = [c["source_id"] for c in answer.json()["candidates"]]
        assert 1 <= len(found) <= size
        labelled = {source for source, label in self.labels.items() if label}
        assert not set(found) & (labelled | self.proposed | {*KNOWN})
        self.rounds.append(found)
        self.labels = dict.fromkeys(found) | self.labels
        self.versions = dict.fromkeys(found, 0) | self.versions
        same = self.service.client.put(address, json=wishes)
        assert same.content == answer.content
        other = self.service.client.put(address, json=wishes | {"count": size + 1})
        assert_problem(other, 409, "session-conflict")

    @precondition(lambda self: not any(v in LIKED for v in self.labels.values()))
    @rule()
    def nothing_is_liked(self) -> None:
        address = f"{self.here}/rounds/{len(self.rounds) + 1}"
        assert_problem(self.service.client.put(address), 409, "no-examples")

    @rule()
    def restart(self) -> None:
        self.service.start()

    @rule()
    def export(self) -> None:
        answer = self.service.client.get(f"{self.here}/export?candidates=0")
        lines = [x for x in answer.text.splitlines() if not x.startswith("#")]
        rows = csv.DictReader(io.StringIO("\n".join(lines)))
        assert {row["source_id"]: row["status"] for row in rows} == {
            source: label or "seen"
            for source, label in self.labels.items()
            if label or source in self.proposed
        }

    @invariant()
    def it_holds_what_was_said(self) -> None:
        assert {m["source_id"]: m["label"] for m in self.marks()} == self.labels
        made = self.service.client.get(f"{self.here}/rounds").json()["rounds"]
        assert [one["number"] for one in made] == [
            *range(1, len(self.rounds) + 1),
        ]

    @invariant()
    def rounds_stay_as_they_were(self) -> None:
        for number, proposed in enumerate(self.rounds, start=1):
            found = self.service.client.get(f"{self.here}/rounds/{number}").json()
            assert [c["source_id"] for c in found["candidates"]] == proposed


def run(service: Service, *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        type("SessionOfService", (Session,), {"service": service}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_session_holds_what_was_said_in_any_order(service: Service) -> None:
    run(service, examples=5, steps=10)


@pytest.mark.torture
def test_so_it_does_at_length(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    record_property("run", "150 runs of up to 40 steps")
    run(service, examples=150, steps=40)
