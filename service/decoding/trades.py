"""What the decoders of a pool are for: cutouts, or tables that name sources."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twinjet.service.decoding.replies import (
    Decoded,
    Listed,
    Named,
    Prepared,
    UnbelievableReplyError,
)
from twinjet.service.decoding.sandbox import IMAGE, TABLE, Allowance

T = TypeVar("T")


@dataclass(frozen=True)
class Trade(Generic[T]):
    """A program, what it may take, and what is made of its answers."""

    program: Sequence[str]
    allowance: Allowance
    """The same that the program keeps to."""
    believed: Callable[[Mapping[str, Any], Prepared | Listed, bytes, float], T]
    """Of a task, what was said of its file, the bytes behind that, and the
    milliseconds that it took; raises UnbelievableReplyError."""


def _image(
    task: Mapping[str, Any], reply: Prepared | Listed, data: bytes, spent_ms: float
) -> Decoded:
    if not isinstance(reply, Prepared):
        msg = "a list for an image"
        raise UnbelievableReplyError(msg)
    return reply.decoded(data, side=task["recipe"]["size_px"], spent_ms=spent_ms)


def _named(
    _task: Mapping[str, Any], reply: Prepared | Listed, data: bytes, _spent_ms: float
) -> list[Named]:
    if not isinstance(reply, Listed):
        msg = "an image for a list"
        raise UnbelievableReplyError(msg)
    return reply.named(data)


def _program(module: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", f"twinjet.service.decoding.{module}")


IMAGES = Trade(_program("images"), IMAGE, _image)
TABLES = Trade(_program("tables"), TABLE, _named)
