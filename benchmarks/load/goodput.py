"""Goodput of an overloaded service beside what it can do at most, in turns.

One after the other both would be measured on two machines: what else the host of a
virtual one does moves either by more than they differ. So stretches of both take turns,
and goodput of each overload is compared with the mean of the capacity just before and
just after it.
"""

import argparse
from collections import Counter

import numpy as np
from findings import head, table, tell
from load_home import cutouts_of, home_of
from outcomes import Figures, figures
from questions import Kind
from rates import NAMES, Bench
from served import cores, serving

from twinjet.model.evaluation.intervals import mean_of

# Times the capacity.
PART = 4.0

_TITLES = (
    *("round", "capacity/s", "arrivals/s", "answers/s", "of capacity", "p99 ms"),
    *("refused", "refused in, p99 ms", "without Retry-After", "failed"),
)


def measure(args: argparse.Namespace) -> None:
    """Each kind of load in turn."""
    home = home_of(args.work, args.sources)
    cutouts_of(args.work)
    texts, raw = [head()], {}
    for kind in args.kinds:
        with serving(home, cores()[0]) as server:
            bench = Bench(args, server.port, kind)
            text, raw[kind] = _in_turns(args, bench, kind)
        texts.append(text)
    tell("goodput", "\n\n".join(texts), raw, write=args.write)


def _in_turns(
    args: argparse.Namespace, bench: Bench, kind: Kind
) -> tuple[str, dict[str, object]]:
    found = bench.capacity()[1]
    clients = max(found, key=lambda number: found[number].goodput)

    def at_most() -> float:
        closed = bench.load((1.0, args.seconds), clients=clients)
        return figures(closed, 0.0, args.seconds).goodput

    capacities, overloads = [at_most()], list[Figures]()
    for _ in range(args.rounds):
        outcome = bench.load((PART * capacities[-1], args.seconds))
        overloads.append(figures(outcome, 0.0, args.seconds))
        capacities.append(at_most())
    beside = np.convolve(capacities, (0.5, 0.5), "valid")
    parts = np.array([one.goodput for one in overloads]) / beside
    text = _told(args, kind, clients, beside.tolist(), overloads)
    mean = mean_of(parts)
    text += (
        f"\n\nGoodput at {PART:g} times the capacity: **{100 * mean['value']:.0f} % of "
        f"it** ({100 * mean['low']:.0f} to {100 * mean['high']:.0f}, 95 % by bootstrap "
        "over the rounds)."
    )
    faults = sum((Counter(one.faults) for one in overloads), Counter[str]())
    for fault, number in faults.items():
        text += f" {number} failed: {fault}."
    return text, {
        "clients": clients,
        "capacities": [round(one, 2) for one in capacities],
        "parts": parts.round(4).tolist(),
        "overloads": [one.raw() for one in overloads],
    }


def _told(
    args: argparse.Namespace,
    kind: Kind,
    clients: int,
    capacities: list[float],
    overloads: list[Figures],
) -> str:
    server, load = (",".join(map(str, some)) for some in cores())
    intro = (
        f"**{NAMES[kind]}**, {args.sources:,} sources (server on core {server}, load "
        f"on {load}). The capacity is by {clients} clients who ask again at once, the "
        f"mean of before and after; {args.seconds:g} s each."
    )
    lines = [
        (
            *(f"{number}", f"{most:.1f}", f"{one.asked / one.seconds:.1f}"),
            *(f"{one.goodput:.1f}", f"{100 * one.goodput / most:.0f} %"),
            *(f"{one.p99_ms:.0f}", f"{one.refused}", f"{one.refusal_p99_ms:.1f}"),
            *(f"{one.hopeless}", f"{one.failed}"),
        )
        for number, (most, one) in enumerate(
            zip(capacities, overloads, strict=True), start=1
        )
    ]
    return f"{intro}\n\n{table(_TITLES, lines)}"
