"""Tile-compressed images (FITS Standard 4.0, section 10), checked before decoding.

What a decoder will allocate follows from the headers, the descriptors of the tiles
and, for gzip and HCOMPRESS, the first bytes of a tile: all are looked at first.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from twinjet.model.cutout import MAX_PIXELS
from twinjet.model.errors import (
    DecompressionLimitError,
    MalformedFitsError,
    TruncatedFileError,
    UnsupportedPixelsError,
)
from twinjet.model.fits_headers import HeaderBlock

# A row of the image each, mostly. Decoders take some 50 us for one.
MAX_TILES = 16384

# Three ways to hold a tile, scale, zero, blank, mask: no more are known.
_MAX_COLUMNS = 16

# Of RICE: 16 or 32 everywhere; one of 0 pixels would never end.
_MAX_BLOCKSIZE = 1024

_KNOWN = (
    *("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2"),
    *("PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"),
)

_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8}
_BYTES |= {"M": 16, "P": 8, "Q": 16}
_FORM = re.compile(r"([0-9]{0,6})([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)(?:\([0-9]*\))?")
_HCOMPRESS_MAGIC = b"\xdd\x99"
_WIDEST_PIXEL = 8


def check_tiles(block: HeaderBlock, data: bytes) -> None:
    """Refuse a compressed image that would not decode to what its header says.

    Parameters
    ----------
    block
        A binary table with ``ZIMAGE = T``, all of whose data are in the file.
    data
        The file.

    Raises
    ------
    MalformedFitsError, TruncatedFileError
        Tiles, columns or heap contradict each other, or a tile is damaged.
    DecompressionLimitError
        Too many tiles, or one that unpacks to more than its pixels.
    UnsupportedPixelsError
        A compression or pixel type that nobody knows.
    """
    tile = _tile_pixels(block)
    where = f"HDU {block.number}"
    width, rows = block.lengths()
    heap = block.data_start + block.integer("THEAP", width * rows)
    end = block.data_start + block.data_bytes
    if not block.data_start + width * rows <= heap <= end:
        msg = f"the heap of {where} begins outside of its data"
        raise MalformedFitsError(msg, limit=block.data_bytes, actual=heap)
    table = np.frombuffer(data, np.uint8, width * rows, block.data_start)
    table = table.reshape(rows, width)
    view, spent = memoryview(data), 0
    for name, at, form, size in _columns(block, width):
        wide = ">i8" if form == "Q" else ">i4"
        length = 16 if form == "Q" else 8
        pairs = np.ascontiguousarray(table[:, at : at + length]).view(wide)
        lengths, offsets = pairs.astype(np.int64).T
        limit = end - heap
        bad = (lengths < 0) | (offsets < 0) | (lengths > limit) | (offsets > limit)
        bad |= offsets > limit - np.minimum(lengths, limit) * size
        if bad.any():
            first = int(bad.argmax())
            msg = (
                f"tile {first + 1} of {where} lies outside of the heap of {limit} "
                f"bytes: {lengths[first] * size} bytes at {offsets[first]}"
            )
            raise MalformedFitsError(msg, limit=limit, actual=int(offsets[first]))
        spent += int((lengths * size).sum())
        if spent > limit:
            msg = (
                f"the tiles of {where} share bytes: they need {spent}, "
                f"the heap has {limit}"
            )
            raise MalformedFitsError(msg, limit=limit, actual=spent)
        gzipped = _is_gzipped(block, name)
        if not (gzipped or _is_hcompressed(block, name)):
            continue
        for number in np.flatnonzero(lengths).tolist():
            start = heap + int(offsets[number])
            stream = view[start : start + int(lengths[number]) * size]
            which = f"tile {number + 1} of {where}"
            if gzipped:
                _check_gzip(stream, tile * _WIDEST_PIXEL, which)
            else:
                _check_hcompress(stream, tile, which)


def _tile_pixels(block: HeaderBlock) -> int:
    """Pixels of a tile, with all that the header says of tiles made sure of."""
    where = f"HDU {block.number}"
    kind = block.text("ZCMPTYPE")
    if kind not in _KNOWN:
        msg = f"ZCMPTYPE of {where} is {str(kind)[:30]!r}; known: {', '.join(_KNOWN)}"
        raise UnsupportedPixelsError(msg, actual=str(kind)[:30])
    block.bitpix("ZBITPIX")
    image = block.lengths("ZNAXIS")
    tiles, pixels = 1, 1
    for axis, length in enumerate(image, 1):
        side = block.integer(f"ZTILE{axis}", length if axis == 1 else 1)
        if side < 1:
            msg = f"ZTILE{axis} of {where} is {side}, below 1"
            raise MalformedFitsError(msg, limit=1, actual=side)
        tiles *= -(-length // side)
        pixels *= side
    if pixels > MAX_PIXELS:
        msg = f"a tile of {where} has {pixels} pixels; at most {MAX_PIXELS}"
        raise DecompressionLimitError(msg, limit=MAX_PIXELS, actual=pixels)
    if tiles > MAX_TILES:
        msg = f"{where} has {tiles} tiles; at most {MAX_TILES}"
        raise DecompressionLimitError(msg, limit=MAX_TILES, actual=tiles)
    shape = block.lengths()
    if block.integer("BITPIX") != 8 or len(shape) != 2 or shape[1] != tiles:  # noqa: PLR2004 - a table of bytes
        msg = (
            f"{where} is an image of {tiles} tiles in a table with axes {shape}: "
            "it must have a row of bytes for each"
        )
        raise MalformedFitsError(msg, limit=tiles, actual=str(shape))
    for number in range(1, _MAX_COLUMNS):
        if block.text(f"ZNAME{number}") in {"BLOCKSIZE", "BYTEPIX"}:
            value = block.integer(f"ZVAL{number}")
            if not 1 <= value <= _MAX_BLOCKSIZE:
                msg = f"ZVAL{number} of {where} is {value}; 1 to {_MAX_BLOCKSIZE}"
                raise MalformedFitsError(msg, limit=_MAX_BLOCKSIZE, actual=value)
    return pixels


def _columns(block: HeaderBlock, width: int) -> Iterator[tuple[str, int, str, int]]:
    """Of each column that points into the heap: name, place, ``P`` or ``Q``, bytes."""
    where = f"HDU {block.number}"
    count = block.integer("TFIELDS")
    if not 1 <= count <= _MAX_COLUMNS:
        msg = f"TFIELDS of {where} is {count}; a compressed image has 1 to 16 columns"
        raise MalformedFitsError(msg, limit=_MAX_COLUMNS, actual=count)
    at, found = 0, []
    for number in range(1, count + 1):
        text = block.text(f"TFORM{number}") or ""
        form = _FORM.fullmatch(text)
        if form is None or (form[2] in "PQ") != bool(form[3]):
            msg = f"TFORM{number} of {where} is {text[:30]!r}, no format of FITS"
            raise MalformedFitsError(msg, actual=text[:30])
        repeat = int(form[1] or 1)
        if form[2] in "PQ" and repeat == 1:
            name = (block.text(f"TTYPE{number}") or "").upper()
            found.append((name, at, form[2], _BYTES.get(form[3], 1)))
        elif form[2] in "PQ":
            msg = f"TFORM{number} of {where} is {text!r}: a tile has one descriptor"
            raise MalformedFitsError(msg, actual=text)
        at += -(-repeat // 8) if form[2] == "X" else repeat * _BYTES[form[2]]
    if at != width:
        msg = f"the columns of {where} are {at} bytes wide, NAXIS1 is {width}"
        raise MalformedFitsError(msg, limit=at, actual=width)
    yield from found


def _is_gzipped(block: HeaderBlock, column: str) -> bool:
    kind = block.text("ZCMPTYPE") or ""
    return column == "GZIP_COMPRESSED_DATA" or (
        column == "COMPRESSED_DATA" and kind.startswith("GZIP")
    )


def _is_hcompressed(block: HeaderBlock, column: str) -> bool:
    return column == "COMPRESSED_DATA" and block.text("ZCMPTYPE") == "HCOMPRESS_1"


def _check_gzip(stream: memoryview, limit: int, tile: str) -> None:
    unzip = zlib.decompressobj(wbits=47)  # gzip or zlib, as its first bytes say
    try:
        unpacked = len(unzip.decompress(stream, limit + 1))
    except zlib.error as exc:
        msg = f"{tile} is damaged: {exc}"
        raise MalformedFitsError(msg) from exc
    if unpacked > limit:
        msg = f"{tile} unpacks to more than the {limit} bytes that its pixels can have"
        raise DecompressionLimitError(msg, limit=limit, actual=unpacked)
    if not unzip.eof:
        msg = f"{tile} ends early, after {unpacked} unpacked bytes"
        raise TruncatedFileError(msg, actual=unpacked)


def _check_hcompress(stream: memoryview, pixels: int, tile: str) -> None:
    """The stream has its own idea of its shape, and the decoder believes it."""
    if len(stream) < 14 or bytes(stream[:2]) != _HCOMPRESS_MAGIC:  # noqa: PLR2004 - magic, nx, ny, scale
        msg = f"{tile} does not begin as HCOMPRESS does"
        raise MalformedFitsError(msg)
    shape = struct.unpack(">ii", stream[2:10])
    if min(shape) < 1 or math.prod(shape) > pixels:
        msg = f"{tile} says it is {shape[0]} x {shape[1]}; a tile has {pixels} pixels"
        raise MalformedFitsError(msg, limit=pixels, actual=math.prod(shape))
