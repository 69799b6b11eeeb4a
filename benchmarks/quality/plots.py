"""The figures of the report as pictures."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt


def plot_labels(report: dict[str, Any], path: Path) -> None:
    """Error against labels: linear probes of all methods, fine-tuning."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, figures in report["fr"]["methods"].items():
        _curve(axes, figures["linear_error_by_labels"], f"linear, {name}", "-")
    for name, curve in report.get("fine_tuning", {}).items():
        _curve(axes, curve, name, "--")
    axes.set(
        xscale="log",
        xlabel="labels",
        ylabel="error on the held-out sky / %",
        title="FR I or II, MiraBest Confident",
        ylim=(0, 55),
    )
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(axes: Any, curve: dict[str, Any], name: str, style: str) -> None:
    counts = sorted(curve, key=int)
    values, low, high = (
        [100 * curve[c][k] for c in counts] for k in ("value", "low", "high")
    )
    x = [int(c) for c in counts]
    (line,) = axes.plot(x, values, style, label=name, marker="o", markersize=3)
    axes.fill_between(x, low, high, alpha=0.1, color=line.get_color())


def plot_rotation(report: dict[str, Any], path: Path) -> None:
    """How many of the ten neighbours stay under each change."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    methods = report["invariance"]
    changes = list(next(iter(methods.values())))
    width = 0.8 / len(methods)
    for n, (name, figures) in enumerate(methods.items()):
        places = [i + n * width for i in range(len(changes))]
        axes.bar(places, [figures[c]["value"] for c in changes], width, label=name)
    axes.set_xticks(
        [i + 0.4 for i in range(len(changes))], changes, rotation=20, fontsize=8
    )
    axes.set(ylabel="of the ten neighbours stay", ylim=(0, 1))
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
