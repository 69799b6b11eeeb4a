"""Gzipped and tile-compressed FITS files: honest, damaged, and bombs."""

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from oddities import (
    BLOCK,
    Oddity,
    base_cards,
    card,
    compressed,
    counts,
    galaxy,
    gzip_of_zeros,
    plain,
    raw_fits,
    with_card,
)

from twinjet.model import errors

_MALFORMED = errors.MalformedFitsError
_LIMIT = errors.DecompressionLimitError


def compressed_files() -> Iterator[Oddity]:
    yield from _gzipped()
    yield from _other_archives()
    yield from _tiles()
    yield from _wrong_tiles()
    yield from _damaged_tiles()
    yield from _tile_bombs()


def _gzipped() -> Iterator[Oddity]:
    for level in (0, 1, 9):
        make = partial(_gzip, level)
        yield Oddity(f"gz_level_{level}", make, same=True)
    yield Oddity("gz_named", _named_gzip, same=True)
    yield Oddity("gz_tiles", lambda: gzip.compress(_lossless("GZIP_1")), same=True)
    yield Oddity("gz_trailing_nuls", lambda: _gzip(6) + bytes(999), same=True)
    unsupported = errors.UnsupportedFormatError
    yield Oddity("gz_twice", lambda: gzip.compress(_gzip(6)), unsupported)
    yield Oddity("gz_of_text", lambda: gzip.compress(b"hello, world"), unsupported)
    yield Oddity("gz_of_nothing", lambda: gzip.compress(b""), errors.EmptyFileError)
    half = len(plain()) // 2
    yield Oddity(
        "gz_members",
        lambda: gzip.compress(plain()[:half]) + gzip.compress(plain()[half:]),
        _MALFORMED,
    )
    for cut in (3, 10, 18, 500, 5000, -1, -8):
        make = partial(_cut_gzip, cut)
        yield Oddity(f"gz_cut_{cut}", make, errors.TruncatedFileError)
    for at in (2, 3, 2000, 9000, -3, -6):
        yield Oddity(f"gz_flip_{at}", partial(_flipped_gzip, at), errors.CutoutError)
    yield Oddity("gz_bomb_65", partial(gzip_of_zeros, 65), _LIMIT)
    yield Oddity("gz_bomb_1000", partial(gzip_of_zeros, 1000), _LIMIT, heavy=True)
    yield Oddity("gz_zeros", partial(gzip_of_zeros, 60), errors.UnsupportedFormatError)
    yield Oddity("gz_no_end", partial(_no_end, 60), _MALFORMED)
    yield Oddity("gz_empty_hdus", _empty_hdus, errors.TooManyHdusError)


def _gzip(level: int) -> bytes:
    return gzip.compress(plain(), level, mtime=0)


def _cut_gzip(length: int) -> bytes:
    return _gzip(6)[:length]


def _flipped_gzip(at: int) -> bytes:
    data = bytearray(_gzip(6))
    data[at] ^= 0xFF
    return bytes(data)


def _named_gzip() -> bytes:
    file = io.BytesIO()
    with gzip.GzipFile("../../etc/x.fits", "wb", fileobj=file, mtime=0) as packed:
        packed.write(plain())
    return file.getvalue()


def _no_end(megabytes: int) -> bytes:
    return gzip.compress(b"".join(base_cards()) + bytes(megabytes * 2**20), 1)


def _empty_hdus() -> bytes:
    extension = [b"XTENSION= 'IMAGE   '".ljust(80), *base_cards(8, ())[1:]]
    return gzip.compress(plain() + 5000 * raw_fits(extension), 1)


def _other_archives() -> Iterator[Oddity]:
    unsupported = errors.UnsupportedFormatError
    yield Oddity("bz2", lambda: bz2.compress(plain()), unsupported)
    yield Oddity("xz", lambda: lzma.compress(plain()), unsupported)
    yield Oddity("zlib", lambda: zlib.compress(plain()), unsupported)
    yield Oddity("compress_z", lambda: b"\x1f\x9d\x90" + bytes(500), unsupported)
    yield Oddity("zip", partial(_zip, "a.fits"), unsupported)
    yield Oddity("zip_slip", partial(_zip, "../../../tmp/a.fits"), unsupported)
    yield Oddity("bz2_bomb", lambda: bz2.compress(bytes(2**26)), unsupported)


