"""One contender in a process of its own; rows are written as they are measured."""

import json
import multiprocessing
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from libraries import (
    THREADS,
    CannotFilterError,
    Contender,
    FaissLibrary,
    Hnswlib,
    Numpy,
    Twinjet,
    Usearch,
)
from machine import resident_mb
from remote import Milvus, Pgvector
from workload import DEPTH, F32, FILTERS, I64, Workload

CONTENDERS: dict[str, Callable[[int], Contender]] = {
    "Twinjet": lambda _: Twinjet(),
    "numpy": lambda _: Numpy(),
    "FAISS Flat": lambda _: FaissLibrary("Flat"),
    "FAISS IVF": lambda count: FaissLibrary(f"IVF{_lists(count)},Flat"),
    "FAISS HNSW32": lambda _: FaissLibrary("HNSW32,Flat"),
    "hnswlib M32": lambda _: Hnswlib(),
    "usearch M32": lambda _: Usearch(),
    "Milvus, by Twinjet": lambda _: Milvus(),
    "pgvector, by Twinjet": lambda _: Pgvector(),
}

# At least so many queries of one kind, and so many seconds.
_LEAST = 20
_SECONDS = 4.0


def _lists(count: int) -> int:
    return int(2 ** int(np.log2(4 * np.sqrt(count))))


def run(name: str, kind: str, work: Workload, journal: Path, timeout_s: float) -> None:
    """Measure one contender; however it ends there is a row that says so."""
    count, dimension = work.vectors.shape
    head = {"contender": name, "kind": kind, "count": count, "dimension": dimension}
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_measure, args=(head, work, journal))
    process.start()
    process.join(timeout_s)
    if process.is_alive():
        process.terminate()
        process.join(30)
        if process.is_alive():
            process.kill()
            process.join()
        _write(journal, head | {"failed": f"not within {timeout_s:.0f} s"})
    elif process.exitcode:
        _write(journal, head | {"failed": f"its process ended with {process.exitcode}"})
    _write(journal, head | {"ended": True})


def _measure(head: dict[str, Any], work: Workload, journal: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=work.folder))
    contender = CONTENDERS[head["contender"]](head["count"])
    try:
        own, _ = resident_mb(contender.pids)
        started = time.perf_counter()
        contender.build(work.vectors, scratch)
        head["build_s"] = time.perf_counter() - started
        written = scratch / "index.faiss"
        if written.exists():
            head["index_mb"] = written.stat().st_size / 1e6
        for setting in contender.settings:
            row = head | {"setting": setting, "cores": THREADS}
            row["parts"] = {
                part: _asked(partial(contender.searcher, setting), work, part)
                for part in FILTERS
            }
            after = resident_mb(contender.pids)
            row["own_mb"], row["mapped_mb"] = after[0] - own, after[1]
            # Others' work beside it: one minute's average, its own one included.
            row["load"] = os.getloadavg()[0]
            row["when"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
            _write(journal, row)
    except Exception as exc:  # noqa: BLE001 - a row says what went wrong
        traceback.print_exc()
        _write(journal, head | {"failed": f"{type(exc).__name__}: {exc}"[:200]})
    finally:
        contender.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _asked(
    searcher: Callable[[I64 | None, int], Callable[[F32], I64]],
    work: Workload,
    part: str,
) -> dict[str, Any]:
    """Latency and recall of one filter, at both depths; throughput without one."""
    rows, queries, truth = work.rows(part), work.queries, work.truth(part)
    found: dict[str, Any] = {}
    for k in (10, DEPTH):
        depth = min(k, len(rows)) if rows is not None else k
        try:
            search = searcher(rows, depth)
        except CannotFilterError as exc:
            return {"impossible": str(exc)}
        for query in queries[:5]:
            search(query)
        times: list[float] = []
        shared = 0
        begun = time.perf_counter()
        for query, wanted in zip(queries, truth, strict=True):
            started = time.perf_counter()
            answer = search(query)
            times.append(1e3 * (time.perf_counter() - started))
            shared += len(np.intersect1d(answer, wanted[:depth]))
            if len(times) >= _LEAST and time.perf_counter() - begun > _SECONDS:
                break
        suffix = "" if k == 10 else "_100"  # noqa: PLR2004 - the two depths
        found[f"p50_ms{suffix}"] = float(np.percentile(times, 50))
        found[f"p99_ms{suffix}"] = float(np.percentile(times, 99))
        found[f"recall_at_{k}"] = shared / (depth * len(times))
        found[f"queries{suffix}"] = len(times)
        if k == 10 and rows is None:  # noqa: PLR2004
            found["queries_s"] = _throughput(search, queries)
    return found


def _throughput(search: Callable[[F32], I64], queries: F32) -> float:
    """Queries in a second, one at a time from as many threads as there are cores."""
    deadline = time.perf_counter() + _SECONDS / 2

    def ask(first: int) -> int:
        done = first
        while time.perf_counter() < deadline:
            search(queries[done % len(queries)])
            done += 1
        return done - first

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        done = sum(pool.map(ask, range(0, 50 * THREADS, 50)))
    return done / (time.perf_counter() - started)


def _write(journal: Path, row: dict[str, Any]) -> None:
    with journal.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
        lines.flush()
        os.fsync(lines.fileno())
    parts = row.get("parts", {}).get("all", {})
    shown = {k: row[k] for k in ("contender", "kind", "count") if k in row}
    print(shown, row.get("setting", ""), row.get("failed", ""), parts, flush=True)
