"""How vectors are searched: by how many they are, by memory, by what a filter leaves.

Small generations are compared row by row, which is as quick as any index and exact.
Larger ones are kept in lists, of which the nearest are looked into. Where a filter
leaves few rows they are gathered and compared, in every engine.
"""

import math
import os

SCAN_FROM = 20_000
"""Rows from which not all are compared: as many, of 256 float32, are 20 MB, 1 ms."""

# Fewer matching rows than either: gather them and compare exactly. The graphs and
# lists of every engine lose neighbours there: FAISS's HNSW found 7 % of them among
# a thousandth of the rows (2026-11). 200,000 x 512 float32 are 400 MB that are read.
_GATHER_ROWS = 200_000
_GATHER_FRACTION = 0.02

# FAISS warns below it, which Milvus uses too.
_LEAST_IN_LIST = 39


def is_few(matching: int, count: int) -> bool:
    """Whether so many of all rows are compared rather than searched.

    Examples
    --------
    >>> is_few(200_000, 10**6), is_few(200_001, 10**6), is_few(200_001, 2 * 10**7)
    (True, False, True)
    """
    return matching <= max(_GATHER_ROWS, _GATHER_FRACTION * count)


def lists_for(count: int) -> int:
    """How many lists so many rows are kept in, where a search looks at the nearest.

    Examples
    --------
    >>> lists_for(40), lists_for(10**5), lists_for(2 * 10**6), lists_for(10**8)
    (1, 1024, 4096, 32768)
    """
    # A power of two near four times the root, which balances lists and what is in
    # them; and no fewer rows in a list than its centre can be learned from.
    balanced = 1 << int(math.log2(4 * math.sqrt(max(1, count))))
    return max(1, min(balanced, count // _LEAST_IN_LIST))


def probes_for(rows: int, *, lists: int, matching: int) -> int:
    """How many lists hold so many rows of those that match, four times over.

    Examples
    --------
    >>> probes_for(1000, lists=1024, matching=10**5)
    41
    >>> probes_for(1000, lists=1024, matching=2000)
    1024
    """
    return min(lists, math.ceil(4 * rows * lists / max(1, matching)))


def fits(count: int, dimension: int, *, memory_bytes: int) -> bool:
    """Whether FAISS finds room for so many rows: float32, one bit, and a number each.

    Examples
    --------
    >>> fits(10**6, 519, memory_bytes=12 * 10**9)
    True
    >>> fits(10**7, 519, memory_bytes=12 * 10**9)
    False
    """
    return count * bytes_per_row(dimension) <= memory_bytes


def bytes_per_row(dimension: int) -> int:
    """Memory of a row: its numbers, its code (RaBitQ, 4 bytes of factors), its number.

    Examples
    --------
    >>> bytes_per_row(512)
    2124
    """
    return 4 * dimension + (dimension + 7) // 8 + 4 + 8


def half_of_memory() -> int:
    """Half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
