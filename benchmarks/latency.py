"""How long an answer takes: by ID and by upload, one client, over loopback.

Starts a server over a folder of cutouts (a simulated sky when none is named), asks
each question many times and prints medians and 95th percentiles beside the parts
that the server itself measured, and beside the encoder alone in this process.

    python benchmarks/latency.py [FOLDER] [--requests N]
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from twinjet.model.decode import read_cutout
from twinjet.model.encoder import default_encoder

TWINJET = Path(sys.executable).with_name("twinjet")

# Not counted: caches fill, threads start.
WARM_UP = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        folder = arguments.folder
        if folder is None:
            folder = Path(scratch) / "sky"
            run("simulate", str(folder), "--count", "1000")
        started = time.perf_counter()
        report = json.loads(run("index", str(folder), "--home", str(home), "--json"))
        seconds = time.perf_counter() - started
        rate = report["count"] / seconds
        machine = platform.processor() or platform.machine()
        print(f"machine: {machine}, {os.cpu_count()} cores")
        print(f"index: {report['count']} sources in {seconds:.1f} s, {rate:.1f}/s")
        measure(home, folder, arguments.requests)


def measure(home: Path, folder: Path, requests: int) -> None:
    """Serve the home, ask, print a table."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [str(TWINJET), "serve", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_ready(client)
            page = client.get("/sources?limit=200").json()["sources"]
            names = [quote(item["source"]["source_id"], safe="") for item in page]
            files = [path.read_bytes() for path in cutouts_of(folder)[:50]]
            print("\n| question | median ms | p95 ms | its parts, medians in ms |")
            print("| --- | --- | --- | --- |")
            ask(
                "by ID",
                requests,
                lambda i: client.get(f"/similar/{names[i % len(names)]}"),
            )
            ask(
                "by upload",
                requests,
                lambda i: client.post(
                    "/similar", files={"file": ("a.fits", files[i % len(files)])}
                ),
            )
        alone(cutouts_of(folder)[:50], requests)
    finally:
        server.terminate()
        server.wait(timeout=60)


def ask(name: str, requests: int, question: Callable[[int], httpx.Response]) -> None:
    """Ask one question again and again, print its row."""
    times, parts = [], []
    for number in range(WARM_UP + requests):
        started = time.perf_counter()
        answer = question(number)
        elapsed = 1e3 * (time.perf_counter() - started)
        answer.raise_for_status()
        if number >= WARM_UP:
            times.append(elapsed)
            parts.append(server_timing(answer))
    inside = ", ".join(
        f"{p} {statistics.median(t[p] for t in parts):.1f}" for p in parts[0]
    )
    print(f"| {name} | {statistics.median(times):.1f} | {p95(times):.1f} | {inside} |")


def server_timing(answer: httpx.Response) -> dict[str, float]:
    """Parts of the time as the server measured them, in ms."""
    header = answer.headers["server-timing"]
    parts = (part.split(";dur=") for part in header.split(", "))
    return {name: float(spent) for name, spent in parts}


def alone(files: list[Path], requests: int) -> None:
    """Decode and embed in this process, without a server: the floor of an upload."""
    encoder = default_encoder()
    decode, embed = [], []
    for number in range(WARM_UP + requests):
        started = time.perf_counter()
        cutout = read_cutout(files[number % len(files)])
        decoded = time.perf_counter()
        encoder.embed([cutout])
        done = time.perf_counter()
        if number >= WARM_UP:
            decode.append(1e3 * (decoded - started))
            embed.append(1e3 * (done - decoded))
    both = [a + b for a, b in zip(decode, embed, strict=True)]
    parts = (
        f"decode {statistics.median(decode):.1f}, embed {statistics.median(embed):.1f}"
    )
    print(
        f"| encoder alone | {statistics.median(both):.1f} | {p95(both):.1f} | {parts} |"
    )


def wait_until_ready(client: httpx.Client) -> None:
    """Return when the server can answer."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").json()["status"] == "ok":
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    sys.exit("the server did not become ready within two minutes")


def cutouts_of(folder: Path) -> list[Path]:
    """FITS files of a folder."""
    return sorted(
        p for p in folder.rglob("*") if ".fits" in p.name and p.name[0] != "."
    )


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def run(*arguments: str) -> str:
    """Run a command of Twinjet to its end."""
    command: list[Any] = [TWINJET, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
