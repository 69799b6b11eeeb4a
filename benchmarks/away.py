"""What a service answers while the PostgreSQL of its metadata is away.

    python benchmarks/away.py [--write]

A simulated sky is indexed with its metadata in a PostgreSQL that is started here, and
served by `twinjet serve`, a process of its own. It is asked for neighbours by ID ten
times a second, and as often whether it lives, whatever it answers; a request's time
counts from when it was due. Meanwhile the PostgreSQL is stopped at once, as if the
power went, and started again; then it is frozen, so that connections stay and nothing
answers, and goes on. With --write the table is benchmarks/results/away.md.
"""

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import numpy as np

sys.path.append(str(Path(__file__).parent / "search"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from machine import described

servers: Any = import_module("servers")

RESULTS = Path(__file__).parent / "results"
TWINJET = str(Path(sys.executable).with_name("twinjet"))

# Requests of a kind in a second.
RATE = 10

# From a fault to the refusal, and from the return to an answer.
REFUSED_S = 2.0
BACK_S = 5.0

_COUNT = 300

# In which nothing is wrong, before the fault and after the return.
_QUIET_S = 5.0
_AFTER_S = 10.0

# A client that is answered later than this has gone away.
_PATIENCE_S = 30.0

_START_S = 300.0


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="of both faults")
    parser.add_argument("--away-s", type=float, default=10.0)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    told = [head(args)]
    with (
        tempfile.TemporaryDirectory() as scratch,
        servers.running_postgres(initdb()) as postgres,
        serving(Path(scratch), postgres.url) as root,
    ):
        rows = asyncio.run(measured(args, root, postgres))
    told.append(table(rows))
    told.append(verdict(rows))
    text = "\n\n".join(told)
    print(text)
    if args.write:
        (RESULTS / "away.md").write_text(text + "\n", encoding="utf-8")


def head(args: argparse.Namespace) -> str:
    """When, on what, by which command, and what was done."""
    command = " ".join(word for word in sys.argv[1:] if word != "--write")
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {described()}, load "
        f"{os.getloadavg()[0]:.1f} before; PostgreSQL, server and load on the same "
        f"cores. `python benchmarks/away.py {command}{' ' * bool(command)}--write`\n\n"
        f"{_COUNT} sources; {RATE} requests by ID and {RATE} of /livez a second. The "
        f"PostgreSQL is away for {args.away_s:g} s, then started or thawed: times "
        "after the return count from there, so its own start is in them. Answer times "
        "are of requests that were due, or not yet answered, while it was away."
    )


def initdb() -> Path:
    """Of the PostgreSQL that is installed."""
    found = shutil.which("initdb")
    if found is None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            sys.exit("PostgreSQL is not installed")
        return programs[-1]
    return Path(found)


