"""A catalogue: which sources exist, where they are, what was measured of them."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import astropy.units as u
from astropy.coordinates import Angle

from twinjet.index.errors import CatalogueColumnError, CatalogueError
from twinjet.index.names import position_name
from twinjet.index.source import Column, RowProblem, Source, Value
from twinjet.index.spill import Spill
from twinjet.index.tables import Field, RawTable, Rows, read_table

# Names under which catalogues write what every source has, in order of preference.
ALIASES: Mapping[str, tuple[str, ...]] = {
    word: tuple(names.split())
    for word, names in {
        "source_id": "source_id sourceid id name source_name rgzid rgz_name objid "
        "designation main_id catid",
        "ra": "ra ra_deg raj2000 _raj2000 ra_icrs s_ra radio_ra radio.ra _ra radeg",
        "dec": "dec dec_deg dej2000 decj2000 _dej2000 _decj2000 de_icrs dec_icrs s_dec "
        "radio_dec radio.dec _de decdeg dedeg",
        "cutout": "cutout cutout_path file filename file_name path image",
        "survey": "survey survey_name telescope",
    }.items()
}

_NEEDED = ("source_id", "ra", "dec")

MAX_ID_LENGTH = 200

# Characters in a message: of a cell, and of the names of all columns.
_MAX_SHOWN = 100
_MAX_LISTED = 500

# Spellings of "no value" in text tables.
EMPTY = {"", "nan", "null", "none", "--", "n/a", "na"}

_INFINITE = (math.inf, -math.inf)

# Above this float64, and so JSON of a browser, has no room for each integer.
_MOST_EXACT = 2**53

_INTEGER = re.compile(r"[+-]?[0-9]+")

_TRUTH = {"true": True, "false": False}

Kind = Literal["number", "text", "boolean"]
_Seen = Literal[Kind, "integer", "long"]


class Sources(Protocol):
    """Sources, of which few are in memory at a time."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Source]:
        """In the order of the catalogue, from the first, as often as is wanted."""

    def on_the_sky(self) -> Iterator[Source]:
        """In the order of HEALPix cells."""


