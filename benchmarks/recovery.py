"""How long looking for damage, backing up and restoring take.

    python benchmarks/recovery.py 100000 1000000

Rows of a synthetic catalogue with three columns, and a file as large as vectors of 128
dimensions and positions. Processor seconds beside those by the clock.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from twinjet.index.database import refuse_damaged
from twinjet.index.durable import file_digest, fsync_tree
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.row_digest import digest_of_rows
from twinjet.index.source import Column, Source
from twinjet.index.upkeep.databases import copy_sqlite
from twinjet.index.upkeep.manifest import copy_file

_BLOCK = 10_000

# Bytes for each source: 128 float32 of the vector, 3 float64 of the position.
_BYTES = 128 * 4 + 3 * 8


def main() -> None:
    """Print a table for each number of sources."""
    for count in map(int, sys.argv[1:] or ["100000"]):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), count)


def measure(folder: Path, count: int) -> None:
    """Time each part of a start, a check, a backup and a restore."""
    home = Home(folder / "home")
    home.path.mkdir()
    database = home.path / "twinjet.sqlite"
    with closing(open_store(home, home.database_url)) as store:
        number = store.begin_generation(
            encoder_id="e",
            catalogue_name="synthetic",
            catalogue_digest="d" * 64,
            columns=[Column("flux_mjy"), Column("redshift"), Column("kind")],
        )
        rng = np.random.default_rng(0)
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            ra, dec = rng.uniform(0, 360, size), rng.uniform(-90, 90, size)
            values = rng.lognormal(size=(size, 2)).round(3)
            sources = [
                Source(
                    f"S{start + n:07d}+00",
                    float(ra[n]),
                    float(dec[n]),
                    "synthetic",
                    f"{start + n}.fits",
                    {"flux_mjy": flux, "redshift": z, "kind": "FRI"},
                )
                for n, (flux, z) in enumerate(values.tolist())
            ]
            store.add_sources(number, start, sources, ["0" * 64] * size)
        arrays = folder / "arrays"
        with arrays.open("wb") as file:
            for start in range(0, count, _BLOCK):
                file.write(rng.bytes(_BYTES * min(_BLOCK, count - start)))
        print(
            f"\n{count} sources: database {database.stat().st_size / 1e6:.0f} MB, "
            f"arrays {arrays.stat().st_size / 1e6:.0f} MB"
        )
        say("start: every page and index", lambda: refuse_damaged(store.engine))
        say("start: every row", lambda: digest_of_rows(store.engine, number))
        say("start: every file", lambda: file_digest(arrays))
        backup = folder / "backup"
        backup.mkdir()
        say("backup: database", lambda: copy_sqlite(database, backup / "d"))
        say("backup: files", lambda: copy_file(arrays, backup / "a"))
    staged = folder / "staged"

    def restore() -> None:
        for name in ("a", "d"):
            copy_file(backup / name, staged / name)
        fsync_tree(staged)

    say("restore: copy, check, to the disk", restore)


def say(what: str, do: Callable[[], object]) -> None:
    """Do it and print how long it took."""
    clock, processor = time.perf_counter(), time.process_time()
    do()
    print(
        f"  {what}: {time.process_time() - processor:.2f} s of a processor, "
        f"{time.perf_counter() - clock:.2f} s by the clock",
        flush=True,
    )


if __name__ == "__main__":
    main()