@contextmanager
def serving(scratch: Path, url: str) -> Iterator[str]:
    """Index a simulated sky and serve it; gives the address."""
    sky, home = str(scratch / "sky"), str(scratch / "home")
    environment = os.environ | {"TWINJET_DATABASE_URL": url}
    for command in (
        ["simulate", sky, "--count", str(_COUNT)],
        ["index", sky, "--home", home],
    ):
        subprocess.run(
            [TWINJET, *command],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = subprocess.Popen(
        [TWINJET, "serve", "--home", home, "--port", str(port)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@dataclass(frozen=True)
class Asked:
    """One request, in seconds of one clock."""

    due_s: float
    answered_s: float
    said: str
    """Status, and of an error its kind; or why there was no answer."""

    @property
    def took_s(self) -> float:
        """From when it was due."""
        return self.answered_s - self.due_s


@dataclass
class Round:
    """One fault, from before it until after the return."""

    name: str
    gone_s: float = 0.0
    back_s: float = 0.0
    by_id: list[Asked] = field(default_factory=list)
    alive: list[Asked] = field(default_factory=list)

    def meanwhile(self, asked: list[Asked]) -> list[Asked]:
        """Those that were due, or waited, while the database was away."""
        return [
            one
            for one in asked
            if one.answered_s > self.gone_s and one.due_s < self.back_s
        ]

    @property
    def refused_s(self) -> float:
        """From the fault to the first answer that the store is not there."""
        return (
            min(
                (
                    one.answered_s
                    for one in self.by_id
                    if one.said.startswith("503") and one.answered_s > self.gone_s
                ),
                default=float("inf"),
            )
            - self.gone_s
        )

    @property
    def answered_s(self) -> float:
        """From the return to the first neighbours."""
        return (
            min(
                (
                    one.answered_s
                    for one in self.by_id
                    if one.said == "200" and one.answered_s > self.back_s
                ),
                default=float("inf"),
            )
            - self.back_s
        )

    @property
    def failed_s(self) -> float:
        """From the return to the last request that had none."""
        last = max(one.due_s for one in self.by_id if one.said != "200")
        return max(0.0, last - self.back_s)

    @property
    def longest_s(self) -> float:
        """Of the requests by ID."""
        return max(one.took_s for one in self.meanwhile(self.by_id))


async def measured(args: argparse.Namespace, root: str, postgres: Any) -> list[Round]:
    """Both faults, in turns."""
    faults: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
        ("stopped at once", postgres.stop, postgres.start),
        ("frozen", postgres.freeze, postgres.thaw),
    ]
    limits = httpx.Limits(max_connections=None)
    rows = []
    async with httpx.AsyncClient(
        base_url=root, timeout=_PATIENCE_S, limits=limits
    ) as client:
        await until_ready(client)
        sources = (await client.get("/sources?limit=100")).json()["sources"]
        names = [row["source"]["source_id"] for row in sources]
        paths = [f"/similar/{quote(name, safe='')}?k=10" for name in names]
        for name, leave, come_back in faults * args.rounds:
            row = Round(name)
            async with (
                asking(client, paths, row.by_id),
                asking(client, ["/livez"], row.alive),
            ):
                await asyncio.sleep(_QUIET_S)
                row.gone_s = time.monotonic()
                await asyncio.to_thread(leave)
                await asyncio.sleep(row.gone_s + args.away_s - time.monotonic())
                row.back_s = time.monotonic()
                await asyncio.to_thread(come_back)
                await asyncio.sleep(_AFTER_S)
            rows.append(row)
    return sorted(rows, key=lambda row: row.name, reverse=True)


async def until_ready(client: httpx.AsyncClient) -> None:
    """The server answers."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            if (await client.get("/readyz")).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    sys.exit("the server did not start")


@asynccontextmanager
async def asking(
    client: httpx.AsyncClient, paths: list[str], asked: list[Asked]
) -> AsyncIterator[None]:
    """Ask at the rate, as long as this is open; then wait for all answers."""
    waiting: set[asyncio.Task[None]] = set()

    async def one(path: str, due_s: float) -> None:
        try:
            said = said_by(await client.get(path))
        except httpx.HTTPError as exc:
            said = type(exc).__name__
        asked.append(Asked(due_s, time.monotonic(), said))

    async def again_and_again() -> None:
        began_s, number = time.monotonic(), 0
        while True:
            due_s = began_s + number / RATE
            await asyncio.sleep(due_s - time.monotonic())
            path = paths[number % len(paths)]
            task = asyncio.create_task(one(path, due_s))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            number += 1

    load = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        load.cancel()
        await asyncio.gather(load, *waiting, return_exceptions=True)


def said_by(answer: httpx.Response) -> str:
    """Status, and of an error the name of its kind."""
    if answer.status_code == httpx.codes.OK:
        return "200"
    kind = answer.json().get("type", "").rpartition("/")[2]
    return f"{answer.status_code} {kind}"


def table(rows: list[Round]) -> str:
    """In Markdown, a row each."""
    titles = (
        *("PostgreSQL", "first 503 after s", "p50 ms while away", "largest ms"),
        *("/livez answered", "its largest ms", "first 200 after the return s"),
        *("last without neighbours s", "answers by ID from the fault on"),
    )
    lines = [titles, ["---"] * len(titles), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Round) -> list[str]:
    """One line of the table."""
    took_ms = [1e3 * one.took_s for one in row.meanwhile(row.by_id)]
    alive = row.meanwhile(row.alive)
    lived = sum(one.said == "200" for one in alive)
    said = Counter(one.said for one in row.by_id if one.answered_s > row.gone_s)
    return [
        row.name,
        f"{row.refused_s:.2f}",
        f"{np.median(took_ms):.1f}",
        f"{max(took_ms):.0f}",
        f"{lived} of {len(alive)}",
        f"{1e3 * max(one.took_s for one in alive):.0f}",
        f"{row.answered_s:.2f}",
        f"{row.failed_s:.2f}",
        ", ".join(f"{kind}: {count}" for kind, count in sorted(said.items())),
    ]


def verdict(rows: list[Round]) -> str:
    """Whether it is as it should be."""
    refused_s = max(max(row.refused_s, row.longest_s) for row in rows)
    answered_s = max(row.answered_s for row in rows)
    lived = all(one.said == "200" for row in rows for one in row.alive)
    return (
        f"By ID every answer came within {refused_s:.2f} s (at most {REFUSED_S:g}: "
        f"{_judged(refused_s, REFUSED_S)}); neighbours again within "
        f"{answered_s:.2f} s of the return (at most {BACK_S:g}: "
        f"{_judged(answered_s, BACK_S)}); /livez was "
        f"{'always' if lived else 'not always'} answered with 200."
    )


def _judged(seconds: float, most_s: float) -> str:
    return "as wanted" if seconds <= most_s else "too long"


if __name__ == "__main__":
    main()
