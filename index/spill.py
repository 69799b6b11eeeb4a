"""Sources of a catalogue on their way: in memory where they are few, else on the disk.

SQLite keeps them, in a private temporary database that goes with its connection: it
finds a name that came before and sorts, whatever the size of the catalogue.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import numpy as np

from twinjet.index.errors import ScratchError
from twinjet.index.sky import healpix_29
from twinjet.index.source import RowProblem, Source

# Sources that are written together.
_BLOCK = 4096

# Pages in memory before the disk is used, KiB.
_CACHE_KIB = 65_536

_TABLES = """
CREATE TABLE source (
    place INTEGER PRIMARY KEY, line INTEGER, cell INTEGER, source_id TEXT UNIQUE,
    ra REAL, dec REAL, survey TEXT, cutout TEXT, columns TEXT
);
CREATE TABLE problem (
    place INTEGER PRIMARY KEY, line INTEGER, source_id TEXT, reason TEXT
);
"""
_FIELDS = "source_id, ra, dec, survey, cutout, columns"


class Spill:
    """Takes the sources of a catalogue in its order.

    Parameters
    ----------
    digest_of
        What the catalogue's digest is of besides its sources.

    Raises
    ------
    ScratchError
        The disk of temporary files is full; every method may raise it.
    """

    def __init__(self, digest_of: str) -> None:
        # An empty name: a database of its own, deleted when it is closed.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        with _on_disk():
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.executescript(_TABLES)
            self._db.execute("BEGIN")
        self._digest = sha256(digest_of.encode())
        self._waiting: list[tuple[int | None, Source]] = []
        self._count = 0

    def add(self, source: Source, line: int | None = None) -> None:
        """Take a source; one whose name came before becomes a problem."""
        self._waiting.append((line, source))
        if len(self._waiting) == _BLOCK:
            self._write()

    def report(self, problem: RowProblem) -> None:
        """Take a row that cannot be used, or a part of one."""
        source_id = None if problem.source_id is None else _utf_8(problem.source_id)
        with _on_disk():
            self._db.execute(
                "INSERT INTO problem (line, source_id, reason) VALUES (?, ?, ?)",
                (problem.line, source_id, _utf_8(problem.reason)),
            )

    def finish(self) -> tuple["SpilledSources", "SpilledProblems", str]:
        """All that came: sources, problems, and the digest in hexadecimal."""
        self._write()
        with _on_disk():
            self._db.execute("COMMIT")
        sources = SpilledSources(self._db, self._count)
        return sources, SpilledProblems(self._db), self._digest.hexdigest()

    def _write(self) -> None:
        if not self._waiting:
            return
        cells = healpix_29(
            np.array([source.ra for _, source in self._waiting]),
            np.array([source.dec for _, source in self._waiting]),
        ).tolist()
        for (line, source), cell in zip(self._waiting, cells, strict=True):
            values = (self._count, line, cell, source.source_id, source.ra, source.dec)
            # NaN is no JSON, and no database could look into it.
            text = json.dumps(dict(source.columns), allow_nan=False)
            with _on_disk():
                added = self._db.execute(
                    "INSERT OR IGNORE INTO source VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, source.survey, source.cutout, text),
                )
            if not added.rowcount:
                self._report_twin(source.source_id, line)
                continue
            self._count += 1
            self._digest.update(repr(source).encode())
        self._waiting = []

    def _report_twin(self, source_id: str, line: int | None) -> None:
        found = self._db.execute(
            "SELECT line FROM source WHERE source_id = ?", (source_id,)
        )
        first = found.fetchone()[0]
        where = "" if first is None else f", in line {first}"
        reason = f"source_id {source_id!r} came before{where}"
        if line is not None:
            reason = f"line {line}: {reason}"
        self.report(RowProblem(line, source_id, reason))


class SpilledSources:
    """What `Spill.finish` gives: read from its start, as often as is wanted."""

    def __init__(self, db: sqlite3.Connection, count: int) -> None:
        self._db = db
        self._count = count

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __iter__(self) -> Iterator[Source]:
        """In the order of the catalogue."""
        return self._read("place")

    def on_the_sky(self) -> Iterator[Source]:
        """In the order of HEALPix cells."""
        return self._read("cell, place")

    def _read(self, order: str) -> Iterator[Source]:
        # Sorting, too, goes to the disk.
        with _on_disk():
            yield from map(
                source_of,
                self._db.execute(f"SELECT {_FIELDS} FROM source ORDER BY {order}"),  # noqa: S608  # nosec B608 - one of two
            )


class SpilledProblems:
    """Rows that could not be used, those of a table in its order."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._count: int = db.execute("SELECT count(*) FROM problem").fetchone()[0]

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __iter__(self) -> Iterator[RowProblem]:
        """One after the other."""
        rows = self._db.execute(
            "SELECT line, source_id, reason FROM problem ORDER BY line, place"
        )
        return (RowProblem(*row) for row in rows)


@contextmanager
def _on_disk() -> Iterator[None]:
    """Name what SQLite calls "database or disk is full"."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        msg = (
            f"temporary files cannot be written: {exc}; make room, or name another "
            "folder by SQLITE_TMPDIR"
        )
        raise ScratchError(msg) from exc


def _utf_8(text: str) -> str:
    """A text that can be written; a file may have a name that cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def source_of(row: Sequence[Any]) -> Source:
    """A source of its ID, ra, dec, survey, cutout and columns as JSON text."""
    source_id, ra, dec, survey, cutout, columns = row
    return Source(source_id, ra, dec, survey, cutout, json.loads(columns))
