"""How fast vectors are found, how surely, and in how much memory.

    python benchmarks/search/compare.py ../shared/data --write

At 10^5 and 10^6 vectors of the shipped dimension, real ones mixed and jittered and
synthetic ones, without and with filters, beside numpy, FAISS, hnswlib, USearch, Milvus
and pgvector, which are extras (`pip install 'twinjet[bench-search]'`). Each contender
has a process of its own; one that fails is a row that says so. Rows are kept in --work
as they are measured: started again it goes on, and --minutes lets it take a rest. With
--write the tables are benchmarks/results/search.md and the raw figures search.json.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import bandwidth_gb_s, described
from measuring import CONTENDERS, run
from sheet import sheet
from surveys import Prices
from workload import embeddings, prepared

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure what has not been, print the tables, write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--work", type=Path, default=Path("runs/search"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6])
    parser.add_argument("--kinds", nargs="+", default=["real", "synthetic"])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds")
    parser.add_argument("--memory-month", type=float, default=Prices.memory_month)
    parser.add_argument("--disk-month", type=float, default=Prices.disk_month)
    parser.add_argument("--again", action="store_true", help="what there is, too")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    until = time.monotonic() + 60 * args.minutes
    args.work.mkdir(parents=True, exist_ok=True)
    journal = args.work / "rows.jsonl"
    done = {key(row) for row in read(journal) if "ended" in row and not args.again}
    left: list[str] = []
    for kind, count, name in wanted(args):
        if (name, kind, count) in done:
            continue
        if time.monotonic() > until:
            left.append(f"{name} ({kind}, {count:,})")
            continue
        work = prepared(args.work / f"{kind}-{count}", kind, count, real(args))
        run(name, kind, work, journal, min(args.timeout, until - time.monotonic() + 60))
    if left:
        print(f"{len(left)} to be measured yet: start it again", file=sys.stderr)
    machine = measured_machine(args.work)
    # The last word on each: one that was interrupted has been measured again.
    latest = {(*key(r), r.get("setting")): r for r in read(journal) if "ended" not in r}
    prices = Prices(memory_month=args.memory_month, disk_month=args.disk_month)
    rows = sorted(latest.values(), key=lambda row: list(CONTENDERS).index(key(row)[0]))
    text = sheet(rows, machine, prices)
    if left:
        text += f"\n\nTo be measured yet: {', '.join(left)}."
    print(text)
    if args.write:
        (RESULTS / "search.md").write_text(text + "\n", encoding="utf-8")
        raw = {"machine": machine, "rows": rows}
        (RESULTS / "search.json").write_text(json.dumps(raw, indent=1) + "\n")


def wanted(args: argparse.Namespace) -> list[tuple[str, int, str]]:
    """Everything to measure, the smaller first."""
    return [
        (kind, count, name)
        for count in sorted(args.sizes)
        for kind in args.kinds
        for name in args.contenders
    ]


def key(row: dict[str, Any]) -> tuple[str, str, int]:
    """What a row is of."""
    return row["contender"], row["kind"], row["count"]


def read(journal: Path) -> list[dict[str, Any]]:
    """All rows; a line that was cut short is none."""
    if not journal.exists():
        return []
    lines = journal.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def real(args: argparse.Namespace) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Embeddings of MiraBest, made once."""
    file = args.work / "real.npy"
    if not file.exists():
        np.save(file, embeddings(args.data / "mirabest" / "fits"))
    made: np.ndarray[Any, np.dtype[np.float32]] = np.load(file)
    return made


def measured_machine(work: Path) -> dict[str, Any]:
    """Processor and bandwidth; measured once."""
    file = work / "machine.json"
    cores = os.cpu_count() or 1
    if not file.exists():
        found = {
            "described": described(),
            "cores": cores,
            "gb_s": {"1": bandwidth_gb_s(1), "all": bandwidth_gb_s(cores)},
            "load": os.getloadavg()[0],
            "command": "make bench-search WRITE=1",
        }
        file.write_text(json.dumps(found))
    machine: dict[str, Any] = json.loads(file.read_text())
    return machine


if __name__ == "__main__":
    main()
