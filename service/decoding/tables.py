"""The program of a decoder of tables that name sources."""

import encodings
import importlib
import io
import json
import pkgutil
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import astropy.units as u
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from astropy.io.votable import tree
from astropy.table import QTable, Table
from astropy.time import Time

from twinjet.index.errors import CatalogueFormatError
from twinjet.index.source_tables import read_batch, read_entries
from twinjet.service.decoding import child
from twinjet.service.decoding.sandbox import TABLE
from twinjet.service.decoding.wire import NAMED_AT_A_TIME


def named(task: dict[str, Any], data: bytes) -> child.Answer:
    """The sources that a table names.

    Parameters
    ----------
    task
        ``name`` of the file, for messages, and ``kind``: ``batch`` as for `read_batch`,
        or ``list`` as for `read_entries`.
    data
        The file.

    Returns
    -------
    dict
        As `twinjet.service.decoding.replies.Listed`.
    bytes
        As for `twinjet.service.decoding.replies.Listed.named`.

    Raises
    ------
    TwinjetIndexError
        As for those, or the IDs are longer than an answer may be.
    """
    name = task["name"]
    if task["kind"] == "list":
        found = [(0, e.source_id, e.ra, e.dec, None) for e in read_entries(name, data)]
    else:
        found = [
            (one.row, one.source_id, *(one.position or (None, None)), _fault(one.fault))
            for one in read_batch(name, data)
        ]
    parts = (
        json.dumps(found[start : start + NAMED_AT_A_TIME], allow_nan=False).encode()
        for start in range(0, len(found), NAMED_AT_A_TIME)
    )
    answer = b"\n".join(parts)
    if len(answer) > TABLE.reply_bytes:
        msg = f"the IDs of the catalogue {name} have {len(answer)} bytes; at most "
        msg += f"{TABLE.reply_bytes}"
        raise CatalogueFormatError(msg, limit=TABLE.reply_bytes, actual=len(answer))
    return {"kind": "listed", "count": len(found)}, answer


def _fault(fault: str | None) -> str | None:
    return None if fault is None else child.printable(fault)


def _read_each_format() -> None:
    """Once: later nothing is imported or read, and no thread is made.

    A pool of threads has all that it may have when it was used, if that is one.
    """
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    for module in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):  # of another system
            importlib.import_module(f"encodings.{module.name}")
    for style in ("generic", "fits", "vounit", "cds", "ogip"):
        u.Unit("mJy", format=style)
    # Read anew for each COOSYS, unless the class has it.
    frames = tree.CooSys(ID="a", system="ICRS").reference_frames
    tree.CooSys._reference_frames = frames  # noqa: SLF001 - there is no other way
    for data in _tables():
        read_batch("table", data)


def _tables() -> Iterator[bytes]:
    """One in each way in which they are written."""
    table = Table({"id": ["a"], "ra": [1.0], "dec": [2.0]}, meta={"made": ["by", 1]})
    table["ra"].unit = table["dec"].unit = "deg"
    table["ra"].description, table["ra"].format = "of the core", ".3f"
    mixed = QTable(table)
    mixed["place"] = SkyCoord([1.0], [2.0], unit="deg")
    mixed["time"] = Time([60000.0], format="mjd")
    for one in (table, mixed):
        file = io.BytesIO()
        one.write(file, format="fits")
        yield file.getvalue()
    for version in ("1.1", "1.2", "1.3", "1.4", "1.5"):
        document = tree.VOTableFile.from_table(table)
        document.version = version
        frame = tree.CooSys(ID="a", system="ICRS", epoch="J2000")
        document.resources[0].coordinate_systems.append(frame)
        for field in document.get_first_table().fields:
            field.ucd = "pos.eq.ra;meta.main"
        for form in ("tabledata", "binary", "binary2"):
            file = io.BytesIO()
            with suppress(ValueError):  # binary2 came with 1.3
                document.to_xml(file, tabledata_format=form)
                yield file.getvalue()
    file = io.BytesIO()
    plain = {name: table[name].tolist() for name in table.colnames}
    rows = {name: 100 * values for name, values in plain.items()}
    pq.write_table(pa.table(rows), file, row_group_size=10)
    yield file.getvalue()
    yield b"id,ra,dec\na,1h2m,3d4m"


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _read_each_format()
    child.main(named, TABLE)
