"""How long looking for damage, backing up and restoring take.

    python benchmarks/recovery.py 100000 1000000 [--write]

Of each size a home with a published generation of synthetic vectors of 128 dimensions
is made, once for a folder given by --work. It is looked through as a server does at its
start, and backed up by what `twinjet db backup` calls, while another process begins
sessions and deletes them again. The backup is restored into another home by what
`twinjet db restore` calls, and both homes are asked for neighbours of the same sources:
their answers must be equal. Processor seconds beside those by the clock.

With --write the tables are benchmarks/results/recovery.md.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from twinjet.index.database import refuse_damaged
from twinjet.index.durable import file_digest
from twinjet.index.home import Home, system_url
from twinjet.index.opening import open_store
from twinjet.index.options import Options
from twinjet.index.published import open_published
from twinjet.index.row_digest import digest_of_rows
from twinjet.index.search import Answer, Searcher
from twinjet.index.store import Generation, SourceStore
from twinjet.index.upkeep.backup import back_up
from twinjet.index.upkeep.manifest import Backup
from twinjet.index.upkeep.restore import restore

sys.path.append(str(Path(__file__).parent / "search"))
from by_id import make, name, serving
from machine import described
from workload import synthetic

RESULTS = Path(__file__).parent / "results"

DIMENSION = 128

# What a restore may take for a million rows.
TARGET_S = 60.0

# Answers that are compared, and how many neighbours each has.
_ASKED = 100
_K = 10

_BACKUP = "backup, while another process writes"
_RESTORE = "restore into another home"
_START = "`twinjet serve` there, until it is ready"

# Begins sessions with a label and deletes them, until it is told to end; says how many.
_WRITER = """
import signal
import sys
import time

from twinjet.index.database import create_engine
from twinjet.index.discovery.session import Change
from twinjet.index.discovery.sessions import SessionStore

stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
sessions = SessionStore(create_engine(sys.argv[1]))
mark = Change("S0000000+00", 10.0, 20.0, "like")
written, longest_s = 0, 0.0
while not stopped:
    began = time.monotonic()
    made = sessions.create("hunt", notes="", exclude=[], changes=[mark])
    sessions.delete(made.session_id)
    longest_s = max(longest_s, time.monotonic() - began)
    written += 1
    if written == 1:
        print("begun", flush=True)
print(written, longest_s, flush=True)
"""


@dataclass
class Spent:
    """Seconds of the parts, in their order."""

    rows: list[tuple[str, float | None, float]] = field(default_factory=list)
    """What was done, of a processor where that is known, by the clock."""

    @contextmanager
    def on(self, what: str, *, elsewhere: bool = False) -> Iterator[None]:
        """Measure what is done meanwhile, here or in another process."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        cpu_s = None if elsewhere else time.process_time() - processor
        self.rows.append((what, cpu_s, time.perf_counter() - clock))

    def by_clock(self, what: str) -> float:
        """Seconds of one part."""
        return next(clock_s for part, _, clock_s in self.rows if part == what)


