"""How long a search by ID takes, end to end, over a large index.

    python benchmarks/search/by_id.py [FOLDER OF CUTOUTS] [--sources N] [--write]

Makes a generation of the synthetic embeddings of `compare.py`, each twentieth source
catalogued twice, some arcsec apart, serves it by ``twinjet serve`` and asks over
loopback, one client, one question after the other, each for another source. With a
folder of cutouts it does the same with their embeddings, mixed and jittered as there.
Printed are the median and the 99th percentile of what the client sees, the medians of
the parts in ``Server-Timing``, and whether they add up; and whether any answer had an
object twice.

With --write the table is benchmarks/results/by-id.md.
"""

import argparse
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from workload import embeddings, mixtures, synthetic

from twinjet.index.database import create_engine, upgrade
from twinjet.index.durable import file_digest
from twinjet.index.generation import Manifest, write_generation
from twinjet.index.home import Home
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore
from twinjet.model.encoder import default_encoder

RESULTS = Path(__file__).parents[1] / "results"
TWINJET = str(Path(sys.executable).with_name("twinjet"))

COLUMNS = (
    Column("angular_size_arcsec", "arcsec"),
    Column("flux_mjy", "mJy"),
    Column("redshift"),
    Column("fr_class", kind="text"),
)

# Every so many-th source has a duplicate, this far away.
_TWIN_EACH = 20
_TWIN_ARCSEC = 4.0
_TWIN_NOISE = 0.002  # in every direction

_WARM_UP = 50
_BLOCK = 10_000


@dataclass
class Times:
    """What was measured of one question, in ms."""

    seen: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: float = 0.0
    """Of the server for one answer, which a busy machine does not change much."""
    worst_sum: float = 0.0
    """Largest difference between the total and the sum of the other parts."""


def main() -> None:
    """Make, serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, help="folder of FITS cutouts")
    parser.add_argument("--sources", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--home", type=Path, help="made here, or used if it is there")
    parser.add_argument("--make", action="store_true", help="make the home, no more")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    dimension = default_encoder().card.dimension
    if args.make:
        make(args.home, synthetic(args.sources, dimension))
        return
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        home = args.home or Path(scratch) / "synthetic"
        if not (home / "generations").is_dir():
            make(home, synthetic(args.sources, dimension))
        tables.append(table(home, "synthetic", args))
        if args.data is not None:
            home = Path(scratch) / "real"
            real = embeddings(args.data)
            make(home, mixtures(real, args.sources))
            tables.append(table(home, "real, mixed and jittered", args))
    text = report(args, tables)
    print(text)
    if args.write:
        (RESULTS / "by-id.md").write_text(text + "\n", encoding="utf-8")


def positions(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All over the sky, in ICRS degrees; some twice, beside RA 0 and the poles too."""
    rng = np.random.default_rng(7)
    ra = rng.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    twins = np.arange(_TWIN_EACH - 1, count, _TWIN_EACH)
    dec[twins] = np.clip(dec[twins - 1] + _TWIN_ARCSEC / 3600, -90, 90)
    ra[twins] = ra[twins - 1]
    return ra, dec


def make(home: Path, vectors: NDArray[np.float32]) -> None:
    """A published generation of embeddings (N, D), some of them replaced by twins."""
    count = len(vectors)
    home.mkdir(parents=True, exist_ok=True)
    files = Home(home)
    engine = create_engine(files.database_url)
    upgrade(engine)
    store = SourceStore(engine)
    card = default_encoder().card
    number = store.begin_generation(
        encoder_id=card.id,
        catalogue_name="synthetic",
        catalogue_digest="0" * 64,
        columns=COLUMNS,
    )
    ra, dec = positions(count)
    rng = np.random.default_rng(8)
    for start in range(0, count, _BLOCK):
        rows = range(start, min(start + _BLOCK, count))
        values = rng.lognormal(size=(len(rows), 3)).round(3).tolist()
        sources = [
            Source(
                name(row),
                float(ra[row]),
                float(dec[row]),
                "synthetic",
                None,
                {
                    "angular_size_arcsec": size,
                    "flux_mjy": flux,
                    "redshift": redshift,
                    "fr_class": "FRI" if row % 3 else "FRII",
                },
            )
            for row, (size, flux, redshift) in zip(rows, values, strict=True)
        ]
        store.add_sources(number, start, sources)
    manifest = Manifest(
        number=number,
        encoder_id=card.id,
        encoder_name=card.name,
        catalogue_name="synthetic",
        catalogue_digest="0" * 64,
        cutouts=str(home),
        count=count,
        dimension=vectors.shape[1],
        recall_at_10=0.0,
        failed=0,
    )
    blocks = blocks_of(vectors, unit_vectors(ra, dec))
    folder = "g000001"
    write_generation(files.generations / folder, manifest, blocks)
    store.seal(number, file_digest(files.generations / folder / "manifest.json"))
    store.publish_build(number, source_count=count, folder=folder)
    store.close()


