"""The program of a decoder of tables that name sources."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table

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
            for one in read_batch(data, name)
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
    """Once: what reads a format is imported, and has its threads, with the first."""
    table = Table({"id": ["a"], "ra": [1.0], "dec": [2.0]})
    table["ra"].unit = table["dec"].unit = "deg"
    for form in ("fits", "votable"):
        file = io.BytesIO()
        table.write(file, format=form)
        read_batch(file.getvalue())
    file = io.BytesIO()
    plain = {name: table[name].tolist() for name in table.colnames}
    pq.write_table(pa.table(plain), file)
    read_batch(file.getvalue())
    read_batch(b"id,ra,dec\na,1h2m,3d4m")


if __name__ == "__main__":
    _read_each_format()
    child.main(named, TABLE)
