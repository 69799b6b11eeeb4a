"""Are filtered neighbours all of them? Random filters against brute force.

Fills a store with sources whose columns and places are random, a tenth of them the
same object catalogued again some arcsec away, draws filters of selectivities from
10^-4 to 1 (the logarithm uniform), with and without a region, and compares the ten
neighbours that a searcher answers, duplicates kept and dropped, with those of numpy
over all vectors. Numpy evaluates each filter itself, without SQL.

    python benchmarks/filters/exactness.py [--vectors FILE.npy] [--filters N]

`--write` keeps the page and the raw figures. Vectors are (N, D) float32 of unit norm;
without a file they are drawn around 200 centres. `make bench-search` leaves embeddings
of real radio galaxies, moved a little, in `runs/search/real-100000/vectors.npy`.

`--resume FILE` keeps each filter's figures in a file as soon as they are known, and
goes on where an earlier run with the same arguments ended.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filter_draws import Drawn, Sky, draw, some_sky
from numpy.typing import NDArray

from twinjet.index.database import create_engine, upgrade
from twinjet.index.generation import Manifest, open_generation, write_generation
from twinjet.index.options import OBJECT_RADIUS_ARCSEC, Options
from twinjet.index.search import Answer, Searcher
from twinjet.index.source import Source
from twinjet.index.store import SourceStore

RESULTS = Path(__file__).parents[1] / "results"

K = 10

# Rounding of a float32 product of hundreds of terms: such neighbours tie.
TIE = 2e-6


DECADES = [(-4, -3), (-3, -2), (-2, -1), (-1, -0.301), (-0.301, 0.001)]


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--sources", type=int, default=100_000)
    parser.add_argument("--filters", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--resume", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.vectors is None:
        vectors = drawn_vectors(rng, arguments.sources)
    else:
        vectors = np.load(arguments.vectors, mmap_mode="r")[: arguments.sources]
    sky = some_sky(rng, len(vectors))
    rows = kept_rows(arguments.resume)[: arguments.filters]
    with tempfile.TemporaryDirectory() as scratch:
        searcher = filled(Path(scratch), np.asarray(vectors), sky)
        for number in range(len(rows), arguments.filters):
            if number % 50 == 0:
                print(f"{number} of {arguments.filters}", file=sys.stderr, flush=True)
            # Of its own, so that it is the same after a resumption.
            rng = np.random.default_rng([arguments.seed, number])
            drawn = draw(rng, sky)
            rows.append(judged(searcher, np.asarray(vectors), sky, drawn, rng))
            if arguments.resume is not None:
                with arguments.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    text = report(rows, vectors.shape, " ".join(sys.argv[1:]))
    print(text)
    if arguments.write:
        (RESULTS / "filters.md").write_text(text, encoding="utf-8")
        raw = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
        (RESULTS / "filters.json").write_text(raw, encoding="utf-8")


def kept_rows(path: Path | None) -> list[dict[str, Any]]:
    """Figures of an earlier run; a line that it did not finish is cut off."""
    if path is None or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    path.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def drawn_vectors(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Around 200 centres, of 519 dimensions, of unit norm."""
    centres = rng.normal(size=(200, 519)).astype(np.float32)
    vectors = centres[rng.integers(0, 200, count)]
    vectors += rng.normal(size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def filled(folder: Path, vectors: NDArray[np.float32], sky: Sky) -> Searcher:
    """A generation of these vectors and sources."""
    engine = create_engine(f"sqlite:///{folder / 'store.sqlite'}")
    upgrade(engine)
    store = SourceStore(engine)
    number = store.begin_generation(
        encoder_id="e",
        catalogue_name="c",
        catalogue_digest="d",
        columns=sky.kinds,
    )
    count = len(vectors)
    for start in range(0, count, 2000):
        some = range(start, min(count, start + 2000))
        store.add_sources(
            number,
            start,
            [
                Source(
                    f"s{n}",
                    float(sky.ra[n]),
                    float(sky.dec[n]),
                    columns={c.name: plain(sky.columns[c.name][n]) for c in sky.kinds},
                )
                for n in some
            ],
        )
    manifest = Manifest(
        number=number,
        encoder_id="e",
        encoder_name="e",
        catalogue_name="c",
        catalogue_digest="d",
        cutouts=str(folder),
        count=count,
        dimension=vectors.shape[1],
        recall_at_10=0.0,
        failed=0,
    )
    write_generation(folder / "g000001", manifest, [(vectors, sky.places)])
    store.publish_build(number, source_count=count, folder="g000001")
    return Searcher(open_generation(folder / "g000001"), store)


def plain(value: Any) -> Any:
    """As JSON has it; NaN is missing."""
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value


def judged(
    searcher: Searcher,
    vectors: NDArray[np.float32],
    sky: Sky,
    drawn: Drawn,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """One filter: what was found, what should have been, and how long it took."""
    query = int(rng.integers(len(vectors)))
    options = Options(k=K, where=drawn.where, region=drawn.region)
    began = time.perf_counter()
    dropped = searcher.similar_to_source(f"s{query}", options)
    elapsed = 1e3 * (time.perf_counter() - began)
    kept = searcher.similar_to_source(
        f"s{query}", replace(options, keep_duplicates=True)
    )
    similarities = vectors @ vectors[query]
    among = np.flatnonzero(drawn.mask)
    order = among[np.argsort(-similarities[among], kind="stable")]
    order = order[order != query]
    return {
        "where": drawn.where,
        "region": drawn.shape,
        "matching": len(among),
        "selectivity": len(among) / len(vectors),
        "recall": recall(kept, order[:K], similarities),
        "recall_dropped": recall(dropped, first_ones(order, query, sky), similarities),
        "exact": dropped.exact,
        "filter_ms": round(dropped.timings_ms["lookup"], 2),
        "search_ms": round(dropped.timings_ms["search"], 2),
        "total_ms": round(elapsed, 2),
    }


def recall(answer: Answer, true: NDArray[Any], similarities: NDArray[Any]) -> float:
    """Which part of the true neighbours was found; equals stand for one another."""
    found = [int(n.source.source_id[1:]) for n in answer.neighbours]
    if len(found) > len(true):
        return 0.0
    if len(true) == 0:
        return 1.0
    least = similarities[true[-1]] - TIE
    good = sum(row in true or similarities[row] >= least for row in found)
    return float(good / len(true))


def first_ones(order: NDArray[Any], query: int, sky: Sky) -> NDArray[Any]:
    """The first of each object, by astropy's separations."""
    places = sky.coordinates
    taken = [query]
    for row in order:
        near = places[taken].separation(places[row]).arcsec.min()
        if near > OBJECT_RADIUS_ARCSEC:
            taken.append(int(row))
        if len(taken) > K:
            break
    return np.array(taken[1:], dtype=np.int64)


def report(rows: list[dict[str, Any]], shape: tuple[int, ...], command: str) -> str:
    """The page of results."""
    machine = platform.processor() or platform.machine()
    load = os.getloadavg()[0]
    told = (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {machine}, load "
        f"{load:.1f} at the end. {len(rows)} random filters, {shape[0]:,} sources of "
        f"{shape[1]} dimensions, ten neighbours each, SQLite. Recall is the mean, and "
        "in parentheses the least; equal similarities (to 2e-6) stand for one another. "
        "*Dropped* has each object once. Times are of the whole search with its "
        "filter, of the filter in SQL, and of the vectors, p50."
    )
    head = "selectivity | filters | recall | dropped | total ms | filter ms"
    lines = [
        "# Filtered neighbours against brute force",
        "",
        f"`python benchmarks/filters/exactness.py {command}`",
        "",
        told,
        "",
        f"| {head} | vectors ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
        (f"10^{low:g} to 10^{high:g}", between(low, high)) for low, high in DECADES
    ]
    groups[-1] = ("above half", groups[-1][1])
    groups[-2] = ("10^-1 to half", groups[-2][1])
    shapes = sorted({row["region"] or "none" for row in rows})
    groups += [(f"region: {name}", of_region(name)) for name in shapes]
    groups.append(("all", lambda _: True))
    for title, belongs in groups:
        some = [row for row in rows if belongs(row)]
        if some:
            lines.append(line(title, some))
    whole = sum(r["recall"] == 1 and r["recall_dropped"] == 1 for r in rows)
    lines += ["", f"{whole} of {len(rows)} filters have recall 1 in both ways.", ""]
    return "\n".join(lines)


def between(low: float, high: float) -> Callable[[dict[str, Any]], bool]:
    """Rows of these logarithms of the selectivity."""
    return lambda row: (
        low
        <= np.log10(max(row["selectivity"], 1e-4 if low == DECADES[0][0] else 1e-9))
        < high
    )


def of_region(name: str) -> Callable[[dict[str, Any]], bool]:
    """Rows with such a region."""
    return lambda row: (row["region"] or "none") == name


def line(title: str, rows: list[dict[str, Any]]) -> str:
    """A row of the table."""

    def both(name: str) -> str:
        values = [row[name] for row in rows if row[name] is not None]
        return f"{np.mean(values):.4f} ({min(values):.1f})" if values else ""

    times = (
        f"{np.median([row[name] for row in rows]):.1f}"
        for name in ("total_ms", "filter_ms", "search_ms")
    )
    cells = [title, str(len(rows)), both("recall"), both("recall_dropped")]
    return "| " + " | ".join([*cells, *times]) + " |"


if __name__ == "__main__":
    main()
