"""How fast a catalogue is indexed, and in how much memory.

    python benchmarks/reindexing.py ../shared/data    # one and two workers
    python benchmarks/reindexing.py ../shared/data --sources 100000

Real cutouts of MiraBest; for more sources than it has, the same cutouts without their
WCS at other positions, each read, decoded and embedded for itself. Beside the rate of
the job stands, in the same run and on the same cutouts, that of the encoder without a
job: files to vectors one after the other, as ``twinjet embed`` makes them, in as many
processes of as many threads; and that of the encoder for cutouts that were decoded
before. Memory is the largest resident set of any process of the job, looked at twice a
second: with the pages of files that are mapped, and without. With --write the table is
benchmarks/results/reindexing-*.md.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
from astropy.io import fits

from twinjet.index.database import create_engine
from twinjet.index.home import Home, system_url
from twinjet.index.jobs.engine import connect
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.jobs.request import ReindexRequest
from twinjet.index.store import SourceStore
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import card_path, load_encoder

RESULTS = Path(__file__).parent / "results"

# Cutouts that the encoder alone is timed with.
_ALONE = 512


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--sources", type=int, default=0, help="0: those of MiraBest")
    parser.add_argument(
        "--workers",
        nargs="*",
        default=["1x1", "1x2", "2x1"],
        help="workers x threads of each",
    )
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 8),
        default=8,
        help="of the encoder; 1 is eight times as fast, to see the rest at work",
    )
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        mirabest = args.data / "mirabest"
        sky = repeated(mirabest, folder / "sky", args.sources)
        card = encoder_of(folder, args.views)
        lines = [head(card)]
        row: dict[str, float] = {}
        for pair in args.workers:
            workers, threads = (int(n) for n in pair.split("x"))
            alone = encoder_alone(sky, card, workers, threads)
            home = folder / f"home{pair}"
            row = indexed(sky, home, card, workers, threads)
            lines.append(line(workers, threads, alone, row))
            print(lines[-1], flush=True)
    text = "\n".join([*lines, "", projection(row)])
    print(text)
    if args.write:
        name = f"reindexing-{args.sources or 'mirabest'}.md"
        (RESULTS / name).write_text(text + "\n", encoding="utf-8")


def repeated(mirabest: Path, folder: Path, count: int) -> Path:
    """MiraBest as it is, or so many sources with its cutouts at other positions."""
    if not count:
        return mirabest
    folder.mkdir()
    with (mirabest / "catalogue.csv").open(encoding="utf-8") as table:
        names = [row["cutout"] for row in csv.DictReader(table)]
    for number, name in enumerate(names):
        pixels = read_cutout(mirabest / name).pixels
        fits.PrimaryHDU(pixels).writeto(folder / f"{number}.fits")
    rng = np.random.default_rng(0)
    ra = rng.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    with (folder / "catalogue.csv").open("w", encoding="utf-8") as table:
        table.write("source_id,cutout,ra,dec,size_arcsec,kind\n")
        for number in range(count):
            cutout = number % len(names)
            table.write(
                f"S{number:06d},{cutout}.fits,{ra[number]:.6f},{dec[number]:.6f},"
                f"{rng.uniform(5, 100):.1f},{'AB'[number % 2]}\n"
            )
    return folder


def encoder_of(folder: Path, views: int) -> Path:
    """Card of the shipped encoder, with so many views."""
    encoder = load_encoder(card_path("twinjet"))
    encoder.card = replace(encoder.card, views=views)
    encoder.save(folder / "encoder")
    return folder / "encoder" / "twinjet.json"


def encoder_alone(
    sky: Path, card: Path, workers: int, threads: int
) -> tuple[float, float]:
    """Cutouts a second of so many encoders at a time, each of so many threads.

    From files, and of cutouts that were decoded before.
    """
    code = (
        "import sys, time, csv\n"
        "from pathlib import Path\n"
        "from twinjet.model.decode import read_cutout\n"
        "from twinjet.model.encoder import load_encoder\n"
        "folder, count = Path(sys.argv[1]), int(sys.argv[2])\n"
        "rows = list(csv.DictReader((folder / 'catalogue.csv').open()))[:count]\n"
        "files = [folder / row['cutout'] for row in rows]\n"
        "cutouts = [read_cutout(file) for file in files]\n"
        "encoder = load_encoder(Path(sys.argv[3]))\n"
        "encoder.embed(cutouts[:16])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "started = time.monotonic()\n"
        "for start in range(0, count, 16):\n"
        "    part = [read_cutout(file) for file in files[start:start + 16]]\n"
        "    encoder.embed(part)\n"
        "first = time.monotonic()\n"
        "for start in range(0, count, 16):\n"
        "    encoder.embed(cutouts[start:start + 16])\n"
        "last = time.monotonic()\n"
        "print(count / (first - started), count / (last - first), flush=True)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(sky), str(_ALONE), str(card)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        for _ in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    rates = [process.communicate()[0].split() for process in processes]
    return sum(float(r[0]) for r in rates), sum(float(r[1]) for r in rates)


@contextmanager
def working(
    home: Home, card: Path, workers: int, threads: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """So many workers, ready; they end with this."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TWINJET_ENCODER": str(card),
    }
    command = [str(Path(sys.executable).with_name("twinjet")), "worker"]
    with ExitStack() as running:
        processes = []
        for _ in range(workers):
            process = subprocess.Popen(
                [*command, "--home", str(home.path)],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            running.callback(process.wait)
            running.callback(process.terminate)
            processes.append(process)
        for process in processes:
            assert process.stderr is not None
            line = process.stderr.readline()
            if "is ready" not in line:
                process.terminate()
                raise SystemExit(line + process.stderr.read())
        yield processes


def indexed(
    sky: Path, home_path: Path, card: Path, workers: int, threads: int
) -> dict[str, float]:
    """A job from its first shard to its end, by so many workers."""
    home = Home(home_path)
    home.path.mkdir()
    stages: dict[str, float] = {}
    done: list[tuple[float, int]] = []
    with working(home, card, workers, threads) as processes:
        store = SourceStore(create_engine(home.database_url))
        client = connect(system_url(home.database_url, home.path))
        jobs = Jobs(client, ProgressBoard(store.engine))
        started = time.monotonic()
        asked = jobs.submit(ReindexRequest(cutouts=str(sky)))
        with Memory([process.pid for process in processes]) as memory:
            for job in jobs.follow(asked.id):
                seen = job.progress
                if seen is not None:
                    stages.setdefault(seen.stage, time.monotonic() - started)
                    if seen.stage == "embed":
                        done.append((time.monotonic() - started, seen.done))
        took = time.monotonic() - started
        job = jobs.get(asked.id)
        assert job.report is not None, job.error
        client.destroy()
        store.close()
    count = job.report["embedded"]
    sizes = {
        "shards": folder_bytes(home.shards),
        "generation": folder_bytes(home.generations),
        "metadata": sum(f.stat().st_size for f in home.path.glob("twinjet.sqlite*")),
        "plan": folder_bytes(home.jobs),
    }
    codes = next(home.generations.glob("*/index.faiss")).stat().st_size
    embedding = stages["index"] - stages["embed"]
    (home.path / "done.json").write_text(json.dumps(done))
    return {
        "count": count,
        "plan_s": stages["embed"],
        "embed_s": embedding,
        "rest_s": took - stages["index"],
        "rate": count / embedding,
        "first": rate_between(done, 0.0, 0.1, count),
        "last": rate_between(done, 0.9, 1.0, count),
        "rss_mib": memory.resident,
        "anonymous_mib": memory.anonymous,
        "digest": job.report["digest"],
        "workers": workers,
        "codes_bytes": codes,
        **{f"{name}_bytes": size for name, size in sizes.items()},
    }


def folder_bytes(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


class Memory(threading.Thread):
    """Looks at processes while this is open, twice a second.

    Attributes
    ----------
    resident, anonymous
        Of the largest process so far, MiB: with file pages that are mapped, which the
        kernel takes back when it needs them, and without.
    """

    def __init__(self, processes: list[int]) -> None:
        super().__init__(daemon=True)
        self.resident = self.anonymous = 0.0
        self._processes = processes
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Begin to look."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._closed.set()
        self.join()

    def run(self) -> None:
        """Until it is closed, or a process ends, which is no measurement."""
        while not self._closed.wait(0.5):
            for process in self._processes:
                text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
                rows = dict(row.split(":", 1) for row in text.splitlines())
                if "VmHWM" not in rows:
                    self.resident = self.anonymous = float("nan")
                    return
                # The kernel keeps the most of the one, and nothing of the other.
                resident, anonymous = (
                    int(rows[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon")
                )
                self.resident = max(self.resident, resident)
                self.anonymous = max(self.anonymous, anonymous)


def rate_between(
    done: list[tuple[float, int]], start: float, end: float, count: int
) -> float:
    """Cutouts a second of one part of them."""
    inside = [(t, n) for t, n in done if start * count <= n <= end * count]
    if len(inside) <= 1:
        return float("nan")
    (t0, n0), (t1, n1) = inside[0], inside[-1]
    return (n1 - n0) / (t1 - t0) if t1 > t0 else float("nan")


def projection(row: dict[str, float]) -> str:
    """What the last row says of larger catalogues, if all of it grows with them."""
    count, cores = row["count"], os.cpu_count() or 1
    kinds = ("shards", "generation", "metadata", "plan")
    per_source = {kind: row[f"{kind}_bytes"] / count for kind in kinds}
    lines = [
        "If everything grows as the catalogue does, from the last row:",
        "",
        (
            "| sources | embedding, core-days | plan, one process, h | index, verify, "
            "publish, one process, h | shards GB | generation GB | metadata GB "
            "| plan GB | codes in memory while indexing GB |"
        ),
        "| --- " * 9 + "|",
    ]
    for sources in (10**6, 10**7, 10**8):
        part = sources / count
        sizes = " | ".join(f"{per_source[k] * sources / 1e9:.1f}" for k in kinds)
        lines.append(
            f"| {sources:.0e} | {part * row['embed_s'] * cores / 86_400:.2f} "
            f"| {part * row['plan_s'] / 3600:.1f} | {part * row['rest_s'] / 3600:.1f} "
            f"| {sizes} | {part * row['codes_bytes'] / 1e9:.2f} |"
        )
    each = ", ".join(f"{kind} {per_source[kind]:,.0f}" for kind in kinds)
    lines += [
        "",
        (
            f"Measured bytes for each source: {each}. Assumed: cutouts are read as "
            "fast as here, from a local disk in the page's cache; workers share "
            "nothing but the database, whose rows of a shard take milliseconds of the "
            f"{1024 / row['rate']:.0f} s that the shard takes; SQL and sorting stay as "
            "fast for each row as they are here (an index of a B-tree does not, "
            "quite); one process writes the generation. Generations that are kept "
            "need their room, each; shards are shared by all."
        ),
    ]
    return "\n".join(lines)


def head(card: Path) -> str:
    """What was measured, and where."""
    encoder = load_encoder(card).card
    options = sys.argv[2:]  # the first one is where the data are, here
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, "
        f"encoder {encoder.name} of {encoder.views} views, "
        f"load {os.getloadavg()[0]:.1f} at the start. `python benchmarks/"
        + " ".join([Path(__file__).name, "../shared/data", *options])
        + "`\n\n"
        "| workers x threads | cutouts | encoder, decoded before /s "
        "| encoder, from files /s | job /s | of the latter "
        "| first tenth /s | last tenth /s | plan s | embed s "
        "| index, verify, publish s | largest process MiB, of it not files | digest |\n"
        + "| --- " * 13
        + "|"
    )


def line(
    workers: int, threads: int, alone: tuple[float, float], row: dict[str, float]
) -> str:
    """A row of the table."""
    files, decoded = alone
    return (
        f"| {workers} x {threads} | {row['count']:,} | {decoded:.1f} | {files:.1f} "
        f"| {row['rate']:.1f} | {100 * row['rate'] / files:.0f} % "
        f"| {row['first']:.1f} | {row['last']:.1f} "
        f"| {row['plan_s']:.1f} | {row['embed_s']:.1f} | {row['rest_s']:.1f} "
        f"| {row['rss_mib']:.0f}, {row['anonymous_mib']:.0f} "
        f"| {str(row['digest'])[:12]} |"
    )


if __name__ == "__main__":
    main()
