"""Filters on columns: a small grammar, parsed once into SQL.

::

    angular_size_arcsec > 30 and (fr_class = 'FRII' or redshift is not null)

Comparisons ``= != < <= > >=``, ``in (...)``, ``between a and b``, ``like '%x%'``
and ``is [not] null``; ``and``, ``or``, ``not`` and parentheses. Null is SQL's: a
comparison with a missing value holds for nobody. Values become bound parameters,
columns are looked up by name, so that no text reaches the database as SQL.
"""

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, VisitError
from sqlalchemy import ColumnElement, and_, not_, or_

from twinjet.index.errors import FilterError
from twinjet.index.schema import SourceRow
from twinjet.index.source import Column

MAX_LENGTH = 2000
MAX_TERMS = 64
MAX_DEPTH = 16

_GRAMMAR = r"""
?start: either
?either: both ("or"i both)*
?both: negation ("and"i negation)*
?negation: "not"i negation -> negated | "(" either ")" | test
?test: NAME OPERATOR literal -> compared
     | NAME "is"i "null"i -> absent
     | NAME "is"i "not"i "null"i -> present
     | NAME "in"i "(" literal ("," literal)* ")" -> within
     | NAME "not"i "in"i "(" literal ("," literal)* ")" -> without
     | NAME "between"i literal "and"i literal -> between
     | NAME "like"i TEXT -> like
literal: NUMBER -> number | TEXT -> text | TRUE -> true | FALSE -> false
TRUE.3: /true\b/i
FALSE.3: /false\b/i
OPERATOR: "<=" | ">=" | "!=" | "<>" | "==" | "=" | "<" | ">"
NAME: /(?!(and|or|not|in|is|null|between|like|true|false)\b)[a-z_][a-z0-9_]*/i
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?/i
TEXT: /'([^']|'')*'/ | /"([^"]|"")*"/
%ignore /\s+/
"""

_FIXED = {
    "source_id": (SourceRow.source_id, "text"),
    "survey": (SourceRow.survey, "text"),
    "ra": (SourceRow.ra, "number"),
    "dec": (SourceRow.dec, "number"),
}


def parse_where(text: str, columns: Sequence[Column]) -> ColumnElement[bool]:
    """Parse a filter into an expression over `SourceRow`.

    Parameters
    ----------
    text
        The filter.
    columns
        Measured columns that the generation has.

    Raises
    ------
    FilterError
        It cannot be understood, names an unknown column, compares text with a
        number, or is longer, deeper or wider than a person would write.
    """
    if len(text) > MAX_LENGTH:
        msg = f"the filter has {len(text)} characters; at most {MAX_LENGTH}"
        raise FilterError(msg, position=MAX_LENGTH)
    _check_depth(text)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as exc:
        position = getattr(exc, "pos_in_stream", None) or 0
        # The parser meets the end of the text as a token of its own.
        if getattr(getattr(exc, "token", None), "type", "") == "$END":
            position = len(text)
        if position < 0 or position >= len(text):
            msg = "the filter ends too early, or is empty"
            raise FilterError(msg, position=len(text)) from exc
        msg = f"the filter cannot be read from {text[position : position + 20]!r} on"
        raise FilterError(msg, position=position) from exc
    terms = len(list(tree.scan_values(lambda leaf: isinstance(leaf, Token))))
    if terms > 3 * MAX_TERMS:
        msg = f"the filter has more than {MAX_TERMS} terms"
        raise FilterError(msg, position=0)
    try:
        expression: ColumnElement[bool] = _ToSql(columns).transform(tree)
    except VisitError as exc:
        if isinstance(exc.orig_exc, FilterError):
            raise exc.orig_exc from None
        raise
    return expression


