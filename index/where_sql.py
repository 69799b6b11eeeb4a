"""Comparisons of text that mean the same in SQLite and PostgreSQL.

By themselves they do not: SQLite's ``LIKE`` takes ``a`` for ``A``, PostgreSQL's does
not; and PostgreSQL orders text by the language of its server.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from twinjet.index.errors import FilterError

# In characters.
MAX_PATTERN = 200

# Each % is tried at every character of a value.
MAX_WILDCARDS = 8

_ESCAPE = "\\"


def bytewise(column: Any) -> sa.ColumnElement[str]:
    """A text column whose order is that of its characters' code points."""
    return _Bytewise(column)


def like(column: Any, pattern: str) -> sa.ColumnElement[bool]:
    """Whether text is of a form, case and all.

    Parameters
    ----------
    column
        Text.
    pattern
        As `check_pattern` lets it through.
    """
    return _Like(column, sa.literal(pattern), sa.literal(_glob(pattern)))


def ilike(column: Any, pattern: str) -> sa.ColumnElement[bool]:
    """The same, but the letters A to Z are those in lower case, too."""
    lowered = "".join(c.lower() if c.isascii() else c for c in pattern)
    # Bytewise: for no other letter do both databases agree which are the lower ones.
    return sa.func.lower(bytewise(column)).like(lowered, escape=_ESCAPE)


def check_pattern(pattern: str, position: int) -> None:
    r"""Refuse a pattern that is too dear, or that ends within a ``\``.

    Raises
    ------
    FilterError
        At the position of the pattern.
    """
    if len(pattern) > MAX_PATTERN:
        msg = f"the pattern has {len(pattern)} characters; at most {MAX_PATTERN}"
        raise FilterError(
            msg, position=position, limit=MAX_PATTERN, actual=len(pattern)
        )
    parts = _parts(pattern)
    wildcards = sum(1 for letter, literal in parts if letter == "%" and not literal)
    if wildcards > MAX_WILDCARDS:
        msg = f"the pattern has {wildcards} times %; at most {MAX_WILDCARDS}"
        raise FilterError(msg, position=position, limit=MAX_WILDCARDS, actual=wildcards)
    if parts and parts[-1] == ("", True):
        msg = r"the pattern ends in \, which makes a % or _ after it an ordinary letter"
        raise FilterError(msg, position=position)


def _parts(pattern: str) -> list[tuple[str, bool]]:
    r"""Characters, and whether each stands for itself after a ``\``."""
    rest = iter(pattern)
    return [
        (next(rest, ""), True) if letter == _ESCAPE else (letter, False)
        for letter in rest
    ]


def _glob(pattern: str) -> str:
    r"""The same as SQLite's GLOB has it, which tells ``a`` from ``A``.

    Examples
    --------
    >>> _glob(r"J1%\%_[x")
    'J1*%?[[]x'
    """
    wild = {"%": "*", "_": "?"}
    return "".join(
        wild[letter]
        if letter in wild and not literal
        else f"[{letter}]"
        if letter in "*?[" and letter
        else letter
        for letter, literal in _parts(pattern)
    )


class _Bytewise(FunctionElement[str]):
    """Text in the order of its code points."""

    name = "bytewise"
    type = sa.Text()
    inherit_cache = True


@compiles(_Bytewise)
def _(element: _Bytewise, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


@compiles(_Bytewise, "postgresql")
def _(element: _Bytewise, compiler: Any, **kw: Any) -> str:
    return f'({compiler.process(element.clauses, **kw)} COLLATE "C")'


class _Like(FunctionElement[bool]):
    """Column, pattern, and the pattern as GLOB has it."""

    name = "like_with_case"
    type = sa.Boolean()
    inherit_cache = True


@compiles(_Like)
def _(element: _Like, compiler: Any, **kw: Any) -> str:
    column, pattern, _glob_pattern = element.clauses
    left, right = compiler.process(column, **kw), compiler.process(pattern, **kw)
    return f"({left} LIKE {right} ESCAPE '{_ESCAPE}')"


@compiles(_Like, "sqlite")
def _(element: _Like, compiler: Any, **kw: Any) -> str:
    column, _pattern, glob_pattern = element.clauses
    left, right = compiler.process(column, **kw), compiler.process(glob_pattern, **kw)
    return f"({left} GLOB {right})"
