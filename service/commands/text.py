"""What commands print: names and reasons come from files and from other machines."""

import json
import sys
from typing import Any, Protocol

import click


class Written(Protocol):
    """What a writer of CSV needs of a file."""

    def write(self, text: str, /) -> Any:
        """Add a text."""


def printable(text: str) -> str:
    r"""A text on which no terminal acts: what cannot be printed is written out.

    Examples
    --------
    >>> print(printable("\x1b]0;title\x07 NGC\u202e 383"))
    \x1b]0;title\x07 NGC\u202e 383
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
        for c in text
    )


def say(text: str, *, err: bool = False) -> None:
    """Print a line for people."""
    click.echo(printable(text), err=err)


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print a value as JSON, in ASCII: on a line, or indented."""
    text = json.dumps(value, indent=indent, default=str)
    click.echo(text)


def print_bytes(data: bytes) -> None:
    """Print a file, to the last byte."""
    click.echo(data, nl=False)


def stdout() -> Written:
    """Where tables of text go: into a file as they are, to a terminal printable."""
    return _Shown() if sys.stdout.isatty() else sys.stdout


class _Shown:
    def write(self, text: str) -> None:
        # A writer of CSV ends its lines with both.
        sys.stdout.write(printable(text.replace("\r\n", "\n")))
