"""Memory of several processes over one index: mapped once, or once for each."""

import argparse
import dataclasses
import time
from pathlib import Path

import psutil
from arrivals import Plan, run
from findings import head, table, tell
from load_home import cutouts_of, home_of
from outcomes import figures
from served import cores, serving

# Of the closed loop that has every process map what it needs.
_TOUCH_S = 15.0
_CLIENTS = 8
_PARTS = ("Rss", "Pss", "Pss_File", "Pss_Anon")


@dataclasses.dataclass(frozen=True)
class Share:
    """Of one process, 10^6 bytes."""

    what: str
    rss_mb: float
    pss_mb: float
    """Each page divided by the number of processes that have it."""
    pss_files_mb: float
    """Of that, what is mapped from files: the index, and libraries."""
    pss_own_mb: float
    index_rss_mb: float
    """Of the files of the generation, what this process has in memory."""
    index_pss_mb: float


def measure(args: argparse.Namespace) -> None:
    """One process, then several, over the same home."""
    home = home_of(args.work, args.sources)
    files = sum(
        p.stat().st_size for p in (home / "generations").rglob("*") if p.is_file()
    )
    rows, raw = [], {}
    for count in (1, args.processes):
        options = ["--processes", str(count)] if count > 1 else []
        with serving(home, sum(cores(), ()), *options) as server:
            time.sleep(2)
            rate = _touch(args, server.port)
            there = _serving(server.pid)
            shares = [_share(home, one, alone=len(there) == 1) for one in there]
        raw[count] = {
            "answers_per_s": rate,
            "processes": [dataclasses.asdict(one) for one in shares],
        }
        rows += [_row(f"{count}", one) for one in shares]
        if len(shares) > 1:
            rows.append(_row(f"{count}", _sum(shares)))
    titles = (
        *("`--processes`", "process", "RSS MB", "PSS MB", "of files", "of its own"),
        *("index, RSS MB", "index, PSS MB"),
    )
    text = (
        f"{head()}\n\n{args.sources:,} sources, {files / 1e6:,.0f} MB of files of the "
        f"index. Measured after {_TOUCH_S:g} s of searches by {_CLIENTS} clients, "
        "for every vector (`exact=true`) and by the index. PSS counts a page that "
        f"several processes have in parts.\n\n{table(titles, rows)}"
    )
    tell("processes", text, raw, write=args.write)


def _touch(args: argparse.Namespace, port: int) -> float:
    """Ask until each process has had the whole index in its hands."""
    plan = Plan(
        port=port,
        kind="exact",
        sources=args.sources,
        cutouts=str(cutouts_of(args.work)),
        stretches=[(1.0, _TOUCH_S)],
        clients=_CLIENTS,
    )
    run(plan)
    plan = dataclasses.replace(plan, kind="id", seed=2)
    return figures(run(plan), 0.0, _TOUCH_S).goodput


def _serving(pid: int) -> list[psutil.Process]:
    """A server and the processes below it, without those that decode."""
    first = psutil.Process(pid)
    return [
        first,
        *(
            one
            for one in first.children()
            if not any("decoding" in word for word in one.cmdline())
        ),
    ]


def _share(home: Path, process: psutil.Process, *, alone: bool) -> Share:
    whole = _parts(Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii"))
    index = dict.fromkeys(_PARTS, 0.0)
    mapped = Path(f"/proc/{process.pid}/smaps").read_text("utf-8")
    generations = str((home / "generations").resolve())
    for block in _mappings(mapped):
        if generations in block:
            for name, value in _parts(block).items():
                index[name] += value
    command = " ".join(process.cmdline())
    if "resource_tracker" in command:
        what = "Python's, which tidies up"
    elif "spawn_main" in command:
        what = "one that answers"
    elif alone:
        what = "the one"
    else:
        what = "the first, which serves nothing"
    return Share(
        what,
        rss_mb=whole["Rss"],
        pss_mb=whole["Pss"],
        pss_files_mb=whole["Pss_File"],
        pss_own_mb=whole["Pss_Anon"],
        index_rss_mb=index["Rss"],
        index_pss_mb=index["Pss"],
    )


def _mappings(text: str) -> list[str]:
    """Of /proc/PID/smaps: each mapping with its figures."""
    blocks: list[str] = []
    for line in text.splitlines():
        if line.split(maxsplit=1)[0].endswith(":"):
            blocks[-1] += "\n" + line
        else:
            blocks.append(line)
    return blocks


def _parts(text: str) -> dict[str, float]:
    """Figures in 10^6 bytes; those of a single mapping have fewer names."""
    found = dict.fromkeys(_PARTS, 0.0)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] += int(value.split()[0]) * 1.024e-3
    return found


def _sum(shares: list[Share]) -> Share:
    names = [field.name for field in dataclasses.fields(Share)][1:]
    return Share("all", *(sum(getattr(one, name) for one in shares) for name in names))


def _row(count: str, share: Share) -> tuple[str, ...]:
    values = list(dataclasses.astuple(share))
    return count, values[0], *(f"{value:,.0f}" for value in values[1:])
