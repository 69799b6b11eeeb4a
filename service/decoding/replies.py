"""What is believed of a decoder: it may have been taken over by the file it read.

Each answer is checked against what a sound decoder could have said, and nothing of it
is code, a path, or a name of anything but an error of `twinjet.model.errors`.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from twinjet.index.catalogue import MAX_ID_LENGTH
from twinjet.index.errors import (
    CatalogueColumnError,
    CatalogueFormatError,
    InvalidQueryError,
    KnownListError,
    TwinjetIndexError,
)
from twinjet.index.source_tables import MAX_ENTRIES
from twinjet.model import errors as model_errors
from twinjet.model import preprocess
from twinjet.model.errors import AmbiguousImageError, CutoutError
from twinjet.service.decoding.wire import MAX_TEXT, NAMED_AT_A_TIME

_T = TypeVar("_T")

ERRORS: dict[str, type[CutoutError] | type[TwinjetIndexError]] = {
    kind.__name__: kind
    for kind in (
        *(CatalogueFormatError, CatalogueColumnError),
        *(InvalidQueryError, KnownListError),
    )
}
ERRORS |= {
    name: kind
    for name, kind in vars(model_errors).items()
    if isinstance(kind, type) and issubclass(kind, CutoutError)
}
"""By name, those that a decoder may raise."""

Named = tuple[int, str | None, float | None, float | None, str | None]
"""Row, ID, ICRS degrees and fault of a source that a table names, as in `Asked`."""


class UnbelievableReplyError(Exception):
    """No sound decoder says this."""


@dataclass(frozen=True)
class Decoded:
    """What is kept of an uploaded cutout, whose pixels may be 64 MiB."""

    prepared: preprocess.Prepared
    position: tuple[float, float] | None
    """RA and Dec of the centre of the image, ICRS degrees; None without a WCS."""
    has_scale: bool
    """Whether the size of a pixel on the sky is known."""
    notes: tuple[str, ...]
    """Of how the file was read."""
    spent_ms: float
    """For reading, decoding and preparing it."""


def _printable(text: str) -> str:
    if not text.isprintable():
        msg = "control characters"
        raise ValueError(msg)
    return text


def _known(name: str) -> str:
    if name not in ERRORS:
        msg = "no error of a file"
        raise ValueError(msg)
    return name


_Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_printable)]
_Notes = Annotated[list[_Text], Field(max_length=100)]
_Number = Annotated[int | float, Field(allow_inf_nan=False)]
_RA = Annotated[float, Field(ge=0, le=360)]
_Dec = Annotated[float, Field(ge=-90, le=90)]
_ID = Annotated[str, Field(max_length=MAX_ID_LENGTH)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Ready(_Said):
    """A decoder that has started."""

    kind: Literal["ready"]
    filtered: bool
    """Whether its system calls are filtered."""


class Prepared(_Said):
    """A file that was decoded; the image follows."""

    kind: Literal["prepared"]
    side: int
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    peak_snr: Annotated[float, Field(allow_inf_nan=False)] | None
    """None: infinite."""
    position: tuple[_RA, _Dec] | None
    has_scale: bool
    notes: _Notes
    preparation_notes: _Notes

    def decoded(self, data: bytes, *, side: int, spent_ms: float) -> Decoded:
        """With its image, (side, side) float32.

        Raises
        ------
        UnbelievableReplyError
            The image is of another shape, or not within 0 and 1.
        """
        if self.side != side or len(data) != 4 * side**2:
            msg = f"{len(data)} bytes for an image of {self.side} x {self.side}"
            raise UnbelievableReplyError(msg)
        image = np.frombuffer(data, np.float32).reshape(side, side)
        if not ((image >= 0) & (image <= 1)).all():  # nor is NaN
            msg = "values of the image are not within 0 and 1"
            raise UnbelievableReplyError(msg)
        prepared = preprocess.Prepared(
            image=image,
            noise=self.noise,
            peak_snr=math.inf if self.peak_snr is None else self.peak_snr,
            notes=tuple(self.preparation_notes),
        )
        return Decoded(
            prepared=prepared,
            position=self.position,
            has_scale=self.has_scale,
            notes=tuple(self.notes),
            spent_ms=spent_ms,
        )


class Listed(_Said):
    """A table that was read; its rows follow."""

    kind: Literal["listed"]
    count: Annotated[int, Field(ge=0, le=MAX_ENTRIES)]

    def named(self, data: bytes) -> list[Named]:
        """The rows, of which each line of the bytes has some as JSON.

        Raises
        ------
        UnbelievableReplyError
            They are others, more or fewer than was said.
        """
        found: list[Named] = []
        for line in data.splitlines():
            rows: list[Named] = checked(_NAMED, line)
            found += rows
            if len(found) > self.count:
                break
        if len(found) != self.count:
            msg = f"a list of other than {self.count} rows"
            raise UnbelievableReplyError(msg)
        return found


class Refused(_Said):
    """A file that is of no use."""

    kind: Literal["refused"]
    error: Annotated[str, AfterValidator(_known)]
    message: _Text
    parameter: _Text | None
    limit: _Number | _Text | None
    actual: _Number | _Text | None
    candidates: _Notes | None

    def as_error(self) -> CutoutError | TwinjetIndexError:
        """The error that was raised there."""
        kind = ERRORS[self.error]
        if issubclass(kind, AmbiguousImageError):
            return kind(self.message, candidates=self.candidates or [])
        error = kind(self.message, limit=self.limit, actual=self.actual)
        error.parameter = self.parameter
        return error


class Failed(_Said):
    """A file on which the decoder came to grief."""

    kind: Literal["failed"]
    cause: _Text
    at: _Text


Reply = Prepared | Listed | Refused | Failed

REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
READY: TypeAdapter[Ready] = TypeAdapter(Ready)
_Row = tuple[
    Annotated[int, Field(ge=0)], _ID | None, _RA | None, _Dec | None, _Text | None
]
_NAMED: TypeAdapter[list[Named]] = TypeAdapter(
    Annotated[list[_Row], Field(max_length=NAMED_AT_A_TIME)],
    config=ConfigDict(strict=True, allow_inf_nan=False),
)


def checked(reply: TypeAdapter[_T], head: bytes) -> _T:
    """The head of a message of a decoder.

    Raises
    ------
    UnbelievableReplyError
        It is no JSON, or not what a sound decoder says.
    """
    try:
        return reply.validate_json(head)
    except ValidationError as exc:
        # Without what it was: that is a stranger's.
        first = exc.errors(include_input=False, include_url=False)[0]
        raise UnbelievableReplyError(first["type"]) from None
