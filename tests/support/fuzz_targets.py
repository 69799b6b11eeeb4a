"""What is fuzzed: code that strangers' bytes reach first, and what it may raise."""

import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from filters import COLUMNS
from mocpy import MOC
from oddities import oddities
from sqlalchemy.dialects import postgresql, sqlite

from twinjet.index.errors import FilterError, RegionError
from twinjet.index.moc import moc_of_bytes
from twinjet.index.region_text import parse_region
from twinjet.index.where import parse_where
from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError
from twinjet.model.fits_headers import walk

# A fuzzer that is fed large files does little else than copy them.
_MOST_SEED = 64 * 1024

_POINTS = np.eye(3)

_DIALECTS = (sqlite.dialect(), postgresql.dialect())  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Target:
    """Code under attack; any other exception than its refusal is a fault."""

    run: Callable[[bytes], None]
    refusal: type[Exception]
    seeds: Callable[[], Iterator[bytes]]

    def attack(self, data: bytes) -> None:
        """Run it; what it refuses is told in words that can be shown."""
        told = ""
        try:
            self.run(data)
        except self.refusal as exc:
            told = str(exc)
        assert told.isprintable(), told


def _headers(data: bytes) -> None:
    for block in walk(data):
        assert block.data_start > 0
        assert block.trouble or block.data_start + block.data_bytes <= len(data)


def _decode(data: bytes) -> None:
    cutout = read_cutout(data)
    assert cutout.pixels.ndim == 2
    assert all(note.isprintable() for note in cutout.notes)


def _where(data: bytes) -> None:
    expression = parse_where(data.decode("utf-8", "replace"), COLUMNS)
    for dialect in _DIALECTS:
        assert str(expression.compile(dialect=dialect))


def _region(data: bytes) -> None:
    region = parse_region(data.decode("utf-8", "replace"))
    assert region.contains(_POINTS).shape == (3,)
    assert region.condition() is not None


def _moc(data: bytes) -> None:
    assert moc_of_bytes(data).contains(_POINTS).shape == (3,)


def _files() -> Iterator[bytes]:
    for odd in oddities():
        if not odd.heavy:
            data = odd.make()
            if len(data) <= _MOST_SEED:
                yield data


def _heads() -> Iterator[bytes]:
    for data in _files():
        if data.startswith(b"SIMPLE"):
            yield data[:5760]


def _filters() -> Iterator[bytes]:
    for text in (
        "bent = true AND size>3 or Z IS NULL",
        "size ≥ 3 and not (size ≤ 30 and z ≠ -1.5e-3)",
        "fr in ('FRI', 'FRII') and host not like 'a\\_%'",
        'fr ilike "%O\'Brien" or `in` between 1 and 2',
        "((not not bent)) is not true",
        "ra > dec and source_id != survey",
    ):
        yield text.encode()


def _shapes() -> Iterator[bytes]:
    for text in (
        "CIRCLE 180 30 2",
        "RANGE 350 10 -5 5",
        "BOX 180 30 2 1 45",
        "POLYGON 10 0 12 0 12 2 10 2 11 1",
        "MOC 3/1-4 29/0-3458764513820540927",
        'MOC {"6": [1, 2, 3], "7": [40]}',
        "circle 1e308,-inf,nan",
    ):
        yield text.encode()


def _mocs() -> Iterator[bytes]:
    made = MOC.from_string("3/1-4 7/40")
    file = io.BytesIO()
    made.serialize("fits").writeto(file)
    yield file.getvalue()
    yield gzip.compress(file.getvalue(), mtime=0)
    # Which the library quotes: a control character is nothing to show.
    yield file.getvalue().replace(b"GCOUNT  =", b"GCOUNT  \0")
    yield b"3/1-4 7/40"
    yield b'{"3": [1, 2, 3, 4], "7": [40]}'


TARGETS = {
    "headers": Target(_headers, CutoutError, _heads),
    "decode": Target(_decode, CutoutError, _files),
    "where": Target(_where, FilterError, _filters),
    "region": Target(_region, RegionError, _shapes),
    "moc": Target(_moc, RegionError, _mocs),
}
