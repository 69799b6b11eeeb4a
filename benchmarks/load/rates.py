"""Latency, goodput and refusals by the rate at which requests come.

First what the server can do at most, by clients who ask again at once. Then at parts
and multiples of that, requests that come whatever the server does; after the last,
which is the largest, half of the capacity, to see how soon the service is as before.
"""

import argparse
import time
from collections.abc import Callable, Mapping

from arrivals import Outcome, Plan, run
from findings import head, table, tell
from load_home import cutouts_of, home_of
from outcomes import Figures, figures, recovery_s
from questions import Kind
from served import cores, serving

PARTS = (0.25, 0.5, 0.75, 0.9, 1.0, 2.0, 4.0)

# Clients of the closed loop: the best of these is the capacity.
_CLIENTS = (2, 4, 8, 16)
_AFTER_S = 6.0

NAMES: Mapping[Kind, str] = {
    "id": "By ID",
    "upload": "Uploads",
    "mixed": "By ID, 5 % uploads",
}
_PAUSE_S = 1.0


class Bench:
    """A server that is asked, on cores of its own."""

    def __init__(self, args: argparse.Namespace, port: int, kind: Kind) -> None:
        self._args = args
        self._port = port
        self._kind = kind
        self._cores = cores()[1]
        self._seed = 0

    def load(self, *stretches: tuple[float, float], clients: int = 0) -> Outcome:
        """At these rates, for so many seconds each."""
        time.sleep(_PAUSE_S)
        self._seed += 1
        return run(
            Plan(
                port=self._port,
                kind=self._kind,
                sources=self._args.sources,
                cutouts=str(cutouts_of(self._args.work)),
                stretches=list(stretches),
                clients=clients,
                poisson=self._args.poisson,
                seed=self._seed,
                cores=self._cores,
            )
        )

    def capacity(self) -> tuple[float, dict[int, Figures]]:
        """Answers a second at most, and by how many clients."""
        seconds = self._args.seconds
        self.load((1.0, seconds / 2), clients=2)  # caches fill, threads start
        found = {
            clients: figures(self.load((1.0, seconds), clients=clients), 0.0, seconds)
            for clients in _CLIENTS
        }
        return max(one.goodput for one in found.values()), found


Measured = Callable[[argparse.Namespace, Bench, Kind], tuple[str, dict[str, object]]]
"""What is told of a kind of load, and its raw figures."""


def measure(args: argparse.Namespace) -> None:
    """Each kind of load in turn."""
    tell_of_each(args, "rates", _measured)


def tell_of_each(args: argparse.Namespace, name: str, measured: Measured) -> None:
    """Measure each kind of load on a server of its own, and tell of all."""
    home = home_of(args.work, args.sources)
    cutouts_of(args.work)
    texts, raw = [head()], {}
    for kind in args.kinds:
        with serving(home, cores()[0]) as server:
            text, raw[kind] = measured(args, Bench(args, server.port, kind), kind)
        texts.append(text)
    tell(name, "\n\n".join(texts), raw, write=args.write)


def _measured(
    args: argparse.Namespace, bench: Bench, kind: Kind
) -> tuple[str, dict[str, object]]:
    capacity, clients = bench.capacity()
    rows: dict[float, Figures] = {}
    outcome, last = None, 0.0
    for part in args.parts:
        last = part * capacity
        outcome = bench.load(
            (last, args.seconds), (capacity / 2, _AFTER_S if part > 1 else 0.0)
        )
        rows[part] = figures(outcome, 0.0, args.seconds)
    quiet = rows[min(args.parts, key=lambda part: abs(part - 0.5))]
    assert outcome is not None
    recovered_s, refused = recovery_s(outcome, args.seconds, quiet.p50_ms)
    text = _told(args, kind, capacity, rows)
    text += (
        f"\n\nAfter {max(args.parts):g} times the capacity, at half of it, the service "
        f"was as in quiet after {recovered_s:.2f} s; {refused} were not answered until "
        "then."
    )
    return text, {
        "capacity": round(capacity, 2),
        "clients": {number: one.raw() for number, one in clients.items()},
        "rates": {part: one.raw() for part, one in rows.items()},
        "recovery_s": recovered_s,
        "not_answered_until_then": refused,
    }


def _told(
    args: argparse.Namespace, kind: Kind, capacity: float, rows: dict[float, Figures]
) -> str:
    server, load = (",".join(map(str, some)) for some in cores())
    intro = (
        f"**{NAMES[kind]}**, {args.sources:,} sources: at most {capacity:.1f} answers "
        f"a second (server on core {server}, load on {load}). "
        f"{'Random' if args.poisson else 'Constant'} arrivals, {args.seconds:g} s "
        "each, times from when a request was due."
    )
    titles = (
        *("x capacity", "arrivals/s", "answers/s", "p50 ms", "p99 ms", "refused"),
        *("refused in, p99 ms", "without Retry-After", "failed", "load late, p99 ms"),
    )
    lines = [
        (
            *(f"{part:g}", f"{one.asked / one.seconds:.1f}", f"{one.goodput:.1f}"),
            *(f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.refused}"),
            *(f"{one.refusal_p99_ms:.1f}" if one.refused else "", f"{one.hopeless}"),
            *(f"{one.failed}", f"{one.late_p99_ms:.1f}"),
        )
        for part, one in rows.items()
    ]
    return f"{intro}\n\n{table(titles, lines)}"
