"""Files of every kind become cutouts, or errors that say what is wrong."""

import gzip
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image
from skies import double_source, header_at

from twinjet.model import errors
from twinjet.model.decode import MAX_FILE_BYTES, read_cutout

PIXELS = double_source(np.random.default_rng(0))


def hdu_bytes(*hdus: fits.hdu.base.ExtensionHDU) -> bytes:
    file = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(file)
    return file.getvalue()


def fits_bytes(pixels: NDArray[np.generic], **cards: object) -> bytes:
    header = header_at(150.0, 2.0)
    header.update(cards)
    return hdu_bytes(fits.PrimaryHDU(pixels, header))


def png_bytes(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2"])
def test_a_compressed_image_is_found_in_its_hdu(compression: str) -> None:
    image = fits.CompImageHDU(
        PIXELS, header_at(150.0, 2.0), compression_type=compression, quantize_level=64
    )
    cutout = read_cutout(hdu_bytes(fits.PrimaryHDU(), image))
    assert np.abs(cutout.pixels - PIXELS).max() < 1e-5
    assert cutout.unit == "Jy/beam"


def test_gzip_and_path_give_the_same_as_bytes(tmp_path: Path) -> None:
    data = fits_bytes(PIXELS)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(data))
    for cutout in (read_cutout(gzip.compress(data)), read_cutout(path)):
        np.testing.assert_array_equal(cutout.pixels, PIXELS)


@pytest.mark.parametrize(
    "shape", [(1, 1, 100, 100), (1, 100, 1, 100), (100, 100, 1, 1)]
)
def test_axes_of_length_one_do_not_count(shape: tuple[int, ...]) -> None:
    data = fits_bytes(PIXELS.reshape(shape))
    np.testing.assert_array_equal(read_cutout(data).pixels, PIXELS)


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f4", "<i2", "<i4", "u1"])
def test_every_number_type_is_read(kind: str) -> None:
    pixels = (1000 * np.abs(PIXELS)).astype(kind)
    np.testing.assert_allclose(read_cutout(fits_bytes(pixels)).pixels, pixels)


def test_scaled_integers_come_back_as_brightness_and_blanks_as_nan() -> None:
    hdu = fits.PrimaryHDU(np.arange(10000, dtype="i2").reshape(100, 100))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 1e-4, 0.5, 7
    data = hdu_bytes(hdu)
    pixels = read_cutout(data).pixels
    assert pixels[50, 3] == pytest.approx(0.5 + 1e-4 * 5003)
    assert np.isnan(pixels[0, 7])


@pytest.mark.parametrize(
    ("unit", "factor", "known"),
    [
        ("JY/BEAM", 1, "Jy/beam"),
        ("Jy beam-1", 1, "Jy/beam"),
        ("mJy/beam", 1e-3, "Jy/beam"),
        ("uJy/beam ", 1e-6, "Jy/beam"),
        ("K", 1, "K"),
        ("", 1, None),
    ],
)
def test_brightness_units_are_understood(unit: str, factor: float, known: str) -> None:
    cutout = read_cutout(fits_bytes(PIXELS, BUNIT=unit))
    assert cutout.unit == known
    np.testing.assert_allclose(cutout.pixels, PIXELS * factor, rtol=1e-6)


def test_position_scale_and_beam_come_from_the_header() -> None:
    cards = {"BMAJ": 5.4 / 3600, "BMIN": 5.0 / 3600, "BPA": -20.0}
    cutout = read_cutout(fits_bytes(PIXELS, **cards))
    centre = cutout.centre()
    assert centre is not None
    assert (centre.ra.deg, centre.dec.deg) == pytest.approx((150, 2), abs=1e-9)
    assert cutout.pixel_scale_arcsec == pytest.approx((1.8, 1.8))
    assert cutout.beam is not None
    assert cutout.beam.major_arcsec == pytest.approx(5.4)
    assert cutout.beam.pa_deg == -20


def test_wcs_cards_of_axes_that_are_not_there_do_no_harm() -> None:
    cards = {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CTYPE4": "STOKES", "CRVAL4": 1.0}
    assert read_cutout(fits_bytes(PIXELS, **cards)).centre() is not None


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "RA---XYZ"},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CDELT1": 0.0},
        {"A_ORDER": 9999, "B_ORDER": 9999, "CTYPE1": "RA---TAN-SIP"},
    ],
)
def test_a_broken_wcs_costs_neither_the_pixels_nor_time(
    cards: dict[str, object],
) -> None:
    started = time.monotonic()
    cutout = read_cutout(fits_bytes(PIXELS, **cards))
    np.testing.assert_array_equal(cutout.pixels, PIXELS)
    assert cutout.centre() is None
    assert time.monotonic() - started < 10


def test_a_scale_that_is_given_serves_only_files_without_one() -> None:
    picture = png_bytes(Image.fromarray(np.arange(10000, dtype="u1").reshape(100, 100)))
    assert read_cutout(picture).pixel_scale_arcsec is None
    assert read_cutout(picture, pixel_scale_arcsec=3).pixel_scale_arcsec == (3, 3)
    known = read_cutout(fits_bytes(PIXELS), pixel_scale_arcsec=3).pixel_scale_arcsec
    assert known == pytest.approx((1.8, 1.8))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(m, "PNG") for m in ("L", "RGB", "I;16", "P")] + [("L", "JPEG"), ("RGB", "JPEG")],
)
def test_the_top_of_a_picture_is_the_last_row(mode: str, kind: str) -> None:
    grey = np.zeros((64, 64), "u2" if mode == "I;16" else "u1")
    grey[:8] = 250
    picture = Image.fromarray(grey)
    cutout = read_cutout(
        png_bytes(picture if mode == "I;16" else picture.convert(mode), kind)
    )
    assert not cutout.linear
    assert cutout.pixels[-1].mean() > 200 > cutout.pixels[0].mean()


