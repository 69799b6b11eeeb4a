"""FITS files whose headers are odd, wrong or hostile, and images in unusual HDUs."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from astropy.io import fits
from oddities import (
    BLOCK,
    Oddity,
    base_cards,
    card,
    counts,
    galaxy,
    header,
    plain,
    raw_fits,
    with_card,
    with_cards,
    written,
)

from twinjet.model import errors

_MALFORMED = errors.MalformedFitsError


def header_files() -> Iterator[Oddity]:
    yield from _equal_encodings()
    yield from _broken_cards()
    yield from _sizes()
    yield from _cut_short()
    yield from _wcs_faults()
    yield from _hdus()
    yield from _long_headers()


def _equal_encodings() -> Iterator[Oddity]:
    """The same image in every form that FITS has for one."""
    image = galaxy()
    for kind in (">f4", "<f4", ">f8", "<f8"):
        make = partial(plain, image.astype(kind))
        yield Oddity(f"type_{kind[1:]}_{kind[0] == '<'}", make, same=True)
    whole = counts()
    for kind in ("i4", "i8"):
        make = partial(_scaled, whole.astype(kind), 1e-6, 0.0)
        yield Oddity(f"scaled_{kind}", make, same=True)
    # 16 bits hold the image with a zero in the middle of its range.
    middle = int(whole.min() + whole.max()) // 2
    make = partial(_scaled, (whole - middle).astype("i2"), 1e-6, middle * 1e-6)
    yield Oddity("scaled_i2", make, same=True)
    shapes = [(1, 100, 100), (1, 1, 100, 100), (100, 1, 100), (100, 100, 1, 1)]
    shapes += [(1, 100, 1, 100), (1, 1, 1, 1, 100, 100)]
    for shape in shapes:
        name = "axes_" + "x".join(map(str, shape))
        yield Oddity(name, partial(plain, image.reshape(shape)), same=True)
    yield Oddity("unit_mjy", partial(plain, image * 1000, BUNIT="mJy/beam"), same=True)
    yield Oddity("unit_other", partial(plain, BUNIT="bananas / beam"), same=True)
    yield Oddity("extension", partial(_extension, 1), same=True)
    yield Oddity("extension_5th", partial(_extension, 5), same=True)
    yield Oddity("chosen_hdu", partial(_extension, 3), hdu=3, same=True)
    yield Oddity("no_padding", lambda: plain()[: -(-40000 % BLOCK)], same=True)
    junk = b"\n<html>this was appended by a proxy</html>"
    yield Oddity("junk_after", lambda: plain() + junk, same=True)
    yield Oddity("nul_blocks_after", lambda: plain() + bytes(5 * BLOCK), same=True)
    yield Oddity(
        "lower_case_wcs", lambda: plain().replace(b"CTYPE", b"ctype"), same=True
    )
    for name, text in (
        ("crlf", b"a\r\nSet-Cookie: x=1"),
        ("nul", b"a\0b"),
        ("ansi", b"\x1b[2J\x1b[31mred"),
        ("html", b"<img src=x onerror=alert(1)>"),
        ("path", b"../../../../etc/passwd"),
        ("latin1", "Grüße".encode("latin-1")),
        ("utf8", "星系".encode()),
    ):
        line = (b"OBJECT  = '" + text + b"'").ljust(80)[:80]
        yield Oddity(f"object_{name}", partial(with_cards, [line]), same=True)
    for name in ("BUNIT", "BMAJ", "BPA", "EQUINOX", "DATE-OBS"):
        wrong = ("'unclosed", "NaN", "1e999", "'JY/BEAM '  $", "1.5 $", "")
        cards = [card(name, value) for value in wrong]
        for number, line in enumerate(cards):
            make = partial(with_cards, [line])
            yield Oddity(f"odd_{name}_{number}", make, same=name != "EQUINOX")


def _scaled(values: np.ndarray, scale: float, zero: float) -> bytes:
    hdu = fits.PrimaryHDU(values, header())
    hdu.header["BSCALE"], hdu.header["BZERO"] = scale, zero
    return written(hdu)


def _scaled_raw(values: np.ndarray, scale: float, zero: float) -> bytes:
    """As it is in the file: to a writer of FITS the values would be the scaled ones."""
    cards = [*base_cards(16, values.shape[::-1])]
    cards += [card("BSCALE", f"{scale:E}"), card("BZERO", f"{zero:E}")]
    return raw_fits(cards, values.astype(">i2").tobytes())


def _extension(number: int) -> bytes:
    column = fits.Column("a", "E", array=np.arange(3.0))
    tables = [fits.BinTableHDU.from_columns([column]) for _ in range(number - 1)]
    image = fits.ImageHDU(galaxy(), header())
    return written(fits.PrimaryHDU(), *tables, image)


def _broken_cards() -> Iterator[Oddity]:
    """Each mandatory card with each kind of wrong value."""
    wrong = ("'16'", "T", "1.5", "1E2", "", "-1", "9" * 19, "NaN", "0x10", "(1, 2)")
    for keyword in ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2"):
        for number, value in enumerate(wrong):
            error: type[errors.CutoutError] = _MALFORMED
            if keyword == "BITPIX" and value == "-1":
                error = errors.UnsupportedPixelsError
            make = partial(with_card, keyword, value)
            yield Oddity(f"card_{keyword}_{number}", make, error)
        yield Oddity(
            f"twice_{keyword}", partial(with_cards, [card(keyword, 7)]), _MALFORMED
        )
        yield Oddity(
            f"control_{keyword}", partial(with_card, keyword, "8\x07"), _MALFORMED
        )
    for bits in (0, 1, 7, -8, -16, 24, 128, -128, 2**31):
        make = partial(with_card, "BITPIX", bits)
        yield Oddity(f"bitpix_{bits}", make, errors.UnsupportedPixelsError)
    for axes in (7, 999, 1_000_000, 10**17):
        make = partial(with_card, "NAXIS", axes)
        yield Oddity(f"naxis_{axes}", make, _MALFORMED)
    yield Oddity("naxis_3_of_2", partial(with_card, "NAXIS", 3), _MALFORMED)
    yield Oddity("simple_false", partial(with_card, "SIMPLE", "F"), _MALFORMED)
    for keyword, amount in (("PCOUNT", 5), ("PCOUNT", -1), ("GCOUNT", 0)):
        make = partial(with_card, keyword, amount)
        yield Oddity(f"{keyword}_{amount}", make, _MALFORMED)
    for copies in (2, 10**6, 10**17):
        make = partial(with_card, "GCOUNT", copies)
        yield Oddity(f"GCOUNT_{copies}", make, _MALFORMED)
    yield from _scales()


def _scales() -> Iterator[Oddity]:
    """Scales of pixels that are none, or that no pixel survives."""
    for keyword in ("BSCALE", "BZERO"):
        for number, value in enumerate(("'a'", "NaN", "1E400", "T")):
            # A scale that is none: whatever is done, it is no fault of the service.
            make = partial(with_cards, [card(keyword, value)])
            yield Oddity(f"{keyword}_{number}", make, errors.CutoutError)
        make = partial(with_cards, [card(keyword, "'2.0'")])
        yield Oddity(f"{keyword}_quoted", make, _MALFORMED)
    counts = np.clip(1e7 * galaxy(), -30000, 30000).astype(np.int16)
    for scale, zero in ((1e300, 0.0), (1e37, 0.0), (1e-300, 0.0), (1.0, 1e300)):
        make = partial(_scaled_raw, counts, scale, zero)
        yield Oddity(f"scaled_{scale}_{zero}", make, errors.UnsupportedPixelsError)


def _sizes() -> Iterator[Oddity]:
    """Headers that promise what is not there, or more than anyone wants."""
    large = errors.ImageTooLargeError
    for sides in ((30000, 30000), (10**9, 10**9), (10**17, 10**17), (2**31, 2**31)):
        make = partial(raw_fits, base_cards(-32, sides), bytes(100))
        yield Oddity(f"claims_{sides[0]}", make, large)
    make = partial(raw_fits, base_cards(-64, (2**20, 17)))
    yield Oddity("claims_thin", make, large)
    for sides in ((100, 101), (4000, 4000)):
        make = partial(raw_fits, base_cards(-32, sides), bytes(40000))
        yield Oddity(f"promises_{sides[1]}", make, errors.TruncatedFileError)
    shapes: list[tuple[int, ...]] = [(100, 0), (0, 100), (0, 0), (100,), (5, 64, 64)]
    for shape in [*shapes, (2, 2, 2, 2, 2)]:
        size = 4 * int(np.prod(shape))
        make = partial(raw_fits, base_cards(-32, shape), bytes(size))
        yield Oddity(f"axes_{shape}", make, errors.NoImageError)
    for sides in ((1, 1), (1, 500), (500, 1), (15, 300), (300, 15), (2, 2)):
        make = partial(plain, np.arange(sides[0] * sides[1], dtype="f4").reshape(sides))
        yield Oddity(f"small_{sides}", make, errors.ImageTooSmallError)
    yield Oddity(
        "empty_primary", lambda: raw_fits(base_cards(8, ())), errors.NoImageError
    )
    groups = [*base_cards(-32, (0, 3, 4)), card("GROUPS", "T"), card("GCOUNT", 7)]
    make = partial(raw_fits, [*groups, card("PCOUNT", 2)], bytes(392))
    yield Oddity("random_groups", make, errors.NoImageError)
    group = [*base_cards(-32, (0, 100)), card("GROUPS", "T"), card("GCOUNT", 10**15)]
    yield Oddity("groups_claim", partial(raw_fits, group), errors.TruncatedFileError)


def _cut_short() -> Iterator[Oddity]:
    """A download that broke off."""
    for length in (12, 79, 80):
        yield Oddity(f"cut_{length}", partial(_first, length), _MALFORMED)
    for length in (400, 1000, 2000, 2880, 2881, 10000, 42000):
        yield Oddity(
            f"cut_{length}", partial(_first, length), errors.TruncatedFileError
        )
    cards = base_cards()
    make = partial(raw_fits, cards, end=False)
    yield Oddity("no_end", make, errors.TruncatedFileError)
    yield Oddity(
        "no_end_nul", lambda: raw_fits(cards, end=False)[:320] + bytes(99999),
        errors.TruncatedFileError,
    )  # fmt: skip
    yield Oddity(
        "second_cut",
        lambda: plain() + b"XTENSION= 'IMAGE   '".ljust(160),
        note="damaged",
        same=True,
    )


def _first(length: int) -> bytes:
    return plain()[:length]


def _wcs_faults() -> Iterator[Oddity]:
    """A fault of the WCS never costs the answer, which says it."""
    sip = {"CTYPE1": "'RA---TAN-SIP'", "CTYPE2": "'DEC--TAN-SIP'"}
    faults: dict[str, dict[str, object]] = {
        "sip_9999": sip | {"A_ORDER": 9999, "B_ORDER": 9999},
        "sip_10": sip | {"A_ORDER": 10, "B_ORDER": 10},
        "sip_huge": sip | {"A_ORDER": 10**17, "B_ORDER": 2},
        "sip_negative": sip | {"A_ORDER": -2, "B_ORDER": 2},
        "sip_text": sip | {"A_ORDER": "'many'", "B_ORDER": 2},
        "sip_inverse": sip | {"AP_ORDER": 9999, "BP_ORDER": 9999},
        "axes_million": {"WCSAXES": 1_000_000},
        "ctype_unknown": {"CTYPE1": "'RA---XYZ'"},
        "ctype_linear": {"CTYPE1": "'LINEAR'", "CTYPE2": "'LINEAR'"},
        "ctype_twice": {"CTYPE1": "'DEC--TAN'"},
        "ctype_table": {"CTYPE1": "'RA---TAB'", "CTYPE2": "'DEC--TAB'"},
        "ctype_number": {"CTYPE1": 5},
        "cdelt_zero": {"CDELT1": 0.0},
        "cdelt_nan": {"CDELT1": "NaN"},
        "cdelt_huge": {"CDELT1": 1e300},
        "cdelt_tiny": {"CDELT1": 1e-300, "CDELT2": 1e-300},
        "cd_singular": {"CD1_1": 1e-3, "CD1_2": 1e-3, "CD2_1": 1e-3, "CD2_2": 1e-3},
        "pc_zero": {"PC1_1": 0.0, "PC2_2": 0.0},
        "cunit": {"CUNIT1": "'parsec'", "CUNIT2": "'parsec'"},
    }
    for name, cards in faults.items():
        make = partial(_changed, cards)
        yield Oddity(f"wcs_{name}", make, note="no usable celestial WCS")
    yield Oddity("wcs_none", _no_wcs, note="no CTYPE1")
    for name, value in (("CRVAL1", 1e308), ("CRVAL2", 91.0), ("CRPIX1", 1e300)):
        yield Oddity(f"wcs_{name}", partial(_changed, {name: value}))
    for name in ("RADESYS", "LONPOLE", "PV2_1", "CRVAL1"):
        yield Oddity(f"wcs_text_{name}", partial(_changed, {name: "'\"'"}))
    table = partial(_changed, {"CPDIS1": "'LOOKUP'", "DP1": "'NAXES: 2'"})
    yield Oddity("wcs_lookup", table, note="distortion tables")


def _changed(cards: dict[str, object]) -> bytes:
    data = plain()
    for name, value in cards.items():
        data = with_card(name, value, data)
    return data


def _no_wcs() -> bytes:
    return written(fits.PrimaryHDU(galaxy()))


def _hdus() -> Iterator[Oddity]:
    """Which image is meant."""
    image = partial(fits.ImageHDU, galaxy(), header())

    def of(*names: str, primary: bool = False) -> bytes:
        first = fits.PrimaryHDU(galaxy(), header()) if primary else fits.PrimaryHDU()
        return written(first, *(image(name=name) for name in names))

    ambiguous = errors.AmbiguousImageError
    yield Oddity("two_images", partial(of, "A", "B"), ambiguous)
    yield Oddity("three_images", partial(of, "", "", ""), ambiguous)
    yield Oddity("two_chosen", partial(of, "A", "B"), hdu=2, same=True)
    yield Oddity("only_masks", partial(of, "MASK", "RMS"), ambiguous)
    many = partial(of, "MASK", "SCI", "RMS_MAP", "WHT")
    yield Oddity("sci_and_masks", many, same=True, note="HDU 2")
    first = partial(of, "A", "B", primary=True)
    yield Oddity("primary_and_more", first, same=True, note="HDU 0")
    for number in (1, 5, 15):
        yield Oddity(f"no_hdu_{number}", plain, errors.NoImageError, hdu=number)
    yield Oddity("hdu_of_table", partial(_extension, 3), errors.NoImageError, hdu=1)
    yield Oddity(
        "sixteen", partial(of, *["MASK"] * 14, "SCI"), same=True, note="HDU 15"
    )
    seventeen = partial(of, *["MASK"] * 15, "SCI")
    yield Oddity("seventeen", seventeen, errors.TooManyHdusError)
    extension = [b"XTENSION= 'IMAGE   '".ljust(80), *base_cards(8, ())[1:]]

    def thousands() -> bytes:
        return plain() + 5000 * raw_fits(extension)

    yield Oddity("hdus_5000", thousands, errors.TooManyHdusError, heavy=True)
    unknown = [b"XTENSION= 'FOREIGN '".ljust(80), *base_cards(8, (10,))[1:]]
    yield Oddity("foreign", lambda: plain() + raw_fits(unknown, bytes(10)), same=True)
    lone = [*base_cards(8, ())]
    make = partial(raw_fits, lone)
    yield Oddity(
        "foreign_alone", lambda: make() + raw_fits(unknown, bytes(10)),
        errors.NoImageError,
    )  # fmt: skip


def _long_headers() -> Iterator[Oddity]:
    history = b"HISTORY AIPS   CLEAN BMAJ=  1.5000E-03 BMIN=  1.5000E-03".ljust(80)
    blank, comment = b" " * 80, b"COMMENT nothing".ljust(80)
    for name, line, times in (
        ("history_20k", history, 20_000),
        ("comments_1k", comment, 1000),
        ("blanks_1k", blank, 1000),
    ):
        yield Oddity(name, partial(with_cards, [line] * times), same=True)
    make = partial(with_cards, [history] * 60_000)
    yield Oddity("history_60k", make, _MALFORMED, heavy=True)

    def keywords() -> bytes:
        return with_cards([card(f"K{number}", number) for number in range(30_000)])

    yield Oddity("keywords_30k", keywords, same=True)

    def coefficients() -> bytes:
        names = [f"PV{axis}_{number}" for axis in (1, 2) for number in range(100)]
        return with_cards([card(name, 0.0) for name in names * 20])

    yield Oddity("pv_4000", coefficients)
    first = b"LONGSTR = 'x&'".ljust(80)
    for times, error in ((100, None), (20_000, _MALFORMED)):
        lines = [first, *[b"CONTINUE  'yyyyyyyyyyyyyyyyyyyy&'".ljust(80)] * times]
        make = partial(with_cards, lines)
        yield Oddity(f"continue_{times}", make, error, same=error is None)
    wide = [b"HIERARCH ESO A B C = 5".ljust(80)] * 3000
    yield Oddity("hierarch_3k", partial(with_cards, wide), same=True)
