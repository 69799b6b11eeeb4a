"""Rows of a catalogue that are the same source on the sky."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from twinjet.index.sky import chord_of, unit_vectors
from twinjet.index.source import Source


def merged(
    rows: Sequence[Source], radius_arcsec: float, *, rank: Callable[[Source], Any]
) -> list[list[Source]]:
    """Rows that are the same source, the best of each first.

    Each row in turn, the best first, takes what is near to it and not taken: a chain
    of neighbours does not become one source, and no source is wider than the radius.

    Parameters
    ----------
    rows
        Sources of a catalogue.
    radius_arcsec
        Within which two are the same.
    rank
        What to sort by, the best first; of equal ones the first.

    Returns
    -------
    list
        In the order of the best of each.

    Examples
    --------
    >>> rows = [Source("a", 359.9999, 0), Source("b", 0.0001, 0), Source("c", 1, 0)]
    >>> same = merged(rows, 5, rank=lambda row: row.source_id)
    >>> [[row.source_id for row in group] for group in same]
    [['a', 'b'], ['c']]
    """
    if not rows:
        return []
    vectors = unit_vectors([row.ra for row in rows], [row.dec for row in rows])
    tree = cKDTree(vectors)
    near = tree.query_ball_point(vectors, chord_of(radius_arcsec), return_sorted=True)
    taken = np.zeros(len(rows), bool)
    groups: dict[int, list[Source]] = {}
    order = sorted(range(len(rows)), key=lambda i: (rank(rows[i]), i))
    place = {row: at for at, row in enumerate(order)}
    for i in order:
        if taken[i]:
            continue
        members = sorted((j for j in near[i] if not taken[j]), key=place.__getitem__)
        taken[members] = True
        groups[i] = [rows[j] for j in members]
    return [groups[i] for i in sorted(groups)]
