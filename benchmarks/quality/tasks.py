"""Rare classes, invariance and surveys: what MiraBest, FRDEEP and MGCLS can tell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinjet.model.dataset import LabelledFolder
from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.invariance import mixing, overlaps
from twinjet.model.evaluation.methods import Method
from twinjet.model.evaluation.retrieve import leave_one_out, ranked, several_examples
from twinjet.model.evaluation.sample import Sample

DEPTHS = (10, 50, 100)


def rare_classes(vectors: NDArray[np.float32], sample: Sample) -> dict[str, Any]:
    """Hybrids, tails and double-doubles: each member looked for among all sources.

    There are too few of them to hold a part of the sky out; the images of four fifths
    of the sky were among those that encoders learned from, and so were the FR labels of
    an encoder that saw labels, though not which sources are hybrid or have tails.
    """
    fr, shape = sample.column("fr_class"), sample.column("morphology")
    classes = {
        "hybrid": fr == "hybrid",
        "tails": np.isin(shape, ["wide-angle tail", "head-tail"]),
        "double-double": shape == "double-double",
    }
    result: dict[str, Any] = {}
    for name, members in classes.items():
        others = len(sample) - 1
        one = leave_one_out(vectors, members)
        several = several_examples(vectors, members, depths=DEPTHS)
        candidates = len(sample) - int(members.sum()) + 1
        result[name] = {
            "members": int(members.sum()),
            "one_example": {m: mean_of(v) for m, v in one.items()}
            | {f"r{d}": mean_of(_recall(vectors, members, d)) for d in DEPTHS},
            "several_examples": {m: mean_of(v) for m, v in several.items()},
            "chance": {f"r{d}": round(d / others, 4) for d in DEPTHS}
            | {f"found_in_{d}": round(d / candidates, 4) for d in DEPTHS},
        }
    return result


def _recall(
    vectors: NDArray[np.float32], members: NDArray[np.bool_], depth: int
) -> NDArray[np.float64]:
    """Part of the other members among so many neighbours of each."""
    rows = np.flatnonzero(members)
    ranks = ranked(vectors[rows], vectors, without=rows)[:, :depth]
    found: NDArray[np.float64] = members[ranks].sum(axis=1) / max(1, len(rows) - 1)
    return found


def invariance(
    method: Method,
    vectors: NDArray[np.float32],
    sample: Sample,
    folder: LabelledFolder,
    *,
    queries: int,
) -> dict[str, Any]:
    """Overlap of the ten neighbours; the queries are of the held-out sky."""
    rows = np.flatnonzero(sample.held_out().judge)[:queries]
    cutouts = [read_cutout(folder.folder / sample.rows[row]["cutout"]) for row in rows]
    return dict(overlaps(method, cutouts, vectors, rows))


def two_surveys(
    method: Method,
    frdeep: LabelledFolder,
    mirabest: NDArray[np.float32],
    mgcls: NDArray[np.float32],
) -> dict[str, Any]:
    """An NVSS image finds the FIRST image of its source; MeerKAT beside FIRST."""
    first, nvss = [], []
    for row in frdeep.rows:
        try:
            pair = [
                method.preprocess(read_cutout(frdeep.folder / row[column])).image
                for column in ("cutout", "nvss_cutout")
            ]
        except CutoutError:
            continue
        first.append(pair[0])
        nvss.append(pair[1])
    database, queries = method.vectors(np.stack(first)), method.vectors(np.stack(nvss))
    ranks = ranked(queries, database)
    place = (ranks == np.arange(len(ranks))[:, None]).argmax(axis=1)
    return {
        "pairs": len(ranks),
        "median_rank": int(np.median(place)) + 1,
        **{f"found_in_{d}": mean_of(place < d) for d in (1, *DEPTHS)},
        "chance_10": round(10 / len(ranks), 4),
        "mixing": mixing(mirabest, method.vectors(mgcls)),
    }
