"""How quick the path of an upload is, against the encoder without a service.

    python benchmarks/uploads.py [FOLDER] [--requests 1000] [--clients 16] [--write]

Indexes a folder of cutouts (../shared/data/mirabest when none is named) and serves it
by ``twinjet serve``. Measured in one run, over the same files and over loopback:

- uploads a second of many clients of ``POST /similar``, each on a connection of its
  own, against images a second of ``twinjet embed``, from its first line to its last;
- median time of one client, against decoding, preparing and embedding one file after
  the other in one process.

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
from twinjet.model.encoder import default_encoder

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
    cpu_ms: float = 0.0
    """Of the service and its decoders, for one upload."""

    def parts(self) -> str:
        """Their medians, in words."""
        names = self.parts_ms[0]
        medians = {n: statistics.median(p[n] for p in self.parts_ms) for n in names}
        return ", ".join(f"{name} {value:.1f}" for name, value in medians.items())


def main() -> None:
    """Index, serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="../shared/data/mirabest")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--home", type=Path, help="made here, or used if it is there")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    files = sorted(Path(args.folder).rglob("*.fits*"))[: args.requests]
    assert files, f"no FITS below {args.folder}"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        home = args.home or Path(scratch)
        if not (home / "generations").is_dir():
            index = [TWINJET, "index", args.folder, "--home", str(home)]
            subprocess.run(index, check=True, capture_output=True)
        embed_rate = embedded_per_s(files)
        bare_ms = bare(files)
        with serving(home) as (port, server):
            bodies = [body_of(path.read_bytes()) for path in files]
            alone = ask(port, server, bodies, requests=args.requests // 2, clients=1)
            many = ask(
                port, server, bodies, requests=args.requests, clients=args.clients
            )
    text = report(args, load, embed_rate, bare_ms, alone, many)
    print(text)
    if args.write:
        (RESULTS / "uploads.md").write_text(text + "\n", encoding="utf-8")


def embedded_per_s(files: list[Path]) -> float:
    """Images a second of ``twinjet embed``, without its start."""
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
    return done / seconds


def bare(files: list[Path]) -> list[tuple[float, float]]:
    """For each file: decoding and preparing it, and one inference, in ms."""
    encoder = default_encoder()
    recipe = encoder.recipe()
    times = []
    for path in [*files[:_WARM_UP], *files]:
        data = path.read_bytes()
        started = time.perf_counter()
        image = recipe(read_cutout(data)).image
        decoded = time.perf_counter()
        encoder.embed_images(image[None])
        done = time.perf_counter()
        times.append((1e3 * (decoded - started), 1e3 * (done - decoded)))
    return times[_WARM_UP:]


def body_of(data: bytes) -> bytes:
    """A form with one file."""
    disposition = 'Content-Disposition: form-data; name="file"; filename="a.fits"'
    head = f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n"
    return head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()


def ask(
    port: int, server: int, bodies: list[bytes], *, requests: int, clients: int
) -> Times:
    """Upload from several clients, each one file after the other."""
    times = Times()
    turn = count()
    ready = threading.Barrier(clients + 1, timeout=60)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(-(-_WARM_UP // clients)):
            upload(connection, bodies[number % len(bodies)])
        ready.wait()
        while (number := next(turn)) < requests:
            started = time.perf_counter()
            parts = upload(connection, bodies[number % len(bodies)])
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
    times.cpu_ms = 1e3 * (cpu_seconds(server) - cpu_s) / requests
    assert len(times.seen_ms) == requests, "a client came to grief"
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
def serving(home: Path) -> Iterator[tuple[int, int]]:
    """A server over a home: its port and its process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    command = [TWINJET, "serve", "--home", str(home), "--port", str(port)]
    # Nothing is indexed meanwhile.
    with subprocess.Popen(command, env=os.environ | {"TWINJET_WORKERS": "0"}) as server:
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


def report(
    args: argparse.Namespace,
    load: float,
    embed_rate: float,
    bare_ms: list[tuple[float, float]],
    *asked: Times,
) -> str:
    """A table, and what was wanted."""
    alone, many = asked
    machine = platform.processor() or platform.machine()
    decode, infer = (statistics.median(t) for t in zip(*bare_ms, strict=True))
    both_ms = [a + b for a, b in bare_ms]
    both = statistics.median(both_ms)
    slower = statistics.median(alone.seen_ms) / both
    part = args.requests / many.wall_s / embed_rate
    said = {True: "as wanted", False: "NOT as wanted"}
    return f"""\
{datetime.now(UTC).date()}, {os.cpu_count()} cores, {machine}, load {load:.1f} before; \
{len(bare_ms)} files of {Path(args.folder).name}, {args.requests} uploads, clients on \
the same cores. `python benchmarks/uploads.py{" --write" if args.write else ""}`

| | a second | median ms | p95 ms | CPU ms | parts, medians in ms |
| --- | --- | --- | --- | --- | --- |
{row(f"{args.clients} clients", many)}
{row("1 client", alone)}
| `twinjet embed` | {embed_rate:.1f} | | | | |
| in one process | {1e3 / both:.1f} | {both:.1f} | {p95(both_ms):.1f} | | \
decode {decode:.1f}, embed {infer:.1f} |

Throughput {100 * part:.0f} % of `twinjet embed` (at least \
{100 * LEAST_OF_THROUGHPUT:.0f} %: {said[part >= LEAST_OF_THROUGHPUT]}); latency \
{slower:.2f} times decoding and one inference (at most {MOST_OF_LATENCY:g}: \
{said[slower <= MOST_OF_LATENCY]})."""


def row(name: str, times: Times) -> str:
    """Of uploads."""
    rate = len(times.seen_ms) / times.wall_s
    return (
        f"| {name} | {rate:.1f} | {statistics.median(times.seen_ms):.1f} | "
        f"{p95(times.seen_ms):.1f} | {times.cpu_ms:.1f} | {times.parts()} |"
    )


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    main()