def _zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, plain())
    return file.getvalue()


def _lossless(kind: str, **options: Any) -> bytes:
    return compressed(kind, quantize_level=0, **options)


def _tiles() -> Iterator[Oddity]:
    for kind in ("GZIP_1", "GZIP_2"):
        for shape in (None, (100, 100), (7, 13)):
            make = partial(_lossless, kind, tile_shape=shape)
            yield Oddity(f"tiles_{kind}_{shape}", make, same=True)
    for kind in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"):
        make = partial(compressed, kind, counts())
        yield Oddity(f"tiles_int_{kind}", make, same=True)
    positive = np.clip(counts() - counts().min(), 0, 2**24 - 1).astype("i4")
    yield Oddity("tiles_int_PLIO_1", partial(compressed, "PLIO_1", positive), same=True)
    for method in (-1, 1, 2):
        make = partial(
            compressed, "RICE_1", quantize_method=method, quantize_level=64.0
        )
        yield Oddity(f"tiles_quantized_{method}", make)
    blank = galaxy()
    blank[:10] = np.nan
    yield Oddity("tiles_blank", partial(compressed, "RICE_1", blank))
    yield Oddity("tiles_blank_gzip", partial(compressed, "GZIP_2", blank))


def _wrong_tiles() -> Iterator[Oddity]:
    """A header that its table does not bear out."""
    rice = partial(compressed, "RICE_1", counts())
    for name, value in (
        *(("ZNAXIS", 3), ("ZNAXIS", 99), ("ZNAXIS1", "'x'"), ("ZNAXIS1", 101)),
        *(("ZNAXIS2", 3000), ("ZTILE1", 0), ("ZTILE1", -5), ("ZTILE2", 2)),
        *(("PCOUNT", 100), ("NAXIS1", 7), ("NAXIS2", 99), ("BITPIX", 16)),
        *(("TFIELDS", 0), ("TFIELDS", 9), ("TFIELDS", 999), ("TFORM1", "'1PZ(9)'")),
        *(("TFORM1", "'2PB(9)'"), ("TFORM1", "'1J'"), ("TFORM1", "''")),
        *(("ZVAL1", 0), ("ZVAL1", -1), ("ZVAL1", 10**9), ("ZVAL2", 0)),
        *(("THEAP", 10**9), ("THEAP", -4), ("THEAP", 1)),
    ):
        make = partial(_changed, name, value, rice)
        yield Oddity(f"tiles_{name}_{value}", make, errors.CutoutError)
    for name, value in (
        *(("ZCMPTYPE", "'ZSTD_1'"), ("ZCMPTYPE", "''"), ("ZCMPTYPE", 5)),
        *(("ZBITPIX", 24), ("ZBITPIX", 0)),
    ):
        make = partial(_changed, name, value, rice)
        yield Oddity(f"tiles_{name}_{value}", make, errors.UnsupportedPixelsError)
    for sides in (10**5, 10**9):
        make = partial(_changed, "ZNAXIS2", sides, rice)
        error = errors.ImageTooLargeError if sides > 10**6 else errors.CutoutError
        yield Oddity(f"tiles_claim_{sides}", make, error)
    make = partial(_changed, "PCOUNT", 10**12, rice)
    yield Oddity("tiles_heap_claim", make, errors.TruncatedFileError)


def _changed(name: str, value: object, make: partial[bytes]) -> bytes:
    data = make()
    # The primary HDU has some of the same keywords.
    return data[:BLOCK] + with_card(name, value, data[BLOCK:])


