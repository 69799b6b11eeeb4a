"""The table of recipes: what it holds, what is new, and the curve against images."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl

from twinjet.model.evaluation.report import show, table

mpl.use("Agg")

from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent.parent / "results"

_MEASURES = [f"{s}_{m}" for s in ("fr", "four") for m in ("linear_error", "map", "p10")]
_PLAIN = ["recipe", "images_seen", "seconds", "threads", "dimension"]
_ENDS = {"value": "", "low": "_low", "high": "_high"}


def earlier_rows() -> list[dict[str, Any]]:
    """What the table holds already."""
    path = RESULTS / "recipes.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {p: known[p] if p == "recipe" else int(known[p]) for p in _PLAIN}
            | {"hypothesis": known["hypothesis"]}
            | {
                m: {key: float(known[m + end]) for key, end in _ENDS.items()}
                for m in _MEASURES
            }
            for known in csv.DictReader(file)
        ]


def write_table(runs: Path, *, order: list[str], curve: str) -> None:
    """All rows that there are, as CSV, Markdown and a plot.

    Parameters
    ----------
    runs
        Where new rows are.
    order
        Names of the recipes, as the table has them.
    curve
        The one whose quality is plotted against the images it saw.
    """
    new = [json.loads(p.read_text()) for p in sorted(runs.glob("*/row.json"))]
    by_key = {(r["recipe"], r["images_seen"]): r for r in [*earlier_rows(), *new]}
    places = {name: n for n, name in enumerate(order)}
    rows = sorted(
        by_key.values(),
        key=lambda row: (places.get(row["recipe"], 99), row["images_seen"]),
    )
    RESULTS.mkdir(exist_ok=True)
    # Whole or not at all: the table is the only store of earlier rows.
    half_done = RESULTS / f"recipes.{os.getpid()}.tmp"
    with half_done.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        bounds = [m + end for m in _MEASURES for end in _ENDS.values()]
        writer.writerow([*_PLAIN, *bounds, "hypothesis"])
        for row in rows:
            values = [row[m][k] for m in _MEASURES for k in _ENDS]
            writer.writerow([*(row[p] for p in _PLAIN), *values, row["hypothesis"]])
    half_done.replace(RESULTS / "recipes.csv")
    plot_curve([row for row in rows if row["recipe"] == curve])
    heads = ["recipe", "images", "s", "FR linear error %", "FR mAP"]
    heads += ["four-class linear error %", "four-class mAP", "four-class P@10"]
    cells_of_rows = []
    for row in rows:
        cells = [
            row["recipe"],
            f"{row['images_seen']:,}",
            str(row["seconds"]),
            show(row["fr_linear_error"], percent=True),
            show(row["fr_map"]),
            show(row["four_linear_error"], percent=True),
            show(row["four_map"]),
            show(row["four_p10"]),
            row["hypothesis"],
        ]
        cells_of_rows.append(cells)
    text = table([*heads, "hypothesis"], cells_of_rows)
    (RESULTS / "recipes.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def plot_curve(rows: list[dict[str, Any]]) -> None:
    """Quality of the shipped recipe against the images it has seen."""
    if not rows:
        return
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    images = [row["images_seen"] for row in rows]
    titles = ("linear_error", "linear error"), ("map", "mAP")
    for axis, (measure, title) in zip(axes, titles, strict=True):
        for prefix, name in (("fr", "FR I or II"), ("four", "four classes")):
            figures = [row[f"{prefix}_{measure}"] for row in rows]
            axis.plot(images, [f["value"] for f in figures], marker="o", label=name)
            low, high = ([f[k] for f in figures] for k in ("low", "high"))
            axis.fill_between(images, low, high, alpha=0.15)
        axis.set(xscale="log", xlabel="images seen", ylabel=title)
        axis.legend()
    figure.savefig(RESULTS / "images-seen.png", dpi=110)
    plt.close(figure)
