"""What an archive has answered: a whole FITS image, or a page of text instead."""

import math
import re
from contextlib import suppress
from html.parser import HTMLParser

from twinjet.index.cutouts.errors import ArchiveTroubleError, NoCoverageError
from twinjet.model.decode import read_cutout
from twinjet.model.errors import (
    AmbiguousImageError,
    CutoutError,
    ImageTooLargeError,
    ImageTooSmallError,
    NoImageError,
    NoUsablePixelsError,
    TooManyHdusError,
    UnsupportedPixelsError,
)

_BLOCK, _CARD = 2880, 80

# An image that is whole and that nobody can use: another attempt brings the same.
_UNUSABLE = (
    AmbiguousImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    NoImageError,
    TooManyHdusError,
    UnsupportedPixelsError,
)

# Of a page; what it says stands at the beginning.
_PAGE_BYTES = 16_384
_MESSAGE_LETTERS = 200

_SIZES = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= *(-?\d{1,18})\b")

# Pages that say that the sky there was not observed. Others are taken for trouble:
# a wrong guess then costs a request a run, not a source.
_NOT_OBSERVED = re.compile(
    r"\bno (image|data|map|coverage|overlap|pixel|field)s? "
    r"((was|were|is|are) )?(here|there|at|found|exists?|for (this|that|the) (position|region|field|coordinates?)|cover|in (this|the)|available (at|for|in) )"  # noqa: E501 - one group
    r"|\b(not|never) (been )?(cover|observ|imag)ed\b|\b(does|do) not (cover|overlap)\b"
    r"|\bnot (in|within|inside) (the|this|any) (survey|catalog|field|area|image|region)"
    r"|\boutside (of )?(the|this|our|survey|coverage)\b|\b0 images\b",
    re.IGNORECASE,
)


def whole_fits(data: bytes, host: str) -> bytes:
    """Return the bytes of a FITS image that is all there and shows something.

    Parameters
    ----------
    data
        The answer, as it came.
    host
        Who answered, for messages.

    Raises
    ------
    NoCoverageError
        Nothing but blanks or one value, no image that can be used, or a page which
        says that nothing was observed there.
    ArchiveTroubleError
        Shorter than its header says, or not FITS.
    """
    if not data:
        msg = f"{host} sent an empty answer"
        raise ArchiveTroubleError(msg, again=True)
    if not data.startswith((b"SIMPLE", b"\x1f\x8b")):
        raise not_wanted(data, host)
    if data.startswith(b"SIMPLE") and (promised := promised_length(data)) > len(data):
        msg = f"{host} sent {len(data)} bytes of a FITS file of at least {promised}"
        raise ArchiveTroubleError(msg, again=True)
    try:
        read_cutout(data)
    except NoUsablePixelsError as exc:
        msg = f"no coverage by {host}: {exc}"
        raise NoCoverageError(msg) from exc
    except _UNUSABLE as exc:
        # So it is for every source: what is asked for must be changed.
        msg = f"{host} sent no usable image: {exc}"
        raise NoCoverageError(msg) from exc
    except CutoutError as exc:
        msg = f"{host} sent a damaged file: {exc}"
        raise ArchiveTroubleError(msg, again=True) from exc
    return data


def promised_length(data: bytes) -> int:
    """Bytes that a FITS file must have by its headers.

    A header without its END promises one block more than there is.

    Notes
    -----
    FITS standard 4.0, sections 4.4.1 and 7: each HDU is a header and, if any,
    |BITPIX| / 8 x GCOUNT x (PCOUNT + NAXIS1 x ... x NAXISn) bytes of data, both filled
    up to blocks of 2880 bytes.

    Examples
    --------
    >>> cards = ["SIMPLE  =  T", "BITPIX  = -32", "NAXIS   = 1", "NAXIS1  = 3", "END"]
    >>> header = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    >>> promised_length(header), promised_length(header[:320])
    (5760, 3200)
    """
    place = 0
    while data.startswith((b"SIMPLE", b"XTENSION"), place):
        sizes: dict[str, int] = {}
        start = place
        for start in range(place, len(data), _CARD):
            card = data[start : start + _CARD]
            if card[:8].rstrip() == b"END":
                break
            if found := _SIZES.match(card):
                sizes[found[1].decode()] = int(found[2])
        else:
            return len(data) + _BLOCK
        place = _filled(start + _CARD) + _filled(_data_bytes(sizes))
    return max(place, _filled(len(data)))


def _data_bytes(sizes: dict[str, int]) -> int:
    axes = [
        sizes.get(f"NAXIS{i + 1}", 0) for i in range(min(sizes.get("NAXIS", 0), 99))
    ]
    values = sizes.get("PCOUNT", 0) + math.prod(axes) if axes else 0
    return max(0, abs(sizes.get("BITPIX", 8)) // 8 * sizes.get("GCOUNT", 1) * values)


def _filled(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK


def not_wanted(data: bytes, host: str) -> NoCoverageError | ArchiveTroubleError:
    """Error for an answer that is something else, with what it says."""
    said = page_message(data)
    if _NOT_OBSERVED.search(said):
        return NoCoverageError(f"no coverage by {host}: it says {said!r}")
    # A page written for people is seldom another one within seconds.
    return ArchiveTroubleError(f"{host} did not send an image; it says {said!r}")


def page_message(data: bytes) -> str:
    """Text of a page without its marks, shortened.

    Examples
    --------
    >>> page_message(b"<html><title>Error</title><p>Disk &amp; tape full</html>")
    'Error Disk & tape full'
    """
    text = data[:_PAGE_BYTES].decode("utf-8", errors="replace")
    if not text.isprintable() and "\0" in text:
        return f"bytes that begin with {data[:8]!r}"
    page = _Page()
    # Up to Python 3.13 the parser asserts that marked sections are of known kinds.
    with suppress(AssertionError):
        page.feed(text)
        page.close()
    words = " ".join(" ".join(page.parts).split()) or "nothing"
    return words if len(words) <= _MESSAGE_LETTERS else words[:_MESSAGE_LETTERS] + "…"


class _Page(HTMLParser):
    """Collects what a page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self._hidden = tag in {"script", "style"}

    def handle_endtag(self, _tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)
