"""What bounds every exact search: how fast this machine reads memory."""

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BYTES = 1 << 30
_BLOCK = 1 << 20


def bandwidth_gb_s(threads: int) -> float:
    """Memory that is read in a second, 10^9 bytes, best of five passes over 1 GB."""
    numbers = np.ones(_BYTES // 4, np.float32)
    parts = np.array_split(numbers, threads)

    def read(part: NDArray[np.float32]) -> float:
        # In blocks, or BLAS would start threads of its own.
        return sum(
            float(part[i : i + _BLOCK].max()) for i in range(0, len(part), _BLOCK)
        )

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(read, parts))
            best = min(best, time.perf_counter() - started)
    return _BYTES / best / 1e9


def described() -> str:
    """Processor, cores and memory."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB"


def resident_mb(pids: list[int]) -> tuple[float, float]:
    """Memory of processes: their own, and mapped from files; 10^6 bytes."""
    own = mapped = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        sizes = {
            key: int(value.split()[0])
            for key, _, value in (line.partition(":") for line in lines)
            if key in {"RssAnon", "RssFile", "RssShmem"}
        }
        own += sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0)
        mapped += sizes.get("RssFile", 0)
    return own * 1.024e-3, mapped * 1.024e-3


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(int(child))
    return found
