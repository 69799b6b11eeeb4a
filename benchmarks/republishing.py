"""Whether people who search notice that the index is rebuilt under them.

    python benchmarks/republishing.py ../shared/data

`twinjet serve` over MiraBest with its own worker is asked for neighbours at a constant
rate, whatever it does; a request's time counts from when it was due. First in quiet,
then while ten jobs rebuild the index: in each a tenth of the cutouts is new and must be
embedded. With --write the table is benchmarks/results/republishing.md.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import numpy as np

RESULTS = Path(__file__).parent / "results"
TWINJET = str(Path(sys.executable).with_name("twinjet"))
JOBS = 10

# A client that is answered later than this has gone away.
_PATIENCE_S = 30


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--rate", type=float, default=20, help="requests a second")
    parser.add_argument("--quiet-s", type=float, default=30, help="before the jobs")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sky, key = Path(scratch) / "sky", secrets.token_hex(16)
        shutil.copytree(args.data / "mirabest", sky)
        table = (sky / "catalogue.csv").read_text(encoding="utf-8").splitlines()
        first = len(table) - JOBS * ((len(table) - 1) // (JOBS + 5))
        write_table(sky, table[:first])
        with serving(sky, Path(scratch) / "home", key) as root:
            text = asyncio.run(measured(args, root, key, sky, (table, first)))
    print(text)
    if args.write:
        (RESULTS / "republishing.md").write_text(text + "\n", encoding="utf-8")


@contextmanager
def serving(sky: Path, home: Path, key: str) -> Iterator[str]:
    """Index a folder and serve it, with a worker; gives the address."""
    command = [TWINJET, "index", str(sky), "--home", str(home)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = subprocess.Popen(
        [TWINJET, "serve", "--home", str(home), "--port", str(port)],
        env=os.environ | {"TWINJET_ADMIN_KEY": key},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


async def measured(
    args: argparse.Namespace,
    root: str,
    key: str,
    sky: Path,
    rows: tuple[list[str], int],
) -> str:
    """The table of results; `rows` are the catalogue's, and how many come first."""
    table, first = rows
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=root, timeout=_PATIENCE_S, headers=headers
    ) as client:
        await until_ready(client)
        names = [
            row["source"]["source_id"]
            for row in (await client.get("/sources?limit=100")).json()["sources"]
        ]
        quiet, during = Load(client, names), Load(client, names)
        async with quiet.at(args.rate):
            await asyncio.sleep(args.quiet_s)
        step = (len(table) - first) // JOBS
        embedded, started = 0, time.monotonic()
        async with during.at(args.rate):
            for number in range(JOBS):
                write_table(sky, table[: first + (number + 1) * step])
                embedded += await job(client, sky)
        took = time.monotonic() - started
    head = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared by server, "
        f"worker and load, {args.rate:g} requests a second, {JOBS} jobs with "
        f"{embedded} new cutouts in {took:.0f} s. "
        "`python benchmarks/republishing.py ../shared/data`\n\n"
        "| | requests | failed | generations that answered | p50 ms | p90 ms | p99 ms "
        "| largest ms |\n" + "| --- " * 8 + "|"
    )
    return "\n".join([head, quiet.row("in quiet"), during.row("during the jobs")])


class Load:
    """Requests at their times, each whether or not the one before was answered."""

    def __init__(self, client: httpx.AsyncClient, names: list[str]) -> None:
        self._client = client
        self._names = names
        self._took: list[float] = []
        self._failed = 0
        self._generations: Counter[int] = Counter()

    @asynccontextmanager
    async def at(self, rate: float) -> AsyncIterator[None]:
        """Ask so often, as long as this is open; then wait for all answers."""
        asking = asyncio.create_task(self._ask(rate))
        try:
            yield
        finally:
            asking.cancel()
            try:
                await asking
            except asyncio.CancelledError:
                await asyncio.gather(*self._open)

    async def _ask(self, rate: float) -> None:
        self._open: set[asyncio.Task[None]] = set()
        started, number = time.monotonic(), 0
        while True:
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._one(due, number))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            number += 1

    async def _one(self, due: float, number: int) -> None:
        name = self._names[number % len(self._names)]
        try:
            answer = await self._client.get(
                f"/similar/{name.replace('+', '%2B')}", params={"k": 10}
            )
            answer.raise_for_status()
            self._generations[answer.json()["generation"]["number"]] += 1
        except httpx.HTTPError:
            self._failed += 1
        self._took.append(1000 * (time.monotonic() - due))

    def row(self, name: str) -> str:
        """Of the table."""
        p50, p90, p99 = np.percentile(self._took, [50, 90, 99])
        return (
            f"| {name} | {len(self._took)} | {self._failed} "
            f"| {len(self._generations)} | {p50:.1f} | {p90:.1f} | {p99:.1f} "
            f"| {max(self._took):.1f} |"
        )


async def job(client: httpx.AsyncClient, sky: Path) -> int:
    """Rebuild; returns how many cutouts were embedded."""
    answer = await client.post("/jobs/reindex", json={"cutouts": str(sky)})
    answer.raise_for_status()
    found = answer.json()
    while found["state"] in {"queued", "running"}:
        await asyncio.sleep(0.5)
        found = (await client.get(found["links"]["self"])).json()
    if found["state"] != "succeeded":
        sys.exit(f"the job ended with {found['error']}")
    embedded: int = found["report"]["embedded"]
    return embedded


async def until_ready(client: httpx.AsyncClient) -> None:
    """The server answers."""
    for _ in range(600):
        try:
            if (await client.get("/readyz")).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    sys.exit("the server did not start")


def write_table(sky: Path, lines: list[str]) -> None:
    """The catalogue as it is now, all at once."""
    half_done = sky / "catalogue.tmp"
    half_done.write_text("\n".join(lines) + "\n", encoding="utf-8")
    half_done.replace(sky / "catalogue.csv")


if __name__ == "__main__":
    main()
