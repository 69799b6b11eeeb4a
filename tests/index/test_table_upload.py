"""Tables from strangers: what they unpack to is known before it is unpacked."""

import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from twinjet.index.errors import CatalogueFormatError
from twinjet.index.table_upload import read_uploaded

IDS = [f"S{number}" for number in range(1000)]


def parquet(**columns: pa.Array) -> bytes:
    file = io.BytesIO()
    pq.write_table(
        pa.table({"source_id": IDS, **columns}),
        file,
        compression="zstd",
        dictionary_pagesize_limit=10**8,
    )
    return file.getvalue()


def fits_table(*columns: fits.Column, hdus: int = 1, **cards: str) -> bytes:
    ids = fits.Column("source_id", "8A", array=np.array(IDS))
    table = fits.BinTableHDU.from_columns([ids, *columns])
    table.header.update(cards)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *[table] * hdus]).writeto(file)
    return file.getvalue()


def same_text(length: int) -> pa.Array:
    numbers = pa.array([0] * len(IDS), pa.int32())
    return pa.DictionaryArray.from_arrays(numbers, pa.array(["a" * length]))


@pytest.mark.parametrize(
    "data",
    [
        parquet(),
        parquet(size=pa.array(np.arange(1000.0)), note=same_text(1000)),
        fits_table(fits.Column("size", "D", array=np.arange(1000.0))),
        gzip.compress(fits_table()),
    ],
)
def test_tables_are_read(data: bytes) -> None:
    table = read_uploaded("t", data)
    assert [values[0] for _, values in table.rows] == IDS


@pytest.mark.parametrize(
    ("data", "words"),
    [
        # Of less than a kilobyte each.
        (parquet(note=same_text(1_000_000)), "unpacks to more than 134217728 bytes"),
        (parquet(note=same_text(10**6).cast(pa.string())), "unpacks to more than"),
        (parquet(parts=pa.array([[1.0]] * 1000)), "'parts'.*plain numbers and text"),
        (
            fits_table(fits.Column("x", "PB()", array=[np.zeros(3, "u1")] * 1000)),
            "column of variable length",
        ),
        (
            fits_table(fits.Column("x", "8000X", array=np.zeros((1000, 8000), bool))),
            "8001000 values",
        ),
        (
            fits_table(
                fits.Column("x", "PB()", array=[np.zeros(3, "u1")] * 1000)
            ).replace(b"'BINTABLE'", b"'A3DTABLE'"),
            "column of variable length",
        ),
        (fits_table().replace(b"XTENSION=", b"xtension="), "no HDU holds a table"),
        (fits_table(NOTE="x" * 20_000), "more than 200 cards"),
        (fits_table(hdus=20), "more than 16 HDUs"),
        (fits_table()[:-2880], "promises at least 13760"),
        (fits_table()[:3000], "no END card"),
    ],
)
def test_what_grows_or_lies_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(CatalogueFormatError, match=words):
        read_uploaded("t", data)