class Problems(Protocol):
    """What could not be used, of which few are in memory at a time."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[RowProblem]:
        """From the first, as often as is wanted."""


@dataclass(frozen=True)
class Catalogue:
    """Sources, the columns that they have, and what was left out."""

    name: str
    sources: Sources
    columns: tuple[Column, ...]
    problems: Problems
    digest: str
    """SHA-256 of sources and columns, in hexadecimal."""


def read_catalogue(
    path: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    name: str | None = None,
    data: bytes | None = None,
    name_rows: bool = False,
) -> Catalogue:
    """Read a catalogue: CSV, TSV, VOTable, FITS table or Parquet, gzipped or not.

    Rows without an ID, with one that came before, or without a position on the sky
    are left out and reported; all columns that are not ID, position, cutout or
    survey are kept as measured columns.

    Parameters
    ----------
    path
        The file.
    mapping
        Column of the file for ``source_id``, ``ra``, ``dec``, ``cutout`` or
        ``survey``, where it has none of the usual names.
    name
        Of the catalogue; the file's when None.
    name_rows
        Whether sources of a table without IDs are named by their positions.
    data
        What the file holds, where it is a member of an archive.

    Raises
    ------
    CatalogueFormatError
        The file cannot be read as a table.
    CatalogueColumnError
        ID or position have no column, or a mapped column is not there.
    CatalogueError
        Not one row can be used.
    """
    table = read_table(path, data)
    needed = _NEEDED[1:] if name_rows else _NEEDED
    places = places_of(table.fields, mapping or {}, path, needed)
    return _catalogue(name or path.name.partition(".")[0], table, places, path)


def make_catalogue(
    name: str,
    sources: Iterable[Source],
    columns: Sequence[Column],
    problems: Iterable[RowProblem],
) -> Catalogue:
    """A catalogue with its digest; of sources with one name the first is kept."""
    spill = _spill(columns)
    for source in sources:
        spill.add(source)
    for problem in problems:
        spill.report(problem)
    kept, left_out, digest = spill.finish()
    return Catalogue(name, kept, tuple(columns), left_out, digest)


def _spill(columns: Sequence[Column]) -> Spill:
    return Spill(digest_of=repr(tuple(columns)))


def places_of(
    fields: Sequence[Field],
    mapping: Mapping[str, str],
    path: Path,
    needed: Sequence[str],
) -> dict[str, int]:
    """Index of the column for each word of ours.

    Parameters
    ----------
    fields
        Columns of a table.
    mapping
        Column for a word, where it has none of the usual names.
    path
        For the messages.
    needed
        Words that must have one.

    Raises
    ------
    CatalogueColumnError
        A needed word has no column, or a mapped column is not there.
    """
    unknown = sorted(set(mapping) - set(ALIASES))
    if unknown:
        msg = f"cannot map {', '.join(unknown)}; there are {', '.join(ALIASES)}"
        raise CatalogueColumnError(msg, parameter=unknown[0])
    names = [field.name for field in fields]
    lower = [name.lower() for name in names]
    places: dict[str, int] = {}
    for word, aliases in ALIASES.items():
        if word in mapping:
            if mapping[word] not in names:
                msg = (
                    f"{path} has no column {mapping[word]!r} for {word}; "
                    f"it has {_listed(names)}"
                )
                raise CatalogueColumnError(msg, parameter=word, actual=mapping[word])
            places[word] = names.index(mapping[word])
            continue
        found = next((alias for alias in aliases if alias in lower), None)
        if found is not None:
            places[word] = lower.index(found)
    for word in needed:
        if word not in places:
            msg = (
                f"{path} has no column for {word}; it has {_listed(names)}; "
                f"name it: --map {word}=COLUMN"
            )
            raise CatalogueColumnError(msg, parameter=word)
    return places


def _listed(names: Sequence[str]) -> str:
    """Names of columns for a message.

    A file of one column is hardly a catalogue: its first line may be a secret.
    """
    shown = ", ".join(names)
    if len(names) == 1:
        return "one column"
    return shown if len(shown) <= _MAX_LISTED else f"{shown[:_MAX_LISTED]}..."


def _catalogue(
    name: str, table: RawTable, places: Mapping[str, int], path: Path
) -> Catalogue:
    measured = [
        (i, safe)
        for i, safe in enumerate(_safe_names(table.fields))
        if i not in places.values()
    ]
    kinds = _kinds(table.rows, [i for i, _ in measured])
    columns = [
        Column(
            safe,
            table.fields[i].unit or _unit_of(safe),
            kinds[i],
            table.fields[i].description,
            table.fields[i].ucd,
        )
        for i, safe in measured
    ]
    units = {word: table.fields[places[word]].unit for word in ("ra", "dec")}
    spill = _spill(columns)
    for line, values in table.rows:
        source_id = text_of(values, places.get("source_id"))
        try:
            if len(values) != len(table.fields):
                msg = (
                    f"{len(values)} values where there are {len(table.fields)} columns"
                )
                raise ValueError(msg)  # noqa: TRY301 - reported like every other fault
            ra = angle_of(values[places["ra"]], "ra", units["ra"])
            dec = angle_of(values[places["dec"]], "dec", units["dec"])
            if "source_id" not in places:
                source_id = position_name(ra, dec)
            known = {safe: _value(values[i], kinds[i]) for i, safe in measured}
            infinite = [c for c, v in known.items() if v in _INFINITE]
            source = Source(
                source_id=checked_id(source_id),
                ra=ra,
                dec=dec,
                survey=text_of(values, places.get("survey")),
                cutout=text_of(values, places.get("cutout")),
                columns=known | dict.fromkeys(infinite),
            )
        except ValueError as exc:
            spill.report(RowProblem(line, source_id, f"line {line}: {exc}"))
            continue
        for column in infinite:
            reason = f"line {line}: {column} is infinite and was left out"
            spill.report(RowProblem(line, source_id, reason))
        spill.add(source, line)
    sources, problems, digest = spill.finish()
    if not len(sources):
        first = next((p.reason for p in problems), "it has no rows")
        msg = f"no row of {path} can be used; {first}"
        raise CatalogueError(msg)
    return Catalogue(name, sources, tuple(columns), problems, digest)


def _kinds(rows: Rows, places: Sequence[int]) -> dict[int, Kind]:
    """What all values of each column are; text when they are not of one kind."""
    found: dict[int, set[_Seen]] = {i: set() for i in places}
    for _, values in rows:
        for i in places:
            # Text it stays, whatever comes.
            if i < len(values) and "text" not in found[i]:
                seen = _seen(values[i])
                if seen is not None:
                    found[i].add(seen)
    return {i: _kind_of(seen) for i, seen in found.items()}


def _kind_of(seen: set[_Seen]) -> Kind:
    """Of a column, by what its cells are."""
    if seen == {"boolean"}:
        return "boolean"
    # Integers with more digits than float64 has are IDs of another catalogue, unless
    # the column has fractions, too.
    ids = "long" in seen and "number" not in seen
    if not seen or ids or seen & {"text", "boolean"}:
        return "text"
    return "number"


def checked_id(source_id: str | None) -> str:
    """An ID that can be one.

    Raises
    ------
    ValueError
        It is missing, too long, or has what cannot be printed.
    """
    if source_id is None:
        msg = "it has no source_id"
        raise ValueError(msg)
    if len(source_id) > MAX_ID_LENGTH:
        msg = f"its source_id has {len(source_id)} characters; at most {MAX_ID_LENGTH}"
        raise ValueError(msg)
    if not source_id.isprintable():
        msg = f"its source_id {source_id!r} has control characters"
        raise ValueError(msg)
    return source_id


@lru_cache(maxsize=64)
def _degrees_of(unit: str) -> float:
    """Degrees of one of a unit; NaN of what is no angle, for no error is kept."""
    known = unit.strip().strip('"').lower()
    if known in _IN_HOURS:
        return _HOUR
    if known in _IN_DEGREES:
        return 1.0
    try:
        return float(u.Unit(unit).to(u.deg))
    except (ValueError, TypeError, u.UnitConversionError):
        return math.nan


# Three numbers as most catalogues write them; a general parser takes a millisecond.
_THREE = re.compile(
    r"([+-]?)(\d{1,3})([:hd ])([0-5]?\d)([:m ])([0-5]?\d(?:\.\d*)?)(s?)"
)

# What stands behind the three.
_BETWEEN = {(":", ":", ""), (" ", " ", ""), ("h", "m", "s"), ("d", "m", "s")}

# Of one hour, as astropy reckons it.
_HOUR = float(u.hourangle.to(u.deg))

# As catalogues write them, and astropy does not read them or takes them for time.
_IN_HOURS = {"h", "hr", "hrs", "hour", "hours", "hms", "h:m:s", "hh:mm:ss"}
_IN_DEGREES = {"deg", "deg.", "degree", "degrees", "dms", "d:m:s", "dd:mm:ss"}


def _sexagesimal(text: str, *, hours: bool) -> float:
    """Degrees of hours or degrees, minutes and seconds."""
    found = _THREE.fullmatch(text)
    between = found and (found[3], found[5], found[7])
    if not found or between not in _BETWEEN or (found[3] == "h" and not hours):
        return float(Angle(text, unit=u.hourangle if hours else u.deg).deg)
    sign, whole, _, minutes, _, seconds, _ = found.groups()
    size = int(whole) + int(minutes) / 60 + float(seconds) / 3600
    return (-size if sign == "-" else size) * (_HOUR if hours else 1.0)


def angle_of(value: Any, word: str, unit: str | None) -> float:
    """ICRS degrees of a cell, by its unit or the way that it is written.

    Raises
    ------
    ValueError
        It is none, or not on the sky.

    Examples
    --------
    >>> round(angle_of("12:00:00", "ra", None), 9)
    180.0
    """
    if value is None or is_empty(str(value).strip()):
        msg = f"{word} is missing"
        raise ValueError(msg)
    try:
        degrees = float(value)
        if unit is not None:
            degrees *= _degrees_of(unit)
    except ValueError:
        hours = word == "ra" and not re.search(r"[d°]", str(value))
        try:
            degrees = _sexagesimal(str(value).strip(), hours=hours)
        except (ValueError, TypeError) as exc:
            msg = f"{word} {_shown(value)} is no angle"
            raise ValueError(msg) from exc
    except TypeError as exc:
        msg = f"{word} {_shown(value)} is no angle in {unit or 'degrees'}"
        raise ValueError(msg) from exc
    if math.isnan(degrees):
        msg = f"{word} {_shown(value)} is no angle in {unit or 'degrees'}"
        raise ValueError(msg)
    low, high = (0, 360) if word == "ra" else (-90, 90)
    if not low <= degrees <= high:
        msg = f"{word} is {degrees:g} degrees; it must be {low} to {high}"
        raise ValueError(msg)
    return degrees % 360 if word == "ra" else degrees


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def text_of(values: Sequence[Any], place: int | None) -> str | None:
    """Text of a cell without blanks at its ends; None where there is none."""
    if place is None or place >= len(values) or values[place] is None:
        return None
    return _clean(str(values[place])) or None


def _clean(text: str) -> str:
    """Without NUL, which PostgreSQL does not take."""
    return text.replace("\0", "").strip()


def is_empty(text: str) -> bool:
    """Whether a cell has no value; C prints NaN with a sign."""
    text = text.lower()
    return text in EMPTY or text.lstrip("+-") == "nan"


def _seen(value: Any) -> _Seen | None:
    if isinstance(value, bool):
        return "boolean"
    text = _clean(str(value)).lower()
    if value is None or is_empty(text):
        return None
    if text in _TRUTH:
        return "boolean"
    if _INTEGER.fullmatch(text):
        # `int` itself refuses thousands of digits.
        return "integer" if abs(float(text)) < _MOST_EXACT else "long"
    try:
        float(text)
    except ValueError:
        return "text"
    # An underscore is no part of a number in a table, though it is in Python.
    return "text" if "_" in text else "number"


def _value(value: Any, kind: Kind) -> Value:
    text = _clean(str(value))
    if value is None or is_empty(text):
        return None
    if kind == "boolean":
        return value if isinstance(value, bool) else _TRUTH[text.lower()]
    if kind == "text":
        return text
    number = float(value)
    if abs(number) < _MOST_EXACT and _INTEGER.fullmatch(text):
        return int(number)
    return number


def _safe_names(fields: Sequence[Field]) -> list[str]:
    """Lower snake case, unique, as filters write them."""
    names: list[str] = []
    for field in fields:
        safe = re.sub(r"\W+", "_", field.name.lower(), flags=re.ASCII).strip("_")
        safe = safe if safe and not safe[0].isdigit() else f"c_{safe}"
        taken = {*names, "source_id", "ra", "dec", "survey"}
        base, number = safe, 2
        while safe in taken:
            safe, number = f"{base}_{number}", number + 1
        names.append(safe)
    return names


def _unit_of(name: str) -> str | None:
    """Unit that the end of a name tells."""
    for ending, unit in (
        ("_arcsec", "arcsec"),
        ("_deg", "deg"),
        ("_mjy", "mJy"),
        ("_jy_beam", "Jy/beam"),
        ("_mjy_beam", "mJy/beam"),
        ("_jy", "Jy"),
    ):
        if name.endswith(ending):
            return unit
    return None
