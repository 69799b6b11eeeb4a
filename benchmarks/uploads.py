"""How quick the path of an upload is, against the encoder without a service.

    python benchmarks/uploads.py [FOLDER] [--requests 1000] [--clients 16]
                                 [--rounds 4] [--write]

Indexes a folder of cutouts (../shared/data/mirabest when none is named) and serves it
by ``twinjet serve``. Measured in one run, over the same files and over loopback:

- uploads a second of many clients of ``POST /similar``, each on a connection of its
  own, against images a second of ``twinjet embed``, from its first line to its last;
- median time of one client, against decoding, preparing and embedding one file after
  the other in one process.

All have one engine, the one that TWINJET_ENGINE names, and its threads; limits of rate
are off. The files are dealt out to some rounds, and each round measures all four over
its own: the load of the machine before it and its two figures show whether the machine
was the same throughout.

The clients run on the same cores as the service, and their time is part of what is
measured. With --write the tables are benchmarks/results/uploads.md.
"""

import argparse
import http.client
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder
from twinjet.model.engine import engine_of
from twinjet.service.config import Config
from twinjet.service.encoders import encoder_of

RESULTS = Path(__file__).parent / "results"
TWINJET = str(Path(sys.executable).with_name("twinjet"))

# What is wanted: the service costs a fifth of the encoder's throughput at most, and a
# single client waits for two and a half times of what must be computed.
LEAST_OF_THROUGHPUT = 0.8
MOST_OF_LATENCY = 2.5

# Not counted: caches fill, threads start.
_WARM_UP = 20

_BOUNDARY = "7d8a4c"
_TYPE = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


@dataclass
class Times:
    """Of answers to uploads."""

    seen_ms: list[float] = field(default_factory=list)
    parts_ms: list[dict[str, float]] = field(default_factory=list)
    """As the server measured them."""
    wall_s: float = 0.0
    """From the first question to the last answer."""
    cpu_s: float = 0.0
    """Of the service and its decoders."""

    def parts(self) -> str:
        """Their medians, in words."""
        names = self.parts_ms[0]
        medians = {n: statistics.median(p[n] for p in self.parts_ms) for n in names}
        return ", ".join(f"{name} {value:.1f}" for name, value in medians.items())


@dataclass
class Round:
    """All four, over the same files."""

    load: float
    """Of the machine, before it."""
    embed_s: float
    """For all files but the first, by ``twinjet embed``."""
    bare_ms: list[tuple[float, float]]
    """Of each file: decoding and preparing it, and one inference."""
    alone: Times
    many: Times

    @property
    def embedded(self) -> int:
        """Files in the time of ``twinjet embed``."""
        return len(self.bare_ms) - 1


