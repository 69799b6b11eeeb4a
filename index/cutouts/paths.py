"""Locations of files of ours: a path, or ``kind:path?option=value``."""

import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from twinjet.index.errors import CutoutLocationError

# Two letters at least; a path made absolute never looks so.
_KIND = re.compile(r"([a-z][a-z0-9+]+):(.*)", re.DOTALL)


def quoted_path(path: Path) -> str:
    """A path within a location.

    Examples
    --------
    >>> quoted_path(Path("/sky/50% of it?"))
    '/sky/50%25%20of%20it%3F'
    """
    return quote(str(path), safe="/")


def split_kind(location: str) -> tuple[str | None, str]:
    """Kind of a location, None for a bare path, and what follows it.

    Examples
    --------
    >>> split_kind("mosaic:/sky?size_arcsec=270")
    ('mosaic', '/sky?size_arcsec=270')
    >>> split_kind("/sky/a:b")
    (None, '/sky/a:b')
    """
    found = _KIND.fullmatch(location)
    return (found[1], found[2]) if found else (None, location)


def split_options(rest: str, known: Collection[str]) -> tuple[Path, dict[str, str]]:
    """Path and options of what follows a kind.

    Raises
    ------
    CutoutLocationError
        There is no path, or an option that is not known, comes twice or is empty.

    Examples
    --------
    >>> split_options("/my%20sky?size_arcsec=270", {"size_arcsec"})
    (PosixPath('/my sky'), {'size_arcsec': '270'})
    """
    path, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    odd = [key for key, value in pairs if key not in known or not value]
    if not path or odd or len(options) < len(pairs):
        msg = (
            f"the location {rest!r} cannot be understood: write "
            f"PATH?{'&'.join(f'{key}=…' for key in sorted(known))}, each at most once"
        )
        raise CutoutLocationError(msg, actual=rest)
    return Path(unquote(path)), options