def _damaged_tiles() -> Iterator[Oddity]:
    """Tiles that end early or say something else: an error, or other pixels."""
    for kind in ("RICE_1", "GZIP_1", "HCOMPRESS_1"):
        make = partial(compressed, kind, counts())
        for lost in (3000, 9000):
            cut = partial(_cut, make, lost)
            yield Oddity(f"tiles_cut_{kind}_{lost}", cut, errors.TruncatedFileError)
        yield Oddity(
            f"tiles_outside_{kind}", partial(_descriptor, make, 500, 10**8), _MALFORMED
        )
        yield Oddity(
            f"tiles_negative_{kind}", partial(_descriptor, make, -5, 0), _MALFORMED
        )
    yield Oddity("tiles_noise_GZIP_1", partial(_noise, "GZIP_1"), _MALFORMED)
    yield Oddity("tiles_noise_HCOMPRESS_1", partial(_noise, "HCOMPRESS_1"), _MALFORMED)
    make = partial(_hcompress_claims, 30000)
    yield Oddity("tiles_hcompress_claims", make, _MALFORMED)


def _cut(make: partial[bytes], lost: int) -> bytes:
    return make()[:-lost]


def _table(data: bytes) -> int:
    """Offset of the table: after two headers."""
    return data.index(b"END".ljust(80), BLOCK) // BLOCK * BLOCK + BLOCK


def _descriptor(make: partial[bytes], count: int, offset: int) -> bytes:
    data = make()
    at = _table(data)
    return data[:at] + struct.pack(">ii", count, offset) + data[at + 8 :]


def _noise(kind: str) -> bytes:
    data = compressed(kind, counts())
    at = _table(data) + 100 * 8
    noise = np.random.default_rng(2).bytes(4000)
    return data[:at] + noise + data[at + 4000 :]


def _hcompress_claims(side: int) -> bytes:
    data = compressed("HCOMPRESS_1", counts())
    at = data.index(b"\xdd\x99", _table(data)) + 2
    return data[:at] + struct.pack(">ii", side, side) + data[at + 8 :]


def _tile_bombs() -> Iterator[Oddity]:
    """Small files that unpack to gigabytes in a plain reader."""
    large = errors.ImageTooLargeError
    for kind in ("GZIP_1", "RICE_1"):
        make = partial(
            _bomb, kind, (30000, 30000), (30000, 1), zlib.compress(bytes(99))
        )
        yield Oddity(f"tile_bomb_{kind}", make, large)
    wide = zlib.compress(bytes(2**26), 9)
    make = partial(_bomb, "GZIP_1", (128, 128), (128, 128), wide)
    yield Oddity("tile_bomb_small", make, _LIMIT)
    one = zlib.compress(bytes(400))
    make = partial(_bomb, "GZIP_1", (100, 100), (100, 1), one)
    yield Oddity("tiles_aliased", make, _MALFORMED)
    make = partial(_bomb, "GZIP_1", (200, 200), (1, 1), one)
    yield Oddity("tiles_40000", make, _LIMIT)
    make = partial(_bomb, "RICE_1", (100, 100), (10**5, 10**5), bytes(99))
    yield Oddity("tile_claims", make, _LIMIT)


def _bomb(
    kind: str, sides: tuple[int, int], tile: tuple[int, int], stream: bytes
) -> bytes:
    """Every tile points to the same bytes."""
    rows = -(-sides[0] // tile[0]) * -(-sides[1] // tile[1])
    cards = [b"XTENSION= 'BINTABLE'".ljust(80), *base_cards(8, (8, rows))[1:]]
    for name, value in (
        *(("PCOUNT", len(stream)), ("GCOUNT", 1), ("TFIELDS", 1)),
        *(("TTYPE1", "'COMPRESSED_DATA'"), ("TFORM1", "'1PB(99)'"), ("ZIMAGE", "T")),
        *(("ZCMPTYPE", f"'{kind}'"), ("ZBITPIX", 32), ("ZNAXIS", 2)),
        *(("ZNAXIS1", sides[0]), ("ZNAXIS2", sides[1])),
        *(("ZTILE1", tile[0]), ("ZTILE2", tile[1])),
    ):
        cards.append(card(name, value))
    table = struct.pack(">ii", len(stream), 0) * rows
    return raw_fits(base_cards(8, ())) + raw_fits(cards, table + stream)
