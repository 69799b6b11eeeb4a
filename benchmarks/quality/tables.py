"""The report in Markdown."""

from typing import Any

from twinjet.model.evaluation.report import as_markdown, show, table

_HEAD = """\
Made by `make bench-quality`. Judged on a fifth of the sky that no encoder was trained
on, with 95 % intervals by bootstrap over the judged sources. From `untrained` on,
methods learned nothing of radio galaxies. An encoder that saw labels had all those of
the training part of the sky: its figures are not what few labels give, and the answers
that its neighbours are drawn from are those it learned. `paper`, where it is there, is
the paper's preset on these cores, given by `--encoder`: its card says what it saw."""

_SURVEYS = """\
The NVSS image (45 arcsec beam) of a source as a query among the FIRST images
(5.4 arcsec) of FRDEEP; and the part of ten neighbours that are of the other survey,
MeerKAT (MGCLS) beside FIRST (MiraBest), 0.5 when the survey does not matter."""


def _agreement(found: dict[str, Any]) -> str:
    agree = found["agree"]
    theirs = sorted({name for line in found["confusion"].values() for name in line})
    lines = [
        [ours, *(str(line.get(name, 0)) for name in theirs)]
        for ours, line in found["confusion"].items()
    ]
    text = (
        f"{agree['sources']} sources of the four classes were classified in MiraBest "
        "too, by others; the same class was given to a part of "
        f"{show(agree)} of them. They are no fair sample: what MiraBest is sure of was "
        "taken over into the four classes and is not counted here. But no encoder can "
        "be right by both. Lines: the four classes; columns: MiraBest."
    )
    return text + "\n\n" + table(["", *theirs], lines)


def as_text(report: dict[str, Any], *, saw_labels: list[str]) -> str:
    """All tables; encoders that saw labels are marked."""
    encoders = ", ".join(
        f"{name} ({card_id})" for name, card_id in report["encoders"].items()
    )
    parts = [
        "# Quality of the encoders",
        _HEAD,
        f"Encoders: {encoders}. {report['machine']}; {report['seconds']} s.",
        "## Classes",
        as_markdown(report["fr"]),
        as_markdown(report["four"]),
        "### How far people agree",
        _agreement(report["agreement"]),
    ]
    if "fine_tuning" in report:
        counts = list(next(iter(report["fine_tuning"].values())))
        parts += [
            "### Fine-tuned, FR I or II",
            table(
                ["error %, by labels", *counts],
                [
                    [name, *(show(curve[c], percent=True) for c in counts)]
                    for name, curve in report["fine_tuning"].items()
                ],
            ),
        ]
    parts += [
        "## Rare classes",
        "Each member as a query among all 1,091 sources of MiraBest, itself left out.",
    ]
    for name in next(iter(report["rare"].values())):
        any_method = next(iter(report["rare"].values()))[name]
        heads = [
            f"{name} ({any_method['members']})",
            "mAP",
            "nDCG@10",
            "R@10",
            "R@50",
            "R@100",
        ]
        heads += ["several examples: found in 10", "50", "100"]
        rows = []
        for method, classes in report["rare"].items():
            one, several = (
                classes[name]["one_example"],
                classes[name]["several_examples"],
            )
            cells = [one[m] for m in ("ap", "ndcg10", "r10", "r50", "r100")]
            cells += [several[f"found_in_{d}"] for d in (10, 50, 100)]
            rows.append([method, *(show(cell) for cell in cells)])
        chance = any_method["chance"]
        cells_of_chance = [
            f"{chance[k]:.3f}"
            for k in (
                "r10",
                "r50",
                "r100",
                "found_in_10",
                "found_in_50",
                "found_in_100",
            )
        ]
        rows.append(["chance", "", "", *cells_of_chance])
        parts.append(table(heads, rows))
    changes = list(next(iter(report["invariance"].values())))
    parts += [
        "## Invariance",
        (
            "Part of the ten nearest neighbours in MiraBest that stay when the cutout "
            "of the query is changed."
        ),
        table(
            ["method", *changes],
            [
                [name, *(show(f[c]) for c in changes)]
                for name, f in report["invariance"].items()
            ],
        ),
        "## Two surveys",
        _SURVEYS,
        table(
            [
                "method",
                "found first",
                "in 10",
                "in 100",
                "median rank",
                "FIRST to MeerKAT",
                "MeerKAT to FIRST",
            ],
            [
                [
                    name,
                    show(f["found_in_1"]),
                    show(f["found_in_10"]),
                    show(f["found_in_100"]),
                    str(f["median_rank"]),
                    show(f["mixing"]["of the first"]),
                    show(f["mixing"]["of the second"]),
                ]
                for name, f in report["surveys"].items()
            ],
        ),
    ]
    text = "\n\n".join(parts) + "\n"
    for name in saw_labels:
        text = text.replace(f"| {name} |", f"| {name} (saw labels) |")
    return text
