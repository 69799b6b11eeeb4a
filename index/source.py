"""What is known of a catalogued source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from twinjet.index.errors import CutoutUnavailableError

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """A measured column of a catalogue."""

    name: str
    """Lower snake case, as filters write it."""
    unit: str | None = None
    """As the catalogue writes it."""
    kind: Literal["number", "text", "boolean"] = "number"
    """What its values are."""
    description: str | None = None
    """In words, when the catalogue has it."""
    ucd: str | None = None
    """Unified content descriptor, when the catalogue has it."""


@dataclass(frozen=True)
class Source:
    """A catalogued object."""

    source_id: str
    """A key; never a coordinate, whatever it looks like."""
    ra: float
    """ICRS degrees, 0 to 360."""
    dec: float
    """ICRS degrees, -90 to 90."""
    survey: str | None = None
    """Survey or facility of the pixels."""
    cutout: str | None = None
    """Name of its pixels within the provider."""
    columns: Mapping[str, Value] = field(default_factory=dict)
    """Measured columns; None where a value is missing."""


@dataclass(frozen=True)
class RowProblem:
    """A row or a cutout that cannot be used."""

    line: int | None
    """Line of a CSV, or row from 1; None for what is no row."""
    source_id: str | None
    reason: str


def cutout_name(source: Source) -> str:
    """Name of a source's pixels within the provider.

    Raises
    ------
    CutoutUnavailableError
        The catalogue names none.
    """
    if source.cutout is None:
        msg = f"{source.source_id} has no cutout: the catalogue names none for it"
        raise CutoutUnavailableError(msg, actual=source.source_id)
    return source.cutout
