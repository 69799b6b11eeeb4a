"""Odd and hostile files, made anew each time: what each is, and what must come of it.

Nothing here is random but for the noise of one image of a fixed seed, so a file is the
same in every run.
"""

import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from skies import double_source, header_at

from twinjet.model.errors import CutoutError

BLOCK = 2880


@dataclass(frozen=True)
class Oddity:
    """A file and what is expected of it."""

    name: str
    make: Callable[[], bytes]
    error: type[CutoutError] | None = None
    """None: it has pixels, and its neighbours are found."""
    same: bool = False
    """The same image as `galaxy`, otherwise written: its neighbours are the same."""
    note: str = ""
    """Part of what the answer must tell the user of the file."""
    hdu: int | None = None
    heavy: bool = False
    """Large, or slow to make: left out of the short form."""
    faint: bool = field(default=False)
    """Pixels can be read, and nothing in them stands out of the noise."""


def galaxy(size: int = 100) -> NDArray[np.float32]:
    """The image that most files hold; whole multiples of 1e-6, within 16 bits."""
    pixels = double_source(np.random.default_rng(5), size=size)
    return (np.round(pixels / 1e-6) * 1e-6).astype(np.float32)


def counts() -> NDArray[np.int32]:
    """The same in units of 1e-6."""
    return np.round(galaxy().astype(np.float64) / 1e-6).astype(np.int32)


def header(**cards: object) -> fits.Header:
    made = header_at(150.0, 2.0)
    made.update(cards)
    return made


def written(*hdus: fits.hdu.base.ExtensionHDU) -> bytes:
    file = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(file, output_verify="ignore")
    return file.getvalue()


def plain(pixels: NDArray[np.generic] | None = None, **cards: object) -> bytes:
    """One image in the primary HDU."""
    pixels = galaxy() if pixels is None else pixels
    return written(fits.PrimaryHDU(pixels, header(**cards)))


def card(keyword: str, value: object) -> bytes:
    """80 bytes as they come, with the value as FITS would have it or would not."""
    return f"{keyword:8}= {value!s:>20}".encode("latin-1").ljust(80)[:80]


def raw_fits(cards: list[bytes], data: bytes = b"", *, end: bool = True) -> bytes:
    """A file of cards that no library would write."""
    head = b"".join(cards) + (b"END".ljust(80) if end else b"")
    head = head.ljust(-(-len(head) // BLOCK) * BLOCK)
    return head + data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


def with_card(keyword: str, value: object, data: bytes | None = None) -> bytes:
    """A file whose card has another value; added before END when it is not there."""
    data = plain() if data is None else data
    start = data.find(f"{keyword:8}=".encode())
    if start >= 0:
        return data[:start] + card(keyword, value) + data[start + 80 :]
    return with_cards([card(keyword, value)], data)


def with_cards(cards: list[bytes], data: bytes | None = None) -> bytes:
    """A file with more cards at the end of its first header."""
    data = plain() if data is None else data
    end = data.index(b"END".ljust(80))
    old = -(-(end + 80) // BLOCK) * BLOCK
    head = data[:end] + b"".join(cards) + b"END".ljust(80)
    return head.ljust(-(-len(head) // BLOCK) * BLOCK) + data[old:]


def base_cards(bitpix: int = -32, lengths: tuple[int, ...] = (100, 100)) -> list[bytes]:
    """The mandatory cards of a primary HDU."""
    cards = [card("SIMPLE", "T"), card("BITPIX", bitpix), card("NAXIS", len(lengths))]
    cards += [card(f"NAXIS{i}", n) for i, n in enumerate(lengths, 1)]
    return cards


def compressed(
    kind: str = "RICE_1", pixels: NDArray[np.generic] | None = None, **options: object
) -> bytes:
    """A tile-compressed image after an empty primary HDU."""
    pixels = galaxy() if pixels is None else pixels
    image = fits.CompImageHDU(pixels, header(), compression_type=kind, **options)
    return written(fits.PrimaryHDU(), image)


def gzip_of_zeros(megabytes: int) -> bytes:
    """A bomb, without the bytes in memory at once."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        for _ in range(megabytes):
            packed.write(bytes(2**20))
    return file.getvalue()


def oddities() -> Iterator[Oddity]:
    """All of them."""
    # Each imports from here.
    from odd_compressed import compressed_files  # noqa: PLC0415
    from odd_headers import header_files  # noqa: PLC0415
    from odd_others import other_files  # noqa: PLC0415

    yield from header_files()
    yield from compressed_files()
    yield from other_files()