def blocks_of(
    made: NDArray[np.float32], places: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Blocks of unit vectors, among them twins that are alike, and of positions."""
    rng = np.random.default_rng(9)
    for start in range(0, len(made), _BLOCK):
        vectors = np.array(made[start : start + _BLOCK])
        twins = np.arange(_TWIN_EACH - 1, len(vectors), _TWIN_EACH)
        noise = rng.normal(size=(len(twins), made.shape[1])).astype(np.float32)
        vectors[twins] = vectors[twins - 1] + _TWIN_NOISE * noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield vectors, places[start : start + _BLOCK]


def name(row: int) -> str:
    """ID of a source."""
    return f"S{row:07d}+00"


@contextmanager
def serving(home: Path) -> Iterator[tuple[int, int]]:
    """Serve the home; gives port and process when it can answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    server = subprocess.Popen(
        [TWINJET, "serve", "--home", str(home), "--port", str(port)],
        env=os.environ | {"TWINJET_WORKERS": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not ready(port):
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit("the server did not become ready within two minutes")
            time.sleep(0.1)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait(timeout=60)


def ready(port: int) -> bool:
    """Whether the server can answer."""
    try:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", "/readyz")
        return client.getresponse().status == http.client.OK
    except OSError:
        return False


def cpu_s(process: int) -> float:
    """Seconds of processors that a process has had (Linux)."""
    text = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(
    port: int,
    server: int,
    question: str,
    args: argparse.Namespace,
    places: NDArray[np.float64],
) -> tuple[str, Times, int]:
    """Ask again and again, each time about another source."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    rows = np.random.default_rng(10).permutation(args.sources)
    times, twice = Times(), 0
    began_cpu_s = 0.0
    for number in range(_WARM_UP + args.requests):
        if number == _WARM_UP:
            began_cpu_s = cpu_s(server)
        row = int(rows[number % len(rows)])
        url = f"/similar/{quote(name(row), safe='')}?{question}"
        started = time.perf_counter()
        client.request("GET", url)
        answer = client.getresponse()
        body = answer.read()
        elapsed = 1e3 * (time.perf_counter() - started)
        if answer.status != http.client.OK:
            sys.exit(f"{url}: {answer.status} {body[:500]!r}")
        if "csv" not in question:
            twice += same_object(body, places)
        if number < _WARM_UP:
            continue
        times.seen.append(elapsed)
        spent = timing(answer.headers["Server-Timing"])
        total = spent["total"]
        parts = sum(spent.values()) - total
        times.worst_sum = max(times.worst_sum, abs(total - parts))
        for part, ms in spent.items():
            times.parts[part].append(ms)
        times.parts["outside the server"].append(elapsed - total)
    times.cpu_ms = 1e3 * (cpu_s(server) - began_cpu_s) / args.requests
    return question, times, twice


def timing(header: str) -> dict[str, float]:
    """Parts in ms by name."""
    pairs = (part.split(";dur=") for part in header.split(", "))
    return {part: float(ms) for part, ms in pairs}


def same_object(body: bytes, places: NDArray[np.float64]) -> int:
    """Pairs of an answer, the query among it, that are closer than 10 arcsec."""
    answer = json.loads(body)
    ids = [one["source"]["source_id"] for one in answer["neighbours"]]
    ids.append(answer["query"]["source"]["source_id"])
    found = places[[int(one[1:8]) for one in ids]]
    chords = np.linalg.norm(found[:, None] - found[None], axis=2)
    near = chords < np.radians(10 / 3600)
    return int((near.sum() - len(found)) // 2)


def table(home: Path, kind: str, args: argparse.Namespace) -> str:
    """Serve the home, ask, and say what was measured."""
    places = unit_vectors(*positions(args.sources))
    load = os.getloadavg()[0]
    with serving(home) as (port, server):
        rows = [
            measure(port, server, question, args, places)
            for question in ("k=10", "k=100", "k=10&exact=true", "k=10&format=csv")
        ]
    titles = (
        *("question", "median ms", "p99 ms", "CPU ms", "its parts, medians in ms"),
        *("parts and total differ by, ms", "objects twice"),
    )
    head = f"**Embeddings that are {kind}**; load {load:.1f} before."
    lines = [head, "", f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for question, times, twice in rows:
        parts = ", ".join(
            f"{part} {statistics.median(spent):.2f}"
            for part, spent in times.parts.items()
        )
        p99 = statistics.quantiles(times.seen, n=100)[-1]
        checked = "not counted" if "csv" in question else str(twice)
        lines.append(
            f"| by ID, `{question}` | {statistics.median(times.seen):.2f} | {p99:.2f} "
            f"| {times.cpu_ms:.2f} | {parts} | {times.worst_sum:.3f} | {checked} |"
        )
    return "\n".join(lines)


def report(args: argparse.Namespace, tables: list[str]) -> str:
    """What was measured where, and the tables."""
    machine = platform.processor() or platform.machine()
    head = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {machine}; "
        f"{args.sources:,} sources, one of {_TWIN_EACH} catalogued twice; one client "
        f"over loopback, {args.requests:,} requests each. "
        f"`python benchmarks/search/by_id.py {' '.join(sys.argv[1:])}`"
    )
    return "\n\n".join([head, *tables])


if __name__ == "__main__":
    main()
