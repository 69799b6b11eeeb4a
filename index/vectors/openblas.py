"""The OpenBLAS that FAISS's wheels bring, told what the processor is.

It is version 0.3.15 and takes what came out later for a processor of 2004, without
AVX (OpenBLAS issue 3453, mended in 0.3.19): products of matrices, by which lists are
trained and many queries are compared, were a third as quick on an Intel Xeon of 2023.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

_VARIABLE = "OPENBLAS_CORETYPE"

# Sets of instructions, the best first, and the processor that OpenBLAS has them under.
_CORES = (
    ({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}, "SkylakeX"),
    ({"avx2", "fma"}, "Haswell"),
)


def load_faiss() -> None:
    """Load it so that whoever imports it next has it as it should be."""
    import_module("numpy")  # whose own OpenBLAS knows the processor itself
    with for_this_processor():
        import_module("faiss")


@contextmanager
def for_this_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Iterator[None]:
    """Have an OpenBLAS that is loaded meanwhile use what the processor can.

    Where the environment names a processor that one is taken, and where there is no
    ``/proc``, or another processor in it than of Intel or AMD, nothing is said. The
    variable is gone afterwards, for later versions know better.

    Parameters
    ----------
    cpuinfo
        As Linux tells of the processor.
    """
    core = None if _VARIABLE in os.environ else core_of(cpuinfo)
    if core is None:
        yield
        return
    os.environ[_VARIABLE] = core
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def core_of(cpuinfo: Path) -> str | None:
    """What OpenBLAS calls a processor that has these instructions."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith("flags")), "")
    there = set(flags.partition(":")[2].split())
    return next((core for needed, core in _CORES if needed <= there), None)
