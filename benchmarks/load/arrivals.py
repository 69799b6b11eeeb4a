"""The process that makes the load: reads a `Plan` as JSON, writes what came of it.

Open loop: requests are due at times that are fixed before, whatever the server does,
and the time of each counts from when it was due; a server that stalls is seen by all
who would have come meanwhile. Closed loop, to find what a server can do at most: so
many clients, each of which asks when it has its answer.

A process of its own, on cores of its own, so that it takes nothing from the server.
"""

import asyncio
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uvloop
from connections import Connections, DroppedError
from numpy.typing import NDArray
from questions import Kind, questions

# Who has no answer by then has gone away.
_PATIENCE_S = 20.0

# Of one run, whatever it was asked for.
_MOST_REQUESTS = 200_000


@dataclasses.dataclass(frozen=True)
class Plan:
    """A load: at these rates one after the other, or by so many clients."""

    port: int
    kind: Kind
    sources: int
    cutouts: str
    stretches: list[tuple[float, float]]
    """Arrivals a second, and for how many seconds; with clients, these alone count."""
    clients: int = 0
    poisson: bool = False
    """Whether arrivals are random; else at equal distances."""
    connections: int = 800
    seed: int = 1
    cores: tuple[int, ...] = ()
    """Of this process; none is any."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of each request: when it was due, and what came of it when."""

    due_s: NDArray[np.float64]
    took_ms: NDArray[np.float64]
    status: NDArray[np.int64]
    """Of HTTP; 0 where there was no answer."""
    retry_after: NDArray[np.bool_]
    late_ms: NDArray[np.float64]
    """How much later than due it was sent, by no fault of the server."""
    upload: NDArray[np.bool_]
    """Whether it had a file."""
    faults: dict[str, int]
    """Why there was no answer, and how often."""


def run(plan: Plan, niceness: int = 0) -> Outcome:
    """Make a load, in a process of its own, and wait for its end."""
    answer = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(dataclasses.asdict(plan)).encode(),
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: os.nice(niceness),
    )
    found = json.loads(answer.stdout)
    return Outcome(
        due_s=np.array(found["due_s"]),
        took_ms=np.array(found["took_ms"]),
        status=np.array(found["status"]),
        retry_after=np.array(found["retry_after"], bool),
        late_ms=np.array(found["late_ms"]),
        upload=np.array(found["upload"], bool),
        faults=found["faults"],
    )


class _Load:
    """Requests under way and those that are over."""

    def __init__(self, plan: Plan, next_one: Callable[[], bytes]) -> None:
        self._next_one = next_one
        self._connections = Connections(plan.port, plan.connections)
        self._started = time.perf_counter()
        self.rows: list[tuple[float, float, int, bool, float, bool]] = []
        self.faults: dict[str, int] = {}

    def now_s(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    async def one(self, due_s: float) -> None:
        """Ask once."""
        late_s = self.now_s() - due_s
        status, retry_after = 0, False
        request = self._next_one()
        try:
            reply = await self._connections.ask(request, _PATIENCE_S)
            status, retry_after = reply.status, reply.retry_after
        except (OSError, TimeoutError) as exc:
            name = str(exc) if isinstance(exc, DroppedError) else type(exc).__name__
            self.faults[name] = self.faults.get(name, 0) + 1
        took_s = self.now_s() - due_s
        upload = request.startswith(b"POST")
        times = (due_s, 1e3 * took_s, status, retry_after, 1e3 * late_s)
        self.rows.append((*times, upload))

    async def open_loop(self, due_s: NDArray[np.float64]) -> None:
        """Ask at these times."""
        under_way: set[asyncio.Task[None]] = set()
        for due in due_s.tolist():
            wait = due - self.now_s()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self.one(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        self._connections.close()

    async def closed_loop(self, clients: int, seconds: float) -> None:
        """Ask again and again."""

        async def client() -> None:
            while (now := self.now_s()) < seconds:
                await self.one(now)

        await asyncio.gather(*(client() for _ in range(clients)))
        self._connections.close()


def due_times(plan: Plan) -> NDArray[np.float64]:
    """When requests are due, in seconds from the start."""
    rng = np.random.default_rng(plan.seed)
    parts, began = [], 0.0
    for rate, seconds in plan.stretches:
        count = round(rate * seconds)
        if plan.poisson:  # so many in all, at random
            parts.append(began + np.sort(rng.uniform(0, seconds, count)))
        else:
            parts.append(began + np.arange(count) / rate)
        began += seconds
    due = np.concatenate(parts)
    assert len(due) <= _MOST_REQUESTS, "more requests than are sent in one run"
    return due


async def _make(plan: Plan) -> _Load:
    next_one = questions(
        plan.kind, sources=plan.sources, cutouts=Path(plan.cutouts), seed=plan.seed
    )
    load = _Load(plan, next_one)
    if plan.clients:
        await load.closed_loop(plan.clients, sum(s for _, s in plan.stretches))
    else:
        await load.open_loop(due_times(plan))
    return load


def main() -> None:
    """Make the load that standard input asks for."""
    asked = json.load(sys.stdin)
    plan = Plan(**asked)
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(_make(plan))
    names = ("due_s", "took_ms", "status", "retry_after", "late_ms", "upload")
    columns = zip(*sorted(load.rows), strict=True)
    found: dict[str, object] = dict(zip(names, columns, strict=True))
    json.dump(found | {"faults": load.faults}, sys.stdout)


if __name__ == "__main__":
    main()
