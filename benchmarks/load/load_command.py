"""How the service bears load: open loop, over loopback, bounded in number and time.

    python benchmarks/load rates       # latency and refusals by the rate of arrivals
    python benchmarks/load soak        # memory over half an hour

The server is pinned to half of the cores and the load to the other half. What is
served is made on first use and kept in --work. With --write the table and its raw
figures are benchmarks/results/load-<name>.md and .json.
"""

import argparse
from pathlib import Path

import rates
import soak


def main() -> None:
    """Measure what is asked for."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--work", type=Path, default=Path("runs/load"))
    shared.add_argument("--sources", type=int, default=100_000)
    shared.add_argument("--write", action="store_true")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, module: object) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, parents=[shared], help=module.__doc__)
        one.set_defaults(measure=module.measure)  # type: ignore[attr-defined]
        return one

    one = verb("rates", rates)
    one.add_argument(
        "--kinds",
        nargs="+",
        default=["id", "mixed", "upload"],
        choices=["id", "mixed", "upload"],
    )
    one.add_argument("--parts", nargs="+", type=float, default=list(rates.PARTS))
    one.add_argument("--seconds", type=float, default=12.0)
    one.add_argument("--poisson", action="store_true", help="random arrivals")
    one = verb("soak", soak)
    one.add_argument("--minutes", type=float, default=30.0)
    one.add_argument(
        "--rate", type=float, help="requests a second; else half of the most"
    )
    one.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.measure(args)
