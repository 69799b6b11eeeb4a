"""Memory, file descriptors and threads under a load that goes on and on."""

import argparse
import dataclasses
import os
import threading
import time
from collections import Counter

import numpy as np
import psutil
from arrivals import Plan, run
from findings import head, table, tell
from load_home import cutouts_of, home_of
from outcomes import Figures, figures
from served import cores, serving

_EACH_S = 5.0

# What grows until then is caches: of pictures, of statements, of torch.
_WARM_UP = 1 / 3

# Of the closed loop that says what half of the capacity is.
_CAPACITY_S = 10.0

# Of one process that makes load, which remembers what came of each request.
_STRETCH_S = 300.0

_NICE = 5


@dataclasses.dataclass(frozen=True)
class Sample:
    """Of the server and all processes below it."""

    at_s: float
    rss_mb: float
    """Resident, 10^6 bytes; of mapped files what is in memory."""
    own_mb: float
    """Of that, what is not mapped from files."""
    descriptors: int
    threads: int
    processes: int
    anonymous_mb: dict[str, float]
    """What is not mapped from files, by what the processes are."""


def measure(args: argparse.Namespace) -> None:
    """Half of what the server can do, mixed, and what it takes meanwhile."""
    home = home_of(args.work, args.sources)
    cutouts_of(args.work)
    options = ["--processes", str(args.processes)] if args.processes > 1 else []
    with serving(home, cores()[0], *options, niceness=_NICE) as server:
        rate = args.rate or 0.5 * _capacity(args, server.port)
        samples: list[Sample] = []
        over = threading.Event()
        watching = threading.Thread(target=_watch, args=(server.pid, samples, over))
        watching.start()
        try:
            rows = _load(args, server.port, rate)
        finally:
            over.set()
            watching.join()
    text, raw = _told(args, rate, rows, samples)
    tell("soak", text, raw, write=args.write)


def _plan(args: argparse.Namespace, port: int) -> Plan:
    return Plan(
        port=port,
        kind="mixed",
        sources=args.sources,
        cutouts=str(cutouts_of(args.work)),
        stretches=[(1.0, _CAPACITY_S)],
        cores=cores()[1],
    )


def _capacity(args: argparse.Namespace, port: int) -> float:
    plan = dataclasses.replace(_plan(args, port), clients=4)
    return figures(run(plan), 0.0, _CAPACITY_S).goodput


def _load(args: argparse.Namespace, port: int, rate: float) -> list[Figures]:
    plan, left_s, rows = _plan(args, port), 60 * args.minutes, []
    while left_s > 0:
        stretch = (rate, min(left_s, _STRETCH_S))
        plan = dataclasses.replace(plan, stretches=[stretch], seed=plan.seed + 1)
        rows.append(figures(run(plan, _NICE), 0.0, stretch[1]))
        left_s -= stretch[1]
    return rows


def _watch(pid: int, samples: list[Sample], over: threading.Event) -> None:
    began = time.monotonic()
    while not over.wait(_EACH_S):
        samples.append(sample(pid, time.monotonic() - began))


def sample(pid: int, at_s: float) -> Sample:
    """Of a process and all below it."""
    first = psutil.Process(pid)
    found = [first, *first.children(recursive=True)]
    rss = own = descriptors = threads = 0
    anonymous: dict[str, float] = {}
    for process in found:
        try:
            memory = process.memory_info()
            role = "server" if process.pid == pid else _role(process.cmdline())
            rss += memory.rss
            own += memory.rss - memory.shared
            mine = (memory.rss - memory.shared) / 1e6
            anonymous[role] = anonymous.get(role, 0.0) + mine
            descriptors += process.num_fds()
            threads += process.num_threads()
        except psutil.NoSuchProcess:
            continue
    counts = (descriptors, threads, len(found))
    return Sample(at_s, rss / 1e6, own / 1e6, *counts, anonymous)


def _role(command: list[str]) -> str:
    """What a process below the server does."""
    return "decoders" if any("decoding" in word for word in command) else "workers"


def slope(samples: list[Sample], name: str) -> tuple[float, float]:
    """Growth in MB an hour, and half of its 95 % interval.

    By least squares over means of a minute; their scatter, of which neighbours know
    little, gives the interval.
    """
    minute = np.array([int(one.at_s // 60) for one in samples])
    values = np.array([getattr(one, name) for one in samples])
    means = np.array([values[minute == m].mean() for m in np.unique(minute)])
    hours = np.unique(minute) / 60
    if len(means) < 4:  # noqa: PLR2004 - a line and its scatter
        return float("nan"), float("nan")
    (gradient, _), covariance = np.polyfit(hours, means, 1, cov=True)
    return float(gradient), float(1.96 * covariance[0, 0] ** 0.5)


def _told(
    args: argparse.Namespace, rate: float, rows: list[Figures], samples: list[Sample]
) -> tuple[str, dict[str, object]]:
    after = [one for one in samples if one.at_s > _WARM_UP * samples[-1].at_s]
    grows, give = slope(after, "rss_mb")
    own_grows, own_give = slope(after, "own_mb")
    picked = samples[:: max(1, len(samples) // 8)]
    titles = (
        *("minute", "RSS MB", "not of files", "descriptors", "threads", "processes"),
        "not of files, by process",
    )
    lines = [
        (
            *(f"{one.at_s / 60:.1f}", f"{one.rss_mb:.1f}", f"{one.own_mb:.1f}"),
            *(f"{one.descriptors}", f"{one.threads}", f"{one.processes}"),
            ", ".join(f"{role} {mb:.1f}" for role, mb in one.anonymous_mb.items()),
        )
        for one in [*picked, samples[-1]]
    ]
    asked, answered = (sum(getattr(r, n) for r in rows) for n in ("asked", "answered"))
    worst = max(one.p99_ms for one in rows)
    text = (
        f"{head()}\n\n"
        f"{args.minutes:g} minutes, {rate:.1f} requests a second, 5 % uploads, "
        f"{args.sources:,} sources: {asked} asked, {answered} answered, "
        f"{sum(r.refused for r in rows)} refused, {sum(r.failed for r in rows)} "
        f"failed{_faults(rows)}; p99 {worst:.1f} ms in the worst five minutes.\n\n"
        f"{table(titles, lines)}\n\n"
        f"After the first third the memory grows by {grows:.1f} ± {give:.1f} MB an "
        f"hour, without mapped files by {own_grows:.1f} ± {own_give:.1f} (95 %)."
    )
    return text, {
        "rate": rate,
        "rows": [one.raw() for one in rows],
        "samples": [dataclasses.asdict(one) for one in samples],
        "slope_mb_per_hour": [grows, give],
        "own_slope_mb_per_hour": [own_grows, own_give],
        "niceness": os.nice(0),
    }


def _faults(rows: list[Figures]) -> str:
    """Why there was no answer, and how often."""
    counts = sum((Counter(one.faults) for one in rows), Counter())
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    return told and f" ({told})"