def test_what_is_transparent_is_unknown() -> None:
    picture = np.full((64, 64, 4), 255, "u1")
    picture[:20, :, 3], picture[40:, :, :3] = 0, 9
    cutout = read_cutout(png_bytes(Image.fromarray(picture)))
    assert np.isnan(cutout.pixels[-20:]).all()
    assert np.isfinite(cutout.pixels[:-20]).all()


def test_an_hdu_can_be_chosen() -> None:
    second = fits.ImageHDU(PIXELS * 2)
    data = hdu_bytes(fits.PrimaryHDU(PIXELS), second)
    np.testing.assert_allclose(read_cutout(data, hdu=1).pixels, PIXELS * 2)
    with pytest.raises(errors.NoImageError, match="HDU 5"):
        read_cutout(data, hdu=5)


def table() -> bytes:
    column = fits.Column("a", "E", array=np.arange(3.0))
    return hdu_bytes(fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column]))


def huge_claim() -> bytes:
    data = fits_bytes(PIXELS)
    for axis in (b"1", b"2"):
        card = b"NAXIS" + axis + b"  =                  100"
        assert card in data
        data = data.replace(card, b"NAXIS" + axis + b"  =                60000")
    return data


REFUSED: dict[str, tuple[Callable[[], bytes], type[errors.CutoutError]]] = {
    "no bytes": (lambda: b"", errors.EmptyFileError),
    "gzip of nothing": (lambda: gzip.compress(b""), errors.EmptyFileError),
    "text": (lambda: b"RA,Dec\n1,2\n", errors.UnsupportedFormatError),
    "zip": (lambda: b"PK\3\4" + bytes(99), errors.UnsupportedFormatError),
    "gzip twice": (
        lambda: gzip.compress(gzip.compress(fits_bytes(PIXELS))),
        errors.UnsupportedFormatError,
    ),
    "short FITS": (lambda: fits_bytes(PIXELS)[:20000], errors.TruncatedFileError),
    "short gzip": (
        lambda: gzip.compress(fits_bytes(PIXELS))[:2000],
        errors.TruncatedFileError,
    ),
    "damaged gzip": (lambda: b"\x1f\x8b" + bytes(99), errors.MalformedFitsError),
    "header only": (lambda: b"SIMPLE  =  ", errors.MalformedFitsError),
    "table": (table, errors.NoImageError),
    "cube": (lambda: fits_bytes(np.ones((5, 64, 64), "f4")), errors.NoImageError),
    "spectrum": (lambda: fits_bytes(np.ones(64, "f4")), errors.NoImageError),
    "claim": (huge_claim, errors.ImageTooLargeError),
    "1x1": (lambda: fits_bytes(np.ones((1, 1), "f4")), errors.ImageTooSmallError),
    "8x200": (lambda: fits_bytes(np.ones((8, 200), "f4")), errors.ImageTooSmallError),
    "NaN": (
        lambda: fits_bytes(np.full((64, 64), np.nan, "f4")),
        errors.NoUsablePixelsError,
    ),
    "constant": (lambda: fits_bytes(np.ones((64, 64))), errors.NoUsablePixelsError),
    "bomb": (lambda: gzip.compress(bytes(80 << 20)), errors.DecompressionLimitError),
    "too many bytes": (lambda: bytes(MAX_FILE_BYTES + 1), errors.ImageTooLargeError),
    "short PNG": (
        lambda: png_bytes(Image.fromarray(np.eye(64, dtype="u1")))[:60],
        errors.TruncatedFileError,
    ),
    "no JPEG": (lambda: b"\xff\xd8\xff" + bytes(99), errors.MalformedImageError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_cutout_is_refused(what: str, tmp_path: Path) -> None:
    make, error = REFUSED[what]
    data = make()
    with pytest.raises(error):
        read_cutout(data)
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(error):
        read_cutout(path)


def test_errors_carry_limit_and_value() -> None:
    with pytest.raises(errors.ImageTooSmallError) as caught:
        read_cutout(fits_bytes(np.ones((8, 200), "f4")))
    assert (caught.value.limit, caught.value.actual) == (16, 8)


def test_real_files_are_read(shared_data: Path) -> None:
    for pattern in ("mirabest/original/*", "rgz_subjects/*.fits", "frdeep/nvss/*"):
        for path in sorted(shared_data.glob(pattern))[:5]:
            cutout = read_cutout(path)
            assert cutout.unit == "Jy/beam"
            assert cutout.centre() is not None


def test_blank_of_unsigned_integers_is_no_brightness() -> None:
    counts = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    counts[:8] = -32768
    hdu = fits.PrimaryHDU(counts, header_at(150.0, 2.0))
    hdu.header.update({"BZERO": 32768, "BSCALE": 1, "BLANK": -32768})
    pixels = read_cutout(hdu_bytes(hdu)).pixels
    assert np.isnan(pixels[:8]).all()
    np.testing.assert_array_equal(pixels[8:], counts[8:].astype("f4") + 32768)


def test_a_blank_that_is_no_integer_is_refused() -> None:
    data = fits_bytes(np.ones((64, 64), np.int16), BLANK=1)
    wrong = data.replace(b"BLANK   =                    1", b"BLANK   = 'x'".ljust(30))
    assert wrong != data
    with pytest.raises(errors.MalformedFitsError, match="BLANK of HDU 0 is 'x'"):
        read_cutout(wrong)
