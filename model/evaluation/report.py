"""All figures of some methods on one labelled sample, and how to show them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinjet.model.evaluation.classify import (
    label_efficiency,
    linear_correct,
    nearest_correct,
)
from twinjet.model.evaluation.intervals import Figure, mean_of
from twinjet.model.evaluation.methods import Method
from twinjet.model.evaluation.retrieve import ranked, retrieval
from twinjet.model.evaluation.sample import Sample, Split, check_classes

# Labels that a survey team might have; all when the sample has fewer.
LABEL_COUNTS = (10, 20, 50, 145, 364, 10**9)

# A bin with fewer of the other class says nothing about the class.
_SIZE_BINS = 4


def judge(
    methods: Sequence[tuple[Method, Sample]],
    label: str,
    *,
    seeds: int = 10,
    counts: Sequence[int] = LABEL_COUNTS,
    size_column: str = "angular_size_arcsec",
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Figures of methods on the held-out part of the sky.

    Parameters
    ----------
    methods
        Each with the sample as its recipe prepares it; the same sources in all.
    label
        Column of the classes.
    seeds
        Draws of labels for each count.
    counts
        Labels for the linear probe; the largest stands for all.
    size_column
        Of the angular sizes, for precision among sources of the same size; left
        out where the sample has none.
    progress
        Is told which method is being judged.

    Returns
    -------
    dict
        Plain data: ``classes``, ``trained_on``, ``judged_on`` and for each of the
        ``methods`` its figures.

    Raises
    ------
    DatasetError
        A part of the sky lacks a class.
    """
    first = methods[0][1]
    split = first.held_out()
    classes = check_classes(first, label, split)
    figures = {}
    for method, sample in methods:
        progress(f"{sample.name}: {method.name}")
        vectors = method.vectors(sample.images)
        figures[method.name] = _figures(
            vectors,
            sample,
            label,
            split,
            seeds=seeds,
            counts=counts,
            size_column=size_column,
        )
    return {
        "task": f"{first.name}: {label}",
        "classes": classes,
        "trained_on": int(split.train.sum()),
        "judged_on": int(split.judge.sum()),
        "methods": figures,
    }


def _figures(
    vectors: NDArray[np.float32],
    sample: Sample,
    label: str,
    split: Split,
    *,
    seeds: int,
    counts: Sequence[int],
    size_column: str,
) -> dict[str, Any]:
    labels = sample.column(label)
    known, truth = labels[split.train], labels[split.judge]
    ranks = ranked(vectors[split.judge], vectors[split.train])
    measures = retrieval(known[ranks] == truth[:, None])
    result: dict[str, Any] = {
        "linear_error": mean_of(~linear_correct(vectors, labels, split)),
        "nearest_error": mean_of(~nearest_correct(vectors, labels, split)),
        **{name: mean_of(values) for name, values in measures.items()},
        "by_class": {
            str(name): {m: mean_of(v[truth == name]) for m, v in measures.items()}
            for name in sorted(set(truth.tolist()))
        },
    }
    if counts:
        result["linear_error_by_labels"] = {
            str(count): mean_of(errors)
            for count, errors in label_efficiency(
                vectors, labels, split, counts=counts, seeds=seeds
            ).items()
        }
    sizes = sample.numbers(size_column)
    if np.isfinite(sizes).sum() > len(sizes) / 2:
        result["p10_same_size"] = _same_size(vectors, labels, sizes, split)
    return result


def _same_size(
    vectors: NDArray[np.float32],
    labels: NDArray[np.str_],
    sizes: NDArray[np.float64],
    split: Split,
) -> Figure:
    """Precision at 10 among sources of the same quarter of angular sizes.

    Nearest neighbours are size neighbours first, and size goes with class: here it
    cannot help.
    """
    edges = np.nanquantile(sizes[split.train], np.linspace(0, 1, _SIZE_BINS + 1)[1:-1])
    bins = np.where(np.isfinite(sizes), np.searchsorted(edges, sizes), -1)
    right = []
    for number in range(_SIZE_BINS):
        train, judge_ = split.train & (bins == number), split.judge & (bins == number)
        ranks = ranked(vectors[judge_], vectors[train])[:, :10]
        right.append((labels[train][ranks] == labels[judge_][:, None]).mean(axis=1))
    return mean_of(np.concatenate(right))


def show(figure: Figure, *, percent: bool = False) -> str:
    """A figure with its interval.

    Examples
    --------
    >>> show(Figure(value=0.07, low=0.04, high=0.11, sources=187), percent=True)
    '7.0 (4.0-11.0)'
    """
    times, digits = (100, 1) if percent else (1, 3)
    value, low, high = (
        f"{times * end:.{digits}f}"
        for end in (figure["value"], figure["low"], figure["high"])
    )
    return f"{value} ({low}-{high})"


_COLUMNS = {
    "linear_error": ("linear error %", True),
    "nearest_error": ("10-nearest error %", True),
    "ap": ("mAP", False),
    "p8": ("P@8", False),
    "p10": ("P@10", False),
    "r100": ("R@100", False),
    "ndcg10": ("nDCG@10", False),
    "p10_same_size": ("P@10, same size", False),
}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Examples
    --------
    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_markdown(report: Mapping[str, Any]) -> str:
    """Tables of what `judge` returned: all, by class, by labels."""
    methods: Mapping[str, Any] = report["methods"]
    present = [c for c in _COLUMNS if any(c in m for m in methods.values())]
    parts = [
        f"### {report['task']}",
        (
            f"{', '.join(report['classes'])}; {report['trained_on']} sources train, "
            f"{report['judged_on']} of another part of the sky judge."
        ),
        table(
            ["method", *(_COLUMNS[c][0] for c in present)],
            [
                [
                    name,
                    *(
                        show(m[c], percent=_COLUMNS[c][1]) if c in m else ""
                        for c in present
                    ),
                ]
                for name, m in methods.items()
            ],
        ),
        table(
            ["mAP by class", *report["classes"]],
            [
                [name, *(show(m["by_class"][c]["ap"]) for c in report["classes"])]
                for name, m in methods.items()
            ],
        ),
    ]
    counted = {
        n: m["linear_error_by_labels"]
        for n, m in methods.items()
        if "linear_error_by_labels" in m
    }
    if counted:
        counts = sorted({int(c) for m in counted.values() for c in m})
        parts.append(
            table(
                ["linear error %, by labels", *map(str, counts)],
                [
                    [name, *(show(m[str(c)], percent=True) for c in counts)]
                    for name, m in counted.items()
                ],
            )
        )
    return "\n\n".join(parts) + "\n"
