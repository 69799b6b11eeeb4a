"""The tables of all rows that have been measured."""

from typing import Any

from surveys import Prices, plan
from workload import FILTERS

Row = dict[str, Any]

_KINDS = {"real": "real embeddings, mixed and jittered", "synthetic": "synthetic"}


def sheet(rows: list[Row], machine: Row, prices: Prices) -> str:
    """Markdown."""
    measured = sorted(row["when"] for row in rows if "when" in row)
    bandwidth = machine["gb_s"]
    how = (
        f"{machine['described']}; measured between {measured[0]} and {measured[-1]} "
        f"UTC, each contender alone, in a process of its own: `{machine['command']}`. "
        f"Memory reads {bandwidth['1']:.0f} GB/s from one thread and "
        f"{bandwidth['all']:.0f} from {machine['cores']} (at a load of "
        f"{machine['load']:.1f}): no scan of all float32 rows is faster than the first "
        "line of each table. Queries are not among the rows. "
        "load is how many processes wanted a core, the contender's one "
        "among them: above the number of cores times are longer than they would be. "
        "p50 / p99 in milliseconds for ten neighbours, one query at a time; recall at "
        "ten and at a hundred; queries/s from as many threads as cores; memory of the "
        "process's own, and mapped from files; the last three columns are p50 / p99 "
        "and recall at ten behind a filter that leaves so many rows, by chance."
    )
    loads = sorted(row["load"] for row in rows if "load" in row)
    if loads[-1] > 2 * machine["cores"]:
        how += (
            f" **The machine was busy** (load {loads[0]:.0f} to {loads[-1]:.0f}): "
            "times are no more than a hint, which favours contenders of one thread; "
            "recall and memory do not depend on it."
        )
    title = "# Search beside other libraries and servers"
    lines = [title, "", how, "", *_claims(rows)]
    for kind, title in _KINDS.items():
        for count in sorted({row["count"] for row in rows if row["kind"] == kind}):
            these = [r for r in rows if (r["kind"], r["count"]) == (kind, count)]
            dimension = these[0]["dimension"]
            lines += ["", f"## {count:,} x {dimension}, {title}", ""]
            lines += _table(these, bandwidth["all"])
    small, large = _ours(rows, 10**5), _ours(rows, 10**6)
    if small is not None and large is not None:
        lines += ["", "## On paper: 10^7 to 10^9 sources", ""]
        lines += plan(small, large, prices)
    return "\n".join(lines)


def _ours(rows: list[Row], count: int) -> Row | None:
    return _one(rows, "real", count, "Twinjet")


def _one(rows: list[Row], kind: str, count: int, contender: str) -> Row | None:
    for row in rows:
        same = (row["kind"], row["count"], row["contender"]) == (kind, count, contender)
        if same and "parts" in row and not row["setting"]:
            return row
    return None


def _table(rows: list[Row], gb_s: float) -> list[str]:
    count, dimension = rows[0]["count"], rows[0]["dimension"]
    limit = 4 * count * dimension / gb_s / 1e6
    lines = [
        "| contender | load | build s | memory MB | p50 / p99 | R@10 | R@100 "
        "| p50 / p99, k=100 | queries/s | "
        + " | ".join(p for p in FILTERS if p != "all")
        + " |",
        "| --- " * 12 + "|",
        f"| all rows read | | | | {limit:.1f} | 1 | 1 | | {1000 / limit:.0f} | | | |",
    ]
    for row in rows:
        name = f"{row['contender']} {row.get('setting', '')}".strip()
        if "failed" in row:
            lines.append(f"| {name} | {row['failed']} |" + " |" * 10)
            continue
        whole = row["parts"]["all"]
        cells = [
            name,
            f"{row['load']:.1f}",
            f"{row['build_s']:.1f}",
            f"{row['own_mb']:,.0f} + {row['mapped_mb']:,.0f}",
            f"{whole['p50_ms']:.2f} / {whole['p99_ms']:.2f}",
            f"{whole['recall_at_10']:.4f}",
            f"{whole['recall_at_100']:.4f}",
            f"{whole['p50_ms_100']:.2f} / {whole['p99_ms_100']:.2f}",
            f"{whole['queries_s']:,.0f}",
            *(_filtered(row["parts"][part]) for part in FILTERS if part != "all"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _filtered(part: Row) -> str:
    if "impossible" in part:
        return "-"
    return f"{part['p50_ms']:.2f} / {part['p99_ms']:.2f}, {part['recall_at_10']:.4f}"


def _claims(rows: list[Row]) -> list[str]:
    """What was wanted, and what came out."""
    lines = []
    for kind in _KINDS:
        ours = _one(rows, kind, 10**5, "Twinjet")
        if ours is not None:
            mine = ours["parts"]["all"]["p50_ms"]
            for other in ("FAISS Flat", "numpy"):
                row = _one(rows, kind, 10**5, other)
                if row is not None:
                    ratio = row["parts"]["all"]["p50_ms"] / mine
                    lines.append(
                        f"- 10^5, {kind}: p50 is {other}'s divided by {ratio:.1f} "
                        "(wanted: 2 or more)."
                    )
            filtered = ours["parts"]["1 %"]
            graphs = [
                row
                for row in rows
                if row["contender"].startswith("hnswlib")
                and (row["kind"], row["count"]) == (kind, 10**5)
                and "parts" in row
            ]
            good = [
                row["parts"]["1 %"]
                for row in graphs
                if row["parts"]["1 %"]["recall_at_10"] >= filtered["recall_at_10"]
            ]
            best = min((part["p50_ms"] for part in good), default=None)
            theirs = "none of hnswlib's settings has as much"
            if best is not None:
                theirs = f"hnswlib's {best:.2f} ms at as much"
            elif graphs:
                part = graphs[-1]["parts"]["1 %"]
                theirs += (
                    f" (its broadest: {part['p50_ms']:.2f} ms, "
                    f"recall {part['recall_at_10']:.3f})"
                )
            lines.append(
                f"- 10^5, {kind}, filter of 1 %: {filtered['p50_ms']:.2f} ms at recall "
                f"{filtered['recall_at_10']:.3f}; {theirs} (wanted: less)."
            )
        ours, row = (_one(rows, kind, 10**6, name) for name in ("Twinjet", "numpy"))
        if ours is not None and row is not None:
            part = ours["parts"]["all"]
            ratio = row["parts"]["all"]["p50_ms"] / part["p50_ms"]
            lines.append(
                f"- 10^6, {kind}: p50 is numpy's divided by {ratio:.1f} (wanted: 5 or "
                f"more), recall at ten {part['recall_at_10']:.4f} (wanted: 0.995)."
            )
    return lines
