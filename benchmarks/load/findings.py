"""Results on paper: Markdown for people, JSON with the raw figures."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "results"


def head() -> str:
    """When, on what, by which command."""
    # Not where the work is kept, which is another place on each machine.
    told = [a for a in sys.argv[1:] if a != "--write"]
    if "--work" in told:
        place = told.index("--work")
        del told[place : place + 2]
    command = shlex.join(told)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {os.cpu_count()} cores, "
        f"{_processor()}, load {os.getloadavg()[0]:.1f} before. "
        f"`python benchmarks/load {command}`"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tell(name: str, text: str, raw: object, *, write: bool) -> None:
    """Print what was found; written, it is benchmarks/results/load-<name>."""
    print(text)
    if write:
        path = RESULTS / f"load-{name}.md"
        path.write_text(text + "\n", encoding="utf-8")
        path.with_suffix(".json").write_text(
            json.dumps(raw, indent=1, allow_nan=True) + "\n", encoding="utf-8"
        )