def column_expression(name: str, columns: Sequence[Column]) -> tuple[Any, str]:
    """SQL of a column and its kind.

    Raises
    ------
    FilterError
        The generation has no such column; the message names the nearest.
    """
    key = name.lower()
    if key in _FIXED:
        return _FIXED[key]
    kinds: dict[str, str] = {column.name: column.kind for column in columns}
    if key not in kinds:
        names = [*_FIXED, *kinds]
        near = difflib.get_close_matches(key, names, n=3) or sorted(names)[:20]
        msg = f"no column {name!r}; near ones: {', '.join(near)}"
        raise FilterError(msg)
    value = SourceRow.columns[key]
    if kinds[key] == "number":
        return value.as_float(), "number"
    if kinds[key] == "boolean":
        return value.as_boolean(), "boolean"
    return value.as_string(), "text"


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


def _check_depth(text: str) -> None:
    """Refuse nesting before the parser meets it."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth > MAX_DEPTH:
            msg = f"the filter nests deeper than {MAX_DEPTH} parentheses"
            raise FilterError(msg, position=position)


@v_args(inline=True)
class _ToSql(Transformer[Token, ColumnElement[bool]]):
    """Tree to expression, from the leaves up."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self._columns = columns

    def number(self, token: Token) -> tuple[float, str, int]:
        value = float(token)
        if value in (float("inf"), float("-inf")):
            msg = f"{token} is too large for a number"
            raise FilterError(msg, position=token.start_pos)
        return value, "number", token.start_pos or 0

    def text(self, token: Token) -> tuple[str, str, int]:
        quote = token[0]
        return token[1:-1].replace(quote * 2, quote), "text", token.start_pos or 0

    def true(self, token: Token) -> tuple[bool, str, int]:
        return True, "boolean", token.start_pos or 0

    def false(self, token: Token) -> tuple[bool, str, int]:
        return False, "boolean", token.start_pos or 0

    def compared(self, name: Token, operator: Token, literal: Any) -> Any:
        column = self._comparable(name, literal)
        value = literal[0]
        match str(operator):
            case "=" | "==":
                return column == value
            case "!=" | "<>":
                return column != value
            case _ if literal[1] == "boolean":
                msg = f"{operator} does not order true and false; use ="
                raise FilterError(msg, position=operator.start_pos)
            case "<":
                return column < value
            case "<=":
                return column <= value
            case ">":
                return column > value
            case _:
                return column >= value

    def absent(self, name: Token) -> Any:
        return self._column(name)[0].is_(None)

    def present(self, name: Token) -> Any:
        return self._column(name)[0].is_not(None)

    def within(self, name: Token, *literals: Any) -> Any:
        columns = [self._comparable(name, literal) for literal in literals]
        return columns[0].in_([literal[0] for literal in literals])

    def without(self, name: Token, *literals: Any) -> Any:
        return not_(self.within(name, *literals))

    def between(self, name: Token, low: Any, high: Any) -> Any:
        column = self._comparable(name, low)
        self._comparable(name, high)
        return column.between(low[0], high[0])

    def like(self, name: Token, pattern: Token) -> Any:
        column, kind = self._column(name)
        if kind != "text":
            msg = f"like is for text; {name} is a {kind}"
            raise FilterError(msg, position=name.start_pos)
        return column.like(self.text(pattern)[0], escape="\\")

    def negated(self, inner: Any) -> Any:
        return not_(inner)

    def both(self, *parts: Any) -> Any:
        return and_(*parts)

    def either(self, *parts: Any) -> Any:
        return or_(*parts)

    def _column(self, name: Token) -> tuple[Any, str]:
        try:
            return column_expression(str(name), self._columns)
        except FilterError as exc:
            raise FilterError(str(exc), position=name.start_pos) from None

    def _comparable(self, name: Token, literal: Any) -> Any:
        """The column, if it holds what the literal is."""
        column, kind = self._column(name)
        if kind != literal[1]:
            msg = f"{name} is a {kind} and cannot be compared with a {literal[1]}"
            raise FilterError(msg, position=literal[2])
        return column
