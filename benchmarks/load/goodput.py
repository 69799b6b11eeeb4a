"""Goodput of an overloaded service beside what it can do at most, in turns.

One after the other both would be measured on two machines: what else the host of a
virtual one does moves either by more than they differ. So a stretch of each makes a
round, and every second round begins with the overload.
"""

import argparse
from collections import Counter

import numpy as np
from findings import table
from outcomes import Figures, figures
from questions import Kind
from rates import NAMES, Bench, tell_of_each
from scipy import stats
from served import cores, stolen_ms

# Arrivals are so many times the latest capacity that was measured.
PART = 4.0

_TITLES = (
    *("round", "capacity/s", "uploads of it", "arrivals/s", "answers/s"),
    *("uploads of them", "of capacity", "p99 ms", "refused", "refused in, p99 ms"),
    *("without Retry-After", "failed", "load late, p99 ms", "core stolen, ms"),
)


def measure(args: argparse.Namespace) -> None:
    """Each kind of load in turn."""
    tell_of_each(args, "goodput", _in_turns)


def _in_turns(
    args: argparse.Namespace, bench: Bench, kind: Kind
) -> tuple[str, dict[str, object]]:
    _, found = bench.capacity()
    clients = max(found, key=lambda number: found[number].goodput)
    latest = found[clients].goodput
    stolen = list[float]()

    def at_most() -> Figures:
        closed = bench.load((1.0, args.seconds), clients=clients)
        return figures(closed, 0.0, args.seconds)

    def overloaded(capacity: float) -> Figures:
        before = stolen_ms(cores()[0])
        outcome = bench.load((PART * capacity, args.seconds))
        stolen.append(stolen_ms(cores()[0]) - before)
        return figures(outcome, 0.0, args.seconds)

    rounds = list[tuple[Figures, Figures]]()
    for number in range(args.rounds):
        if number % 2:
            overload = overloaded(latest)
            capacity = at_most()
        else:
            capacity = at_most()
            overload = overloaded(capacity.goodput)
        latest = capacity.goodput
        rounds.append((capacity, overload))
    parts = [overload.goodput / capacity.goodput for capacity, overload in rounds]
    text = _told(args, kind, clients, rounds, stolen) + "\n\n" + _mean(parts)
    faults = sum((Counter(one.faults) for _, one in rounds), Counter[str]())
    for fault, number in faults.items():
        text += f" {number} failed: {fault}."
    return text, {
        "clients": clients,
        "parts": np.round(parts, 4).tolist(),
        "capacities": [one.raw() for one, _ in rounds],
        "overloads": [one.raw() for _, one in rounds],
        "stolen_ms": stolen,
    }


def _mean(parts: list[float]) -> str:
    """In words, with the interval of Student's t over the rounds."""
    low, high = stats.ttest_1samp(parts, 0.0).confidence_interval(0.95)
    return (
        f"Goodput: **{100 * np.mean(parts):.0f} % of the capacity** ({100 * low:.0f} "
        f"to {100 * high:.0f}, 95 %, by the rounds; median "
        f"{100 * np.median(parts):.0f})."
    )


def _told(
    args: argparse.Namespace,
    kind: Kind,
    clients: int,
    rounds: list[tuple[Figures, Figures]],
    stolen: list[float],
) -> str:
    server, load = (",".join(map(str, some)) for some in cores())
    intro = (
        f"**{NAMES[kind]}**, {args.sources:,} sources (server on core {server}, load "
        f"on {load}). The capacity is by {clients} clients who ask again at once; "
        f"{args.seconds:g} s each."
    )
    lines = [
        (
            *(f"{number}", f"{most.goodput:.1f}", f"{most.uploads:.1f}"),
            *(f"{one.asked / one.seconds:.1f}", f"{one.goodput:.1f}"),
            *(f"{one.uploads:.1f}", f"{100 * one.goodput / most.goodput:.0f} %"),
            *(f"{one.p99_ms:.0f}", f"{one.refused}"),
            *(f"{one.refusal_p99_ms:.1f}" if one.refused else "", f"{one.hopeless}"),
            *(f"{one.failed}", f"{one.late_p99_ms:.1f}", f"{lost:.0f}"),
        )
        for number, ((most, one), lost) in enumerate(
            zip(rounds, stolen, strict=True), start=1
        )
    ]
    return f"{intro}\n\n{table(_TITLES, lines)}"
