"""A walk over the headers of a FITS file, before any library reads it.

Only integers, short strings and 80-byte cards (FITS Standard 4.0, section 4): what it
costs is bounded by the length of the file, whatever the headers claim.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twinjet.model.errors import (
    CutoutError,
    MalformedFitsError,
    TooManyHdusError,
    TruncatedFileError,
    UnsupportedPixelsError,
)

BLOCK = 2880
"""Bytes; a file is made of such."""

_CARD = 80

# A cutout has one or two; a pipeline's product with its masks and tables a dozen.
MAX_HDUS = 16

# Of all HDUs. AIPS writes long histories: 20,000 cards are 1.6 MB.
MAX_HEADER_BYTES = 4 * 2**20

# Two of sky, frequency, Stokes, and what interferometers add.
MAX_AXES = 6

# A long string; joining them costs readers the square of their number.
MAX_CONTINUE_CARDS = 200

# Beyond 64 bits no file is, and Python would take its time for a longer number.
_MAX_DIGITS = 18

_BITPIX = (8, 16, 32, 64, -32, -64)
_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{_MAX_DIGITS}}}")
_STRING = re.compile(r"'((?:[^']|'')*)'")

# What decides how many bytes follow and what they mean: given twice, they agree.
_STRUCTURAL = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|TFORM\d+|TTYPE\d+|THEAP"
    r"|ZIMAGE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZCMPTYPE|ZNAME\d+|ZVAL\d+|ZMASKCMP"
)


@dataclass(frozen=True)
class HeaderBlock:
    """One HDU as its header has it, checked against the bytes that are there."""

    number: int
    """Of the HDU, from 0."""
    cards: Mapping[str, str]
    """The first card of each keyword, 80 characters; no commentary."""
    data_start: int
    """Offset of the data in the file, bytes."""
    data_bytes: int
    """Length of the data without the padding."""
    trouble: CutoutError | None = None
    """Why its data cannot be read."""

    @property
    def end(self) -> int:
        """Offset of what follows, behind the padding."""
        return self.data_start + -(-self.data_bytes // BLOCK) * BLOCK

    @property
    def kind(self) -> str:
        """``PRIMARY``, or the type of the extension: ``IMAGE``, ``BINTABLE``."""
        return self.text("XTENSION") or "PRIMARY"

    def text(self, keyword: str) -> str | None:
        """A value as text without quotes and trailing blanks; None when absent."""
        card = self.cards.get(keyword)
        if card is None or card[8:10] != "= ":
            return None
        value = card[10:].strip()
        quoted = _STRING.match(value)
        if quoted:
            return quoted[1].replace("''", "'").rstrip()
        return value.split("/", 1)[0].strip()

    def is_quoted(self, keyword: str) -> bool:
        """Whether a value is text, whatever it says; False when absent."""
        return self.cards.get(keyword, "")[10:].lstrip().startswith("'")

    def integer(self, keyword: str, default: int | None = None) -> int:
        """A value as an integer.

        Raises
        ------
        MalformedFitsError
            It is absent without a default, or no integer of at most 18 digits.
        """
        text = self.text(keyword)
        if text is None and default is not None:
            return default
        if text is None:
            msg = f"the header of HDU {self.number} has no {keyword}"
            raise MalformedFitsError(msg)
        if self.is_quoted(keyword) or not _INTEGER.fullmatch(text):
            msg = f"{keyword} of HDU {self.number} is {text[:30]!r}, not an integer"
            raise MalformedFitsError(msg, actual=text[:30])
        return int(text)

    def true(self, keyword: str) -> bool:
        """Whether a logical value is there and true."""
        return self.text(keyword) == "T"

    def lengths(self, prefix: str = "NAXIS") -> list[int]:
        """Lengths of the axes, the fastest first.

        Raises
        ------
        MalformedFitsError
            Too many axes, one without length, or with a negative one.
        """
        count = self.integer(prefix)
        if not 0 <= count <= MAX_AXES:
            msg = f"{prefix} of HDU {self.number} is {count}; it may be 0 to {MAX_AXES}"
            raise MalformedFitsError(msg, limit=MAX_AXES, actual=count)
        lengths = [self.integer(f"{prefix}{axis}") for axis in range(1, count + 1)]
        for axis, length in enumerate(lengths, 1):
            if length < 0:
                msg = f"{prefix}{axis} of HDU {self.number} is {length}, below 0"
                raise MalformedFitsError(msg, limit=0, actual=length)
        return lengths

    def bitpix(self, keyword: str = "BITPIX") -> int:
        """Bits of a pixel, negative for floating point.

        Raises
        ------
        UnsupportedPixelsError
            None of those that FITS has.
        """
        bits = self.integer(keyword)
        if bits not in _BITPIX:
            known = ", ".join(map(str, _BITPIX))
            msg = f"{keyword} of HDU {self.number} is {bits}; FITS has {known}"
            raise UnsupportedPixelsError(msg, limit=known, actual=bits)
        return bits


def walk(data: bytes) -> list[HeaderBlock]:
    """Headers of a FITS file, as far as they can be followed.

    Parameters
    ----------
    data
        The whole file, no longer gzipped.

    Returns
    -------
    list
        At least one; only the last may have a `trouble`, and then its data begin
        but do not end in the file, or its header cannot be understood. What follows
        the last HDU without being one is ignored, as the standard demands of readers.

    Raises
    ------
    MalformedFitsError, TruncatedFileError
        The first header has no end, or the headers are too long.
    TooManyHdusError
        There are more HDUs than `MAX_HDUS`.
    """
    found: list[HeaderBlock] = []
    start = headers = 0
    while start < len(data):
        if found and not data.startswith(b"XTENSION", start):
            break
        if len(found) == MAX_HDUS:
            msg = f"the file has more than {MAX_HDUS} HDUs; send one image"
            raise TooManyHdusError(msg, limit=MAX_HDUS, actual=MAX_HDUS + 1)
        number = len(found)
        try:
            cards, end = _cards(data, start, number, MAX_HEADER_BYTES - headers)
        except CutoutError as exc:
            if not found:
                raise
            found.append(HeaderBlock(number, {}, len(data), 0, exc))
            break
        headers += end - start
        block = HeaderBlock(number, cards, end, 0)
        try:
            length = _data_bytes(block)
        except CutoutError as exc:
            found.append(HeaderBlock(number, cards, end, 0, exc))
            break
        trouble = None
        if end + length > len(data):
            msg = (
                f"the file has {len(data)} bytes; the header of HDU {number} promises "
                f"at least {end + length}"
            )
            trouble = TruncatedFileError(msg, limit=end + length, actual=len(data))
        found.append(HeaderBlock(number, cards, end, length, trouble))
        if trouble:
            break
        start = found[-1].end
    return found


def whole(data: bytes) -> list[HeaderBlock]:
    """Headers of a FITS file of which everything is there; none of an empty one.

    Raises
    ------
    CutoutError
        As `walk`, or the `trouble` of the last HDU.
    """
    found = walk(data)
    if found and found[-1].trouble is not None:
        raise found[-1].trouble
    return found


def _cards(
    data: bytes, start: int, number: int, allowed: int
) -> tuple[dict[str, str], int]:
    """Cards by keyword, and where the data begin."""
    cards: dict[str, str] = {}
    continued = 0
    last = min(len(data), start + allowed)
    for at in range(start, last - _CARD + 1, _CARD):
        raw = data[at : at + _CARD]
        keyword = raw[:8].rstrip()
        if keyword == b"END":
            return cards, start + -(-(at + _CARD - start) // BLOCK) * BLOCK
        continued = continued + 1 if keyword == b"CONTINUE" else 0
        if continued > MAX_CONTINUE_CARDS:
            msg = (
                f"a value of HDU {number} goes on over more than {continued - 1} cards"
            )
            raise MalformedFitsError(msg, limit=MAX_CONTINUE_CARDS, actual=continued)
        if raw[8:10] == b"= ":
            _keep(cards, raw, number)
    if len(data) - start > allowed:
        msg = f"the headers have more than {MAX_HEADER_BYTES} bytes or no END"
        actual = MAX_HEADER_BYTES - allowed + len(data) - start
        raise MalformedFitsError(msg, limit=MAX_HEADER_BYTES, actual=actual)
    msg = f"the file ends within the header of HDU {number}: there is no END card"
    if "NAXIS" not in cards:
        raise MalformedFitsError(msg, actual=len(data))
    raise TruncatedFileError(msg, actual=len(data))


def _keep(cards: dict[str, str], raw: bytes, number: int) -> None:
    """Add a card with a value; one that is not plain text counts only if it matters."""
    card = raw.decode("latin-1")
    keyword = card[:8].rstrip().upper()
    plain = raw.isascii() and card.isprintable()
    if not _STRUCTURAL.fullmatch(keyword):
        if plain:
            cards.setdefault(keyword, card)
        return
    if not plain:
        msg = f"{keyword} of HDU {number} has characters that FITS forbids"
        raise MalformedFitsError(msg, actual=keyword)
    before = cards.setdefault(keyword, card)
    if before[10:].split("/")[0].strip() != card[10:].split("/")[0].strip():
        msg = f"HDU {number} has {keyword} twice, with different values"
        raise MalformedFitsError(msg, actual=keyword)


def _data_bytes(block: HeaderBlock) -> int:
    """Length of the data (FITS Standard 4.0, equations 1, 2 and 4)."""
    if block.number == 0 and not block.true("SIMPLE"):
        msg = f"SIMPLE is {block.text('SIMPLE')!r}: the file says it is not FITS"
        raise MalformedFitsError(msg)
    bits = abs(block.bitpix())
    lengths = block.lengths()
    if not lengths:
        return 0
    groups = block.true("GROUPS") and lengths[0] == 0
    parameters = block.integer("PCOUNT", 0)
    copies = block.integer("GCOUNT", 1)
    for keyword, value, least in (("PCOUNT", parameters, 0), ("GCOUNT", copies, 1)):
        if value < least:
            msg = f"{keyword} of HDU {block.number} is {value}, below {least}"
            raise MalformedFitsError(msg, limit=least, actual=value)
    plain = block.kind in {"PRIMARY", "IMAGE"} and not groups
    if plain and (parameters, copies) != (0, 1):
        msg = (
            f"HDU {block.number} is an image with PCOUNT {parameters} and GCOUNT "
            f"{copies}; they must be 0 and 1"
        )
        raise MalformedFitsError(msg, limit="0, 1", actual=f"{parameters}, {copies}")
    values = math.prod(lengths[1:] if groups else lengths)
    return bits // 8 * copies * (parameters + values)


def value_cards(block: HeaderBlock, names: re.Pattern[str]) -> Iterator[str]:
    """Cards of the keywords that a pattern knows, as they stand in the file."""
    return (card for name, card in block.cards.items() if names.fullmatch(name))