def main() -> None:
    """Measure each size, print, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("counts", nargs="*", type=int, default=[100_000])
    parser.add_argument("--work", type=Path, help="a folder in which homes are kept")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
    told = [head(args.counts)]
    print(told[0], flush=True)
    for count in args.counts:
        with tempfile.TemporaryDirectory(dir=args.work) as scratch:
            told.append(measured(args.work or Path(scratch), Path(scratch), count))
        print(f"\n{told[-1]}", flush=True)
    if args.write:
        text = "\n\n".join(told)
        (RESULTS / "recovery.md").write_text(text + "\n", encoding="utf-8")


def head(counts: list[int]) -> str:
    """When, on what, by which command."""
    command = shlex.join(map(str, counts))
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {described()}, "
        f"load {os.getloadavg()[0]:.1f} before. "
        f"`python benchmarks/recovery.py {command} --write`"
    )


def home_of(work: Path, count: int) -> Home:
    """A home with a published generation of so many sources, made unless it is there.

    It gets its name when it is whole.
    """
    place = work / f"home-{count}"
    if not place.is_dir():
        half_done = place.with_name(f"{place.name}.tmp")
        shutil.rmtree(half_done, ignore_errors=True)
        make(half_done, synthetic(count, DIMENSION))
        half_done.rename(place)
    return Home(place)


def measured(work: Path, scratch: Path, count: int) -> str:
    """Back up, restore and compare one size; gives a table and what was found."""
    home, other = home_of(work, count), Home(scratch / "other")
    spent, writer = Spent(), Writer()
    with closing(open_store(home, home.database_url)) as store:
        look(home, store, spent)
        jobs_url = system_url(home.database_url, home.path)
        with writer.at_work(home.database_url), spent.on(_BACKUP):
            made = back_up(home, store, jobs_url, scratch / "backup")
    assert writer.while_backed_up > 0
    with spent.on(_RESTORE):
        restore(scratch / "backup", other, other.database_url)
    with ExitStack() as served, spent.on(_START, elsewhere=True):
        served.enter_context(serving(other.path))
    equal = equal_answers(home, other, count)
    assert equal == _ASKED
    return report(count, made, spent, writer, equal)


def look(home: Home, store: SourceStore, spent: Spent) -> None:
    """All that a server looks at before it answers."""
    current = current_of(store)
    folder = home.generation(current.folder)
    with spent.on("start: every page and index"):
        refuse_damaged(store.engine)
    with spent.on("start: every row"):
        assert digest_of_rows(store.engine, current.number) == current.rows_sha256
    with spent.on("start: every file"):
        for path in folder.iterdir():
            file_digest(path)


def current_of(store: SourceStore) -> Generation:
    """The generation in force."""
    current = store.current()
    assert current is not None
    return current


class Writer:
    """Another process that writes, as people do who label sources."""

    def __init__(self) -> None:
        self.while_backed_up = 0
        """Sessions that it began and deleted."""
        self.longest_s = 0.0
        """That it waited for one to be both."""

    @contextmanager
    def at_work(self, url: str) -> Iterator[None]:
        """Until this is closed."""
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "begun\n"
                yield
            finally:
                process.terminate()
                words = process.stdout.readline().split()
        assert process.returncode == 0
        self.while_backed_up, self.longest_s = int(words[0]), float(words[1])


def equal_answers(home: Home, other: Home, count: int) -> int:
    """How many of the sources that are asked for have the same answer in both homes."""
    rows = np.random.default_rng(11).choice(count, _ASKED, replace=False)
    with searching(home) as here, searching(other) as there:
        return sum(answer_of(here, row) == answer_of(there, row) for row in rows)


@contextmanager
def searching(home: Home) -> Iterator[Searcher]:
    """Search the generation in force of a home, looked through as by a server."""
    with closing(open_store(home, home.database_url, look=True)) as store:
        yield Searcher(open_published(current_of(store), home, store), store)


def answer_of(searcher: Searcher, row: int) -> Answer:
    """Neighbours of a source, with all that is said of them but the time it took."""
    answer = searcher.similar_to_source(name(row), Options(k=_K))
    assert len(answer.neighbours) == _K
    return replace(answer, timings_ms={})


def report(count: int, made: Backup, spent: Spent, writer: Writer, equal: int) -> str:
    """The table of one size, and what was found."""
    rows = [
        f"| {what} | {'' if cpu_s is None else f'{cpu_s:.2f}'} | {clock_s:.2f} |"
        for what, cpu_s, clock_s in spent.rows
    ]
    back_s = spent.by_clock(_RESTORE) + spent.by_clock(_START)
    allowed_s = TARGET_S * max(1.0, count / 1e6)
    wanted = "as wanted" if back_s <= allowed_s else "too long"
    size = f"{len(made.files)} files, {made.size / 1e6:.0f} MB"
    titles = "| | s of a processor | s by the clock |\n| --- | --- | --- |"
    found = (
        f"During the backup {writer.while_backed_up} sessions were begun and deleted "
        f"again, the slowest in {1e3 * writer.longest_s:.0f} ms. {equal} of {_ASKED} "
        f"answers by ID are equal in both homes. From the backup to a server that is "
        f"ready {back_s:.1f} s (at most {allowed_s:g}: {wanted})."
    )
    about = f"**{count:,} sources**, {DIMENSION} dimensions; the backup has {size}."
    return "\n".join([about, "", titles, *rows, "", found])


if __name__ == "__main__":
    main()
