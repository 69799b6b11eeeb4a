"""What people type: names in many spellings, positions in many notations."""

import re
import unicodedata

import astropy.units as u
from astropy.coordinates import SkyCoord

_MINUS = dict.fromkeys(
    map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-"
)

# Letters, digits, a blank, a digit: the blank was a plus sign in a query string.
_LOST_PLUS = re.compile(r"^([A-Z][A-Z_ ]*?[\d.]{3,}) (?=\d)")

# Right ascension and declination run together, as IAU names have them.
_J_NAME = re.compile(
    r"J(\d{2})(\d{2})(\d{2}(?:\.\d+)?)([+-])(\d{2})(\d{2})(\d{2}(?:\.\d+)?)?$"
)

_DECIMAL = re.compile(
    r"^([+-]?\d+(?:\.\d*)?)(?:°|D|DEG)?[\s,;]+([+-]?\d+(?:\.\d*)?)(?:°|D|DEG)?$"
)

# Separates the two halves of a sexagesimal position when no comma does.
_SIGN = re.compile(r"[\s,;]*([+-])")


def source_key(text: str) -> str:
    """What two spellings of one name have in common.

    Case, blanks, kinds of minus, a plus that arrived as a blank and a leading
    ``RGZ`` do not matter.

    Examples
    --------
    >>> source_key("rgz j091635.5 044052")
    'J091635.5+044052'
    >>> source_key("RGZ J091635.5\u2212044052")
    'J091635.5-044052'
    """
    plain = _plain(text)
    plain = _LOST_PLUS.sub(r"\1+", plain)
    plain = re.sub(r"[\s_]+", "", plain)
    return re.sub(r"^RGZ(?=J\d)", "", plain)


def parse_position(text: str) -> tuple[float, float] | None:
    """ICRS degrees of a position that a person typed; None when it is none.

    Decimal degrees, sexagesimal hours and degrees with blanks, colons or letters,
    and J-names, whose digits give only a rough position.

    Examples
    --------
    >>> parse_position("139.148 +4.681")
    (139.148, 4.681)
    >>> [round(value, 4) for value in parse_position("09:16:35.5 +04:40:52")]
    [139.1479, 4.6811]
    >>> [round(value, 4) for value in parse_position("RGZ J091635.5+044052")]
    [139.1479, 4.6811]
    >>> parse_position("NGC 1265") is None
    True
    """
    plain = _plain(text)
    decimal = _DECIMAL.match(plain)
    if decimal:
        ra, dec = float(decimal[1]), float(decimal[2])
        return (ra, dec) if 0 <= ra <= 360 and -90 <= dec <= 90 else None  # noqa: PLR2004
    name = _J_NAME.search(re.sub(r"\s+", "", _LOST_PLUS.sub(r"\1+", plain)))
    if name:
        hours, minutes, seconds, sign, degrees, arcmin, arcsec = name.groups()
        return _sexagesimal(
            f"{hours}:{minutes}:{seconds}", f"{sign}{degrees}:{arcmin}:{arcsec or 0}"
        )
    sign_at = _SIGN.search(plain, 1)
    if sign_at:
        ra_text = plain[: sign_at.start()]
        dec_text = sign_at[1] + plain[sign_at.end() :].strip()
    elif "," in plain:
        ra_text, _, dec_text = plain.partition(",")
    else:
        parts = plain.split()
        half = len(parts) // 2
        ra_text, dec_text = " ".join(parts[:half]), " ".join(parts[half:])
    # A lone number is no sexagesimal position.
    if not re.search(r"\d[\s:HM]+\d", ra_text):
        return None
    return _sexagesimal(ra_text, dec_text)


def _plain(text: str) -> str:
    """Upper case, ordinary blanks and minus signs."""
    plain = unicodedata.normalize("NFKC", text).translate(_MINUS).upper()
    return re.sub(r"\s+", " ", plain).strip()


def _sexagesimal(ra: str, dec: str) -> tuple[float, float] | None:
    try:
        coord = SkyCoord(ra.lower(), dec.lower(), unit=(u.hourangle, u.deg))
    except (ValueError, TypeError):
        return None
    return float(coord.ra.deg), float(coord.dec.deg)


def position_name(ra: float, dec: float) -> str:
    """Name of a place, ICRS degrees, cut off as the IAU wants it and not rounded.

    Examples
    --------
    >>> position_name(10.68471, -0.26875)
    'J004244.33-001607.5'
    """
    hundredths = int(ra / 15 * 3600 * 100 + 1e-6)
    hours, rest = divmod(hundredths, 360_000)
    minutes, seconds = divmod(rest, 6000)
    tenths = int(abs(dec) * 36_000 + 1e-6)
    degrees, rest = divmod(tenths, 36_000)
    arcmin, arcsec = divmod(rest, 600)
    sign = "-" if dec < 0 else "+"
    return (
        f"J{hours:02d}{minutes:02d}{seconds // 100:02d}.{seconds % 100:02d}"
        f"{sign}{degrees:02d}{arcmin:02d}{arcsec // 10:02d}.{arcsec % 10}"
    )
