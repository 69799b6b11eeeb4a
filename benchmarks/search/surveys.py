"""On paper: what surveys of 10^7 to 10^9 sources would need, by measured slopes."""

import math
from dataclasses import dataclass
from typing import Any

# Sources: LoTSS-DR2 4,396,228 (Shimwell et al. 2022, A&A 659, A1); EMU about 20
# million (Hopkins et al. 2025, PASA 42, e071); orders of magnitude for the rest.
SURVEYS = {
    "LoTSS-DR2": 4_396_228,
    "EMU": 20_000_000,
    "10^8 (LoTSS, EMU and a first SKA survey)": 10**8,
    "10^9 (SKA)": 10**9,
}


@dataclass(frozen=True)
class Prices:
    """What is assumed, not measured."""

    machine_gb: float = 64.0
    """Memory of a machine; three quarters of it are for vectors."""
    memory_month: float = 3.0
    """Of 1 GB of memory, with its share of a machine, in a month; any currency."""
    disk_month: float = 0.1
    """Of 1 GB on NVMe."""


def plan(small: dict[str, Any], large: dict[str, Any], prices: Prices) -> list[str]:
    """Rows of a table, from Twinjet's rows at two sizes.

    The number of lists grows as the square root of the sources, and so does what a
    query scans: p50 = a + b sqrt(N). Learning the centres of the lists costs as much
    for each source at any size, finding the nearest one for each source as the root:
    build = c N + d N^1.5.
    """
    few, many = small["count"], large["count"]
    p50 = [row["parts"]["all"]["p50_ms"] for row in (small, large)]
    b = max(0.0, (p50[1] - p50[0]) / (math.sqrt(many) - math.sqrt(few)))
    a = max(0.0, p50[1] - b * math.sqrt(many))
    per_row = [small["build_s"] / few, large["build_s"] / many]
    d = max(0.0, (per_row[1] - per_row[0]) / (math.sqrt(many) - math.sqrt(few)))
    c = per_row[1] - d * math.sqrt(many)
    code = large["index_mb"] * 1e6 / many
    row_bytes = 4 * large["dimension"]
    room = 0.75 * prices.machine_gb
    measured = (
        f"Measured: {code:.0f} bytes of codes and {row_bytes} of float32 for a source; "
        f"p50 = {a:.2f} + {1e3 * b:.3f} sqrt(N/10^6) ms; build = "
        f"{1e6 * c:.0f} s N/10^6 + {1e9 * d:.0f} s (N/10^6)^1.5 on these cores. "
        f"Assumed: machines of {prices.machine_gb:.0f} GB, {prices.memory_month:g} a "
        f"month for 1 GB of memory, {prices.disk_month:g} for 1 GB of NVMe, shards "
        "asked at once. With rows on NVMe a query reads 1,000 of them besides, "
        "which was not measured."
    )
    head = (
        "| survey | sources | codes GB | rows GB | machines, all in memory | p50 ms "
        "| a month | machines, rows on NVMe | a month | build, core hours |"
    )
    lines = [measured, "", head, "| --- " * 10 + "|"]
    cores = large["cores"]
    for name, count in SURVEYS.items():
        codes, rows = code * count / 1e9, row_bytes * count / 1e9
        whole = max(1, math.ceil((codes + rows) / room))
        sparse = max(1, math.ceil(codes / room))
        shard = count / whole
        hours = (c * shard + d * shard**1.5) * whole * cores / 3600
        all_memory = (codes + rows) / 0.75 * prices.memory_month
        on_disk = codes / 0.75 * prices.memory_month + rows * prices.disk_month
        lines.append(
            f"| {name} | {count:,} | {codes:.1f} | {rows:,.0f} | {whole} "
            f"| {a + b * math.sqrt(shard):.1f} | {all_memory:,.0f} | {sparse} "
            f"| {on_disk:,.0f} | {hours:,.0f} |"
        )
    return lines
