"""How far FAISS, pgvector and Milvus agree: the same vectors, the same queries.

    python benchmarks/search/engines.py ../shared/data

The vectors are embeddings of MiraBest by the shipped encoder and mixtures of each with
its neighbours, so many as are asked for. The servers are started here, on free ports,
from the packages that the tests use. With --write the tables are
benchmarks/results/engines.md and the raw figures engines.json beside it.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from remote import Milvus, Pgvector, Server
from workload import embeddings, mixtures

from twinjet.index.vectors.faiss_index import FaissIndex, build_index
from twinjet.index.vectors.port import Rows, VectorIndex, Vectors

RESULTS = Path(__file__).parents[1] / "results"
TRUTH = "exact"

# Part of the rows that a filter leaves; of the first few enough to be compared all.
FILTERS = {"all": 1.0, "half": 0.5, "a hundredth": 0.01, "exact": 1.0}
DEPTHS = (10, 100)


@dataclass
class Run:
    """What one engine answered."""

    engine: str
    load_s: float
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]
    rows: dict[str, list[list[int]]]
    similarities: dict[str, list[list[float]]]


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the catalogues")
    parser.add_argument("--count", type=int, default=50_000, help="vectors")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--embeddings", type=Path, help="of MiraBest, .npy, kept")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    vectors = mixtures(real(args), args.count)
    rng = np.random.default_rng(1)
    queries = np.sort(rng.choice(args.count, args.queries, replace=False))
    filters: dict[str, Rows | None] = {
        name: None if part == 1 else np.flatnonzero(rng.random(args.count) < part)
        for name, part in FILTERS.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        runs = [
            asked(name, took, index, vectors[queries], filters)
            for name, took, index in engines(Path(scratch), vectors)
        ]
    text = report(args, vectors, runs)
    print(text)
    if args.write:
        (RESULTS / "engines.md").write_text(text + "\n", encoding="utf-8")
        raw = [
            {k: v for k, v in asdict(run).items() if k in {"engine", "load_s"}}
            | {"p50_ms": run.p50_ms, "p99_ms": run.p99_ms}
            | {"agrees_with_exact": agreement(run, runs[0])}
            for run in runs
        ]
        (RESULTS / "engines.json").write_text(json.dumps(raw, indent=1) + "\n")


def real(args: argparse.Namespace) -> Vectors:
    """Those that are kept, or new ones."""
    if args.embeddings is None:
        return embeddings(args.data / "mirabest" / "fits")
    if not args.embeddings.exists():
        np.save(args.embeddings, embeddings(args.data / "mirabest" / "fits"))
    kept: Vectors = np.load(args.embeddings)
    return kept


def engines(
    scratch: Path, vectors: Vectors
) -> Iterator[tuple[str, float, VectorIndex]]:
    """Name, seconds that it took to load, index; the first one is the truth."""
    np.save(scratch / "vectors.npy", vectors)
    mapped = np.load(scratch / "vectors.npy", mmap_mode="r")
    started = time.perf_counter()
    build_index(mapped, scratch / "index.faiss")
    took = time.perf_counter() - started
    for name in (TRUTH, "FAISS"):
        yield name, took, FaissIndex(scratch / "index.faiss", mapped)
    servers: dict[str, Server] = {"pgvector": Pgvector(), "Milvus": Milvus()}
    for name, server in servers.items():
        with closing(server):
            server.build(mapped, scratch)
            yield name, server.load_s, server.index


def asked(
    name: str,
    took: float,
    index: VectorIndex,
    queries: Vectors,
    filters: dict[str, Rows | None],
) -> Run:
    """Every query, under every filter, at both depths."""
    run = Run(name, took, {}, {}, {}, {})
    for (label, among), depth in itertools.product(filters.items(), DEPTHS):
        key = f"{label}, {depth}"
        exact = name == TRUTH or label == "exact"
        search = partial(index.search, k=depth, among=among, exact=exact)
        search(queries[0])
        times, rows, similarities = [], [], []
        for query in queries:
            started = time.perf_counter()
            best, found = search(query)
            times.append(1e3 * (time.perf_counter() - started))
            rows.append(found.tolist())
            similarities.append(best.tolist())
        run.rows[key], run.similarities[key] = rows, similarities
        run.p50_ms[key] = float(np.percentile(times, 50))
        run.p99_ms[key] = float(np.percentile(times, 99))
    print(f"{name}: done", file=sys.stderr)
    return run


def agreement(one: Run, other: Run) -> dict[str, tuple[float, float]]:
    """Fraction of neighbours shared, and largest difference of similarity of these."""
    found = {}
    for key, answers in one.rows.items():
        shared = total = 0
        worst = 0.0
        for number, rows in enumerate(answers):
            mine = dict(zip(rows, one.similarities[key][number], strict=True))
            theirs = dict(
                zip(
                    other.rows[key][number],
                    other.similarities[key][number],
                    strict=True,
                )
            )
            both = mine.keys() & theirs.keys()
            shared += len(both)
            total += len(rows)
            worst = max([worst, *(abs(mine[row] - theirs[row]) for row in both)])
        found[key] = (shared / total, worst)
    return found


def report(
    args: argparse.Namespace, vectors: NDArray[np.float32], runs: list[Run]
) -> str:
    """The tables."""
    truth, rest = runs[0], runs[1:]
    worst = max(
        difference
        for one, other in itertools.combinations(runs, 2)
        for _, difference in agreement(one, other).values()
    )
    least = {
        depth: min(agreement(run, truth)[f"all, {depth}"][0] for run in rest)
        for depth in DEPTHS
    }
    keys = list(truth.rows)
    headline = (
        f"Of the ten nearest by exact comparison every engine finds at least "
        f"{least[10]:.1%}, of the hundred {least[100]:.1%}; similarities of the same "
        f"source differ by {worst:.1g} at most."
    )
    how = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {len(vectors):,} "
        f"vectors of {vectors.shape[1]} numbers (MiraBest and mixtures of neighbours), "
        f"{args.queries} queries, one at a time: `python benchmarks/search/engines.py "
        f"../shared/data --count {args.count} --queries {args.queries}`. A column is "
        "what a filter leaves of the rows and how many neighbours are asked for; a "
        "hundredth is compared row by row in every engine, `exact` is `exact=true`."
    )
    times = (
        f"At a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores, above which "
        "number times are longer than they would be: milliseconds, p50 / p99, and "
        "seconds to build or load (the first line is a comparison with every row):"
    )
    lines = [
        *("# The same questions to every engine", "", headline, "", how, ""),
        *("Fraction shared with the exact answer:", ""),
        _row(["engine", *keys]),
        _row(["---"] * (1 + len(keys))),
        *(
            _row([run.engine, *(f"{agreement(run, truth)[k][0]:.4f}" for k in keys)])
            for run in rest
        ),
        *("", "With one another, all rows:", ""),
        _row(["engines", "top 10", "top 100", "largest difference of similarity"]),
        _row(["---"] * 4),
    ]
    for one, other in itertools.combinations(rest, 2):
        both = agreement(one, other)
        lines.append(
            _row(
                [
                    f"{one.engine} and {other.engine}",
                    *(f"{both[f'all, {depth}'][0]:.4f}" for depth in DEPTHS),
                    f"{max(difference for _, difference in both.values()):.1g}",
                ]
            )
        )
    lines += [
        *("", times, ""),
        _row(["engine", "load s", *keys]),
        _row(["---"] * (2 + len(keys))),
        *(
            _row(
                [
                    run.engine,
                    "" if run is truth else f"{run.load_s:.1f}",
                    *(f"{run.p50_ms[k]:.1f} / {run.p99_ms[k]:.1f}" for k in keys),
                ]
            )
            for run in runs
        ),
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
