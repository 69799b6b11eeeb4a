"""The requests of a load, as bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np

Kind = Literal["id", "exact", "upload", "mixed"]

# Of a mixed load, this part are uploads.
UPLOADS = 0.05

_BOUNDARY = b"twinjet-load"


def questions(
    kind: Kind, *, sources: int, cutouts: Path, seed: int
) -> Callable[[], bytes]:
    """What gives the next request: another source, another cutout each time.

    Parameters
    ----------
    kind
        Of the load.
    sources
        Of the home that `load_home` makes.
    cutouts
        Folder of FITS files.
    seed
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    forms = [
        upload(path.read_bytes())
        for path in sorted(cutouts.rglob("*.fits"))
        if kind in {"upload", "mixed"}
    ]

    def next_one() -> bytes:
        if kind == "upload" or (kind == "mixed" and rng.random() < UPLOADS):
            return forms[int(rng.integers(len(forms)))]
        return by_id(int(rng.integers(sources)), exact=kind == "exact")

    return next_one


def by_id(row: int, *, exact: bool = False) -> bytes:
    """Neighbours of a source, named as benchmarks/search/by_id.py does."""
    name = quote(f"S{row:07d}+00", safe="")
    return get(f"/similar/{name}?k=10{'&exact=true' if exact else ''}")


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def upload(data: bytes) -> bytes:
    """Neighbours of a cutout."""
    body = (
        b"--" + _BOUNDARY + b"\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a.fits"\r\n\r\n'
        + data
        + b"\r\n--"
        + _BOUNDARY
        + b"--\r\n"
    )
    head = (
        "POST /similar?k=10 HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
