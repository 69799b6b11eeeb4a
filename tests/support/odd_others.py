"""Pictures, files of other kinds, and images with nothing to look at."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from oddities import Oddity, galaxy, plain
from PIL import ExifTags, Image, PngImagePlugin

from twinjet.model import errors

_PNG = b"\x89PNG\r\n\x1a\n"


def other_files() -> Iterator[Oddity]:
    yield from _pixels()
    yield from _pictures()
    yield from _broken_pictures()
    yield from _other_kinds()


def _pixels() -> Iterator[Oddity]:
    """Pixels that can be read and are of no use, or only just."""
    none, noise = errors.NoUsablePixelsError, np.random.default_rng(3)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("zero", 0.0), ("one", 1.0)):
        make = partial(plain, np.full((64, 64), value, "f4"))
        yield Oddity(f"all_{name}", make, none)
    yield Oddity("all_int", partial(plain, np.full((64, 64), 7, "i2")), none)
    for part, error in ((0.6, none), (0.4, None)):
        image = galaxy()
        image[: int(100 * part * 0.5)] = image[-int(100 * part * 0.5) :] = np.nan
        yield Oddity(f"nan_{part}", partial(plain, image), error)
    image = galaxy()
    middle = slice(len(image) // 2 - 3, len(image) // 2 + 3)
    image[middle, middle] = np.nan
    yield Oddity("nan_centre", partial(plain, image))
    for scale in (1e300, 1e-300):
        make = partial(plain, galaxy().astype("f8") * scale)
        yield Oddity(f"scaled_{scale}", make, errors.UnsupportedPixelsError)
    for scale in (1e30, 1e-30):
        make = partial(plain, galaxy().astype("f8") * scale)
        yield Oddity(f"scaled_{scale}", make, same=True)
    # Of negative brightness, with no pixel of the noise above 2.5 sigma.
    hole = np.minimum(-galaxy(), 2.5 * 1.5e-4)
    yield Oddity("negative", partial(plain, hole), faint=True)
    white = noise.normal(0, 1, (100, 100)).clip(-2.5, 2.5).astype("f4")
    yield Oddity("only_noise", partial(plain, white), faint=True)
    ramp = np.tile(np.arange(100, dtype="f4"), (100, 1))
    yield Oddity("ramp", partial(plain, ramp), faint=True)
    image = galaxy()
    image[3, 3], image[90, 4] = np.inf, -np.inf
    yield Oddity("some_inf", partial(plain, image), same=True)
    yield Oddity("negative_zero", partial(plain, np.full((64, 64), -0.0, "f4")), none)
    for side in (16, 31, 1000):
        yield Oddity(f"side_{side}", partial(plain, galaxy(side)))
    yield Oddity("side_2000", partial(_tiled, 2000), heavy=True)
    packed = partial(_gzipped_tiled, 4000)
    yield Oddity("side_4000", packed, heavy=True)
    yield Oddity("thin", partial(plain, np.tile(galaxy(), (1, 20))[:20]))


def _tiled(side: int) -> bytes:
    return plain(np.tile(galaxy(), (side // 100, side // 100)))


def _gzipped_tiled(side: int) -> bytes:
    return gzip.compress(_tiled(side), 1, mtime=0)


def grey() -> NDArray[np.uint8]:
    """The galaxy as it is drawn: row 0 at the top."""
    image = np.clip(galaxy()[::-1] / galaxy().max(), 0, 1)
    drawn: NDArray[np.uint8] = (255 * np.sqrt(image)).astype("u1")
    return drawn


def _drawn(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _pictures() -> Iterator[Oddity]:
    plainly = Image.fromarray(grey())
    for mode in ("L", "RGB", "RGBA", "LA", "P", "1"):
        yield Oddity(f"png_{mode}", partial(_drawn, plainly.convert(mode)))
    deep = Image.fromarray(grey().astype("u2") * 257)
    yield Oddity("png_16", partial(_drawn, deep))
    yield Oddity("png_small_steps", partial(_drawn, plainly, compress_level=0))
    for mode in ("L", "RGB", "CMYK"):
        yield Oddity(f"jpeg_{mode}", partial(_drawn, plainly.convert(mode), "JPEG"))
    yield Oddity("jpeg_progressive", partial(_drawn, plainly, "JPEG", progressive=True))
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "GIMP"
    yield Oddity("jpeg_exif", partial(_drawn, plainly, "JPEG", exif=exif))
    yield Oddity("png_exif", partial(_drawn, plainly, "PNG", exif=exif))
    several = partial(_drawn, plainly, "MPO", save_all=True, append_images=[plainly])
    yield Oddity("jpeg_of_several", several)
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "\x1b[2J<script>")
    yield Oddity("png_text", partial(_drawn, plainly, pnginfo=words))
    frames = [plainly.rotate(90), plainly.rotate(180)]
    animated = partial(_drawn, plainly, save_all=True, append_images=frames)
    yield Oddity("apng", animated)
    clear = np.dstack([grey()] * 3 + [np.zeros_like(grey())])
    none = errors.NoUsablePixelsError
    yield Oddity("png_clear", partial(_drawn, Image.fromarray(clear)), none)
    black = Image.fromarray(np.zeros((64, 64), "u1"))
    yield Oddity("png_black", partial(_drawn, black), none)
    yield Oddity("jpeg_black", partial(_drawn, black, "JPEG"), none)
    tiny = plainly.resize((15, 15))
    yield Oddity("png_15", partial(_drawn, tiny), errors.ImageTooSmallError)
    yield Oddity("jpeg_15", partial(_drawn, tiny, "JPEG"), errors.ImageTooSmallError)


def _chunk(kind: bytes, body: bytes) -> bytes:
    whole = kind + body
    return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))


def _claims(width: int, height: int, body: bytes = b"", *, bits: int = 8) -> bytes:
    """A PNG that claims its sides."""
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    image = _chunk(b"IDAT", body or zlib.compress(bytes(99)))
    return _PNG + _chunk(b"IHDR", head) + image + _chunk(b"IEND", b"")


def _jpeg_claims(width: int, height: int) -> bytes:
    data = bytearray(_drawn(Image.fromarray(grey()), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _broken_pictures() -> Iterator[Oddity]:
    large = errors.ImageTooLargeError
    for sides in (4200, 9400, 13000, 50_000, 2**31 - 1):
        yield Oddity(f"png_claims_{sides}", partial(_claims, sides, sides), large)
    for sides in (4200, 13000, 65535):
        yield Oddity(f"jpeg_claims_{sides}", partial(_jpeg_claims, sides, sides), large)
    anything = errors.CutoutError
    yield Oddity("png_claims_0", partial(_claims, 0, 0), anything)
    yield Oddity("png_bits_3", partial(_claims, 64, 64, bits=3), anything)
    yield Oddity("png_short_body", partial(_claims, 64, 64), anything)
    yield Oddity("png_no_zlib", partial(_claims, 64, 64, bytes(500)), anything)
    long = zlib.compress(bytes(2**26), 9)
    # More than its pixels need: they are read, and they are all the same.
    yield Oddity("png_body_bomb", partial(_claims, 64, 64, long), anything)
    make = partial(_drawn, Image.fromarray(grey()))
    for length in (8, 12, 33, 60, 400, -12, -13, -100):
        # The last chunk and a checksum may be missed without harm to any pixel.
        error = None if length in {-12, -13} else anything
        yield Oddity(f"png_cut_{length}", partial(_cut, make, length), error)
    photo = partial(_drawn, Image.fromarray(grey()), "JPEG")
    for length in (3, 20, 200, 600, -400):
        yield Oddity(f"jpeg_cut_{length}", partial(_cut, photo, length), anything)
    yield Oddity("png_only_magic", lambda: _PNG + bytes(500), anything)
    yield Oddity("jpeg_only_magic", lambda: b"\xff\xd8\xff" + bytes(500), anything)
    yield Oddity("png_no_ihdr", lambda: _PNG + _chunk(b"IDAT", b"x") * 9, anything)
    yield Oddity("png_text_bomb", _text_bomb, heavy=True)
    side = partial(_claims, 4096, 4096, zlib.compress(bytes(4097 * 4096), 1))
    yield Oddity("png_most_pixels", side, errors.NoUsablePixelsError, heavy=True)


def _cut(make: partial[bytes], length: int) -> bytes:
    return make()[:length]


def _text_bomb() -> bytes:
    words = b"a\0\0" + zlib.compress(bytes(2**20 - 1), 9)
    data = _drawn(Image.fromarray(grey()))
    return data[:33] + _chunk(b"zTXt", words) * 40 + data[33:]


def _other_kinds() -> Iterator[Oddity]:
    other = errors.UnsupportedFormatError
    yield Oddity("nothing", lambda: b"", errors.EmptyFileError)
    picture = Image.fromarray(grey())
    for kind in ("GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "EPS", "PDF", "TGA"):
        yield Oddity(f"kind_{kind}", partial(_drawn, picture, kind), other)
    npy = io.BytesIO()
    np.save(npy, galaxy())
    for name, data in (
        *(("npy", npy.getvalue()), ("pickle", b"\x80\x04cos\nsystem\n.")),
        *(("html", b"<!doctype html><title>404</title>"), ("csv", b"RA,Dec\n1,2\n")),
        *(("svg", b"<svg onload=alert(1)>"), ("votable", b"<?xml?><VOTABLE/>")),
        *(("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(99)), ("elf", b"\x7fELF" + bytes(99))),
        *(("one_byte", b"S"), ("nuls", bytes(5000)), ("newline_fits", b"\n" + plain())),
        *(("bom_fits", b"\xef\xbb\xbf" + plain()), ("lower_fits", b"simple  = T")),
        *(("xtension", b"XTENSION= 'IMAGE   '".ljust(2880)), ("json", b'{"a": 1}')),
        *(("asdf", b"#ASDF 1.0.0\n"), ("yaml", b"!!python/object/apply:os.system [x]")),
    ):
        yield Oddity(f"other_{name}", partial(bytes, data), other)
    for seed in range(5):
        noise = np.random.default_rng(seed).bytes(3000)
        yield Oddity(f"noise_{seed}", partial(bytes, noise), other)
