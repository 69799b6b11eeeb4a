"""The hunt as text."""

from typing import Any

from hunting import DEPTHS


def as_text(report: dict[str, Any]) -> str:
    """The tables."""
    chosen = report["choice"]
    lines = [
        "# The hybrid hunt",
        "",
        (
            f"`{'`, `'.join(report['commands'])}`; encoder {report['encoder']}; "
            f"{report['sources']} sources of MiraBest (FIRST)."
        ),
        "",
        (
            f"{report['examples']} known hybrids are the examples, drawn anew for each "
            f"of {report['hunts']['all']['splits']} splits; the others are to be found "
            "among all other sources. An expert who knows the labels looks at "
            f"{report['labels_a_round']} candidates a round. *Recall at k*: which part "
            "of the held-out hybrids is among the first k of the list, the confirmed "
            "ones first and what was rejected left out. In brackets 95 % intervals by "
            "bootstrap over the hybrids, each by the part of the splits in which it "
            "was found: there are few of them, and the intervals are wide. The encoder "
            "learned from images of four fifths of the sky without any label of a "
            "person, and from simulated sources whose kinds, hybrids among them, it "
            "was told."
        ),
    ]
    for name, hunt in report["hunts"].items():
        lines += _hunt_text(name, hunt)
    lines += [
        "",
        "## What was chosen, and by what",
        "",
        (
            "By the hunt for wide-angle and head tails of the development sky "
            f"({chosen['members']}, {chosen['candidates']} candidates, "
            f"{chosen['splits']} splits): the mean over rounds 0 to 3 of recall at 50. "
            "Neither hybrids nor the held-out sky were among them. First what is in "
            "force, then each number varied by itself:"
        ),
        "",
        "| loss weight | background share | explore | 0 rounds | 1 | 2 | 3 | mean |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in chosen["tried"]:
        recalls = " | ".join(f"{value:.3f}" for value in one["recall_at_50"])
        lines.append(
            f"| {one['loss_weight']:g} | {one['background_share']:g} | "
            f"{one['explore']:g} | {recalls} | {one['mean']:.3f} |"
        )
    lines += [
        "",
        "Share 0 is a regression on the labels alone, but for the start.",
    ]
    return "\n".join(lines) + "\n"


def _hunt_text(name: str, hunt: dict[str, Any]) -> list[str]:
    title = {
        "all": "All of MiraBest",
        "held-out sky": "The held-out sky alone, with examples from the rest",
    }[name]
    lines = [
        "",
        f"## {title}",
        "",
        (
            f"{hunt['members']} hybrids among {hunt['candidates']} sources; examples "
            f"drawn from {hunt['known']} hybrids."
        ),
    ]
    for depth in DEPTHS:
        lines += [
            "",
            f"| recall at {depth} after | 0 rounds | 1 | 2 | 3 |",
            "| --- | --- | --- | --- | --- |",
        ]
        for way, measures in hunt["ways"].items():
            cells = " | ".join(_cell(one) for one in measures["list"][f"r{depth}"])
            lines.append(f"| {way} | {cells} |")
    lines += [
        "",
        "| session more than, at 50 | 0 rounds | 1 | 2 | 3 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for way, gains in hunt["gain_at_50"].items():
        lines.append(f"| {way} | {' | '.join(_cell(one, sign='+') for one in gains)} |")
    lines += [
        "",
        "The same effort: found among the first 50 looks, those of the rounds counted.",
        "",
        "| recall at 50 looks after | 0 rounds | 1 | 2 | 3 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for way, measures in hunt["ways"].items():
        cells = " | ".join(_cell(one) for one in measures["looks"]["r50"])
        lines.append(f"| {way} | {cells} |")
    return lines


def _cell(figure: dict[str, float], *, sign: str = "") -> str:
    return (
        f"{figure['value']:{sign}.3f} ({figure['low']:{sign}.3f} to "
        f"{figure['high']:{sign}.3f})"
    )