def main() -> None:
    """Index, serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="../shared/data/mirabest")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--home", type=Path, help="made here, or used if it is there")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    files = sorted(Path(args.folder).rglob("*.fits*"))[: args.requests]
    least = args.rounds * max(2, args.clients)
    assert len(files) >= least, f"{least} FITS are needed below {args.folder}"
    with tempfile.TemporaryDirectory() as scratch:
        home = args.home or Path(scratch)
        if not (home / "generations").is_dir():
            index = [TWINJET, "index", args.folder, "--home", str(home)]
            subprocess.run(index, check=True, capture_output=True)
        encoder = encoder_of(Config())
        with serving(home, clients=args.clients) as (port, server):
            rounds = [
                measured(files[n :: args.rounds], encoder, port, server, args.clients)
                for n in range(args.rounds)
            ]
    text = report(args, engine_of(encoder), rounds)
    print(text)
    if args.write:
        (RESULTS / "uploads.md").write_text(text + "\n", encoding="utf-8")


def measured(
    files: list[Path], encoder: Encoder, port: int, server: int, clients: int
) -> Round:
    """One round; the service has nothing to do while the others are measured."""
    load = os.getloadavg()[0]
    contents = [path.read_bytes() for path in files]
    bodies = [body_of(data) for data in contents]
    return Round(
        load,
        embedding_s(files),
        bare(encoder, contents),
        ask(port, server, bodies, clients=1),
        ask(port, server, bodies, clients=clients),
    )


def embedding_s(files: list[Path]) -> float:
    """Seconds of ``twinjet embed`` from its first line to its last."""
    with subprocess.Popen(
        [TWINJET, "embed", *map(str, files)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        next(lines)
        started = time.perf_counter()
        done = sum(1 for _ in lines)
        seconds = time.perf_counter() - started
    assert (process.returncode, done) == (0, len(files) - 1)
    return seconds


def bare(encoder: Encoder, contents: list[bytes]) -> list[tuple[float, float]]:
    """For each file: decoding and preparing it, and one inference, in ms."""
    recipe = encoder.recipe()
    warm_up = contents[:_WARM_UP]
    times = []
    for data in [*warm_up, *contents]:
        started = time.perf_counter()
        image = recipe(read_cutout(data)).image
        decoded = time.perf_counter()
        encoder.embed_images(image[None])
        done = time.perf_counter()
        times.append((1e3 * (decoded - started), 1e3 * (done - decoded)))
    return times[len(warm_up) :]


def body_of(data: bytes) -> bytes:
    """A form with one file."""
    disposition = 'Content-Disposition: form-data; name="file"; filename="a.fits"'
    head = f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n"
    return head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()


def ask(port: int, server: int, bodies: list[bytes], *, clients: int) -> Times:
    """Upload each from one of several clients, each one file after the other."""
    times = Times()
    turn = count()
    ready = threading.Barrier(clients + 1, timeout=60)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(-(-_WARM_UP // clients)):
            upload(connection, bodies[number % len(bodies)])
        ready.wait()
        while (number := next(turn)) < len(bodies):
            started = time.perf_counter()
            parts = upload(connection, bodies[number])
            times.seen_ms.append(1e3 * (time.perf_counter() - started))
            times.parts_ms.append(parts)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    started, cpu_s = time.perf_counter(), cpu_seconds(server)
    for thread in threads:
        thread.join()
    times.wall_s = time.perf_counter() - started
    times.cpu_s = cpu_seconds(server) - cpu_s
    assert len(times.seen_ms) == len(bodies), "a client came to grief"
    return times


def upload(connection: http.client.HTTPConnection, body: bytes) -> dict[str, float]:
    """Ask for the neighbours of one file; the parts of the time, in ms."""
    connection.request("POST", "/similar", body, _TYPE)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == http.client.OK, text
    header = answer.getheader("Server-Timing") or ""
    parts = (part.split(";dur=") for part in header.split(", "))
    return {name: float(spent) for name, spent in parts}


def cpu_seconds(server: int) -> float:
    """Processor time of a process and of its children that live."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if server in {int(stat.parent.name), int(fields[1])}:
            spent += int(fields[11]) + int(fields[12])
    return spent / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(home: Path, *, clients: int) -> Iterator[tuple[int, int]]:
    """A server over a home: its port and its process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    command = [TWINJET, "serve", "--home", str(home), "--port", str(port)]
    settings = {
        "TWINJET_WORKERS": "0",  # nothing is indexed meanwhile
        "TWINJET_PROCESSES": "1",  # whose processor time is measured
        "TWINJET_REQUESTS_PER_MINUTE": "0",
        "TWINJET_UPLOADS_PER_MINUTE": "0",
        "TWINJET_UPLOAD_QUEUE": str(2 * clients),
    }
    with subprocess.Popen(command, env=os.environ | settings) as server:
        try:
            wait_until_ready(port, server)
            yield port, server.pid
        finally:
            server.terminate()


def wait_until_ready(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Return when the server can answer."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("the server did not become ready within two minutes")


def report(args: argparse.Namespace, engine: str, rounds: list[Round]) -> str:
    """A table, what was wanted, and each round."""
    machine = platform.processor() or platform.machine()
    loads = ", ".join(f"{one.load:.1f}" for one in rounds)
    bare_ms = [pair for one in rounds for pair in one.bare_ms]
    decode, infer = (statistics.median(t) for t in zip(*bare_ms, strict=True))
    both_ms = [sum(pair) for pair in bare_ms]
    both = statistics.median(both_ms)
    parts, slower = [throughput([r]) for r in rounds], [latency([r]) for r in rounds]
    part, slow = throughput(rounds), latency(rounds)
    said = {True: "as wanted", False: "NOT as wanted"}
    return f"""\
{datetime.now(UTC).date()}, {os.cpu_count()} cores, {machine}, {engine}; \
{len(bare_ms)} files of {Path(args.folder).name} in {len(rounds)} rounds, load before \
each: {loads}; clients on the same cores. \
`python benchmarks/uploads.py{" --write" if args.write else ""}`

| | a second | median ms | p95 ms | CPU ms | parts, medians in ms |
| --- | --- | --- | --- | --- | --- |
{row(f"{args.clients} clients", together([r.many for r in rounds]))}
{row("1 client", together([r.alone for r in rounds]))}
| `twinjet embed` | {embed_rate(rounds):.1f} | | | | |
| in one process | {1e3 / statistics.mean(both_ms):.1f} | {both:.1f} | \
{p95(both_ms):.1f} | | decode {decode:.1f}, embed {infer:.1f} |

Throughput {100 * part:.0f} % of `twinjet embed` (at least \
{100 * LEAST_OF_THROUGHPUT:.0f} %: {said[part >= LEAST_OF_THROUGHPUT]}); latency \
{slow:.2f} times decoding and one inference (at most {MOST_OF_LATENCY:g}: \
{said[slow <= MOST_OF_LATENCY]}). Of the rounds: \
{", ".join(f"{100 * p:.0f} %" for p in parts)}; \
{", ".join(f"{s:.2f}" for s in slower)}."""


def throughput(rounds: list[Round]) -> float:
    """Uploads a second of many clients, as a part of ``twinjet embed``."""
    many = together([one.many for one in rounds])
    return len(many.seen_ms) / many.wall_s / embed_rate(rounds)


def latency(rounds: list[Round]) -> float:
    """Median time of one client, in medians of decoding and one inference."""
    alone = together([one.alone for one in rounds])
    both = statistics.median(sum(pair) for one in rounds for pair in one.bare_ms)
    return statistics.median(alone.seen_ms) / both


def embed_rate(rounds: list[Round]) -> float:
    """Images a second of ``twinjet embed``."""
    return sum(r.embedded for r in rounds) / sum(r.embed_s for r in rounds)


def together(several: list[Times]) -> Times:
    """Times of several rounds as one."""
    return Times(
        [seen for times in several for seen in times.seen_ms],
        [parts for times in several for parts in times.parts_ms],
        sum(times.wall_s for times in several),
        sum(times.cpu_s for times in several),
    )


def row(name: str, times: Times) -> str:
    """Of uploads."""
    number = len(times.seen_ms)
    return (
        f"| {name} | {number / times.wall_s:.1f} | "
        f"{statistics.median(times.seen_ms):.1f} | {p95(times.seen_ms):.1f} | "
        f"{1e3 * times.cpu_s / number:.1f} | {times.parts()} |"
    )


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    main()
