"""How the service bears load: over loopback, bounded in number and time.

    python benchmarks/load rates       # latency and refusals by the rate of arrivals
    python benchmarks/load goodput     # of an overload, beside the capacity, in turns
    python benchmarks/load soak        # memory over half an hour
    python benchmarks/load processes   # memory of several processes over one index
    python benchmarks/load slow        # others beside hundreds of clients that stall
    python benchmarks/load stop        # a server that is told to end under load

The server is pinned to half of the cores and the load to the other half. What is
served is made on first use and kept in --work. Settings of the service are taken from
the environment. With --write the table and its raw figures are
benchmarks/results/load-<name>.md and .json.
"""

import argparse
from pathlib import Path
from types import ModuleType

import goodput
import rates
import sharing
import soak
import stalling
import stopping


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="WHAT")

    def verb(name: str, module: ModuleType, sources: int) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        one.add_argument("--work", type=Path, default=Path("runs/load"))
        one.add_argument("--sources", type=int, default=sources)
        one.add_argument("--write", action="store_true")
        one.add_argument("--poisson", action="store_true", help="random arrivals")
        one.set_defaults(measure=module.measure)
        return one

    one = verb("rates", rates, 100_000)
    kinds = ["id", "mixed", "upload"]
    one.add_argument("--kinds", nargs="+", default=kinds, choices=kinds)
    one.add_argument("--parts", nargs="+", type=float, default=list(rates.PARTS))
    one.add_argument("--seconds", type=float, default=12.0)
    one = verb("goodput", goodput, 100_000)
    one.add_argument("--kinds", nargs="+", default=kinds, choices=kinds)
    one.add_argument("--rounds", type=int, default=8)
    one.add_argument("--seconds", type=float, default=12.0)
    one = verb("soak", soak, 100_000)
    one.add_argument("--minutes", type=float, default=30.0)
    one.add_argument("--rate", type=float, help="a second; half of the capacity if not")
    one.add_argument("--processes", type=int, default=1)
    one = verb("processes", sharing, 1_000_000)
    one.add_argument("--processes", type=int, default=2)
    one = verb("slow", stalling, 100_000)
    one.add_argument("--clients", type=int, default=500)
    one.add_argument("--seconds", type=float, default=12.0)
    one = verb("stop", stopping, 100_000)
    one.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.measure(args)
