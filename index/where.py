"""Filters on columns: a small grammar, parsed once into SQL.

::

    angular_size_arcsec > 30 and (fr_class = 'FRII' or redshift is not null)

Comparisons ``= != < <= > >=`` of a column with a value or another column, ``in
(...)``, ``between a and b``, ``like 'x%'`` (``ilike`` whatever the case), each also
after ``not``; ``is [not] null``, ``is [not] true``; ``and``, ``or``, ``not`` and
parentheses. A column of true and false stands for itself. Null is SQL's: a comparison
with a missing value holds for nobody, nor does its contrary.

Values become bound parameters, columns are looked up by name, so that no text reaches
the database as SQL; and a filter means the same in SQLite and in PostgreSQL.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lark import Token, Transformer, v_args
from lark.exceptions import VisitError
from sqlalchemy import ColumnElement, and_, not_, or_

from twinjet.index.errors import FilterError
from twinjet.index.schema import SourceRow
from twinjet.index.source import Column
from twinjet.index.where_grammar import parse
from twinjet.index.where_sql import bytewise, check_pattern, ilike, like

_FIXED = {
    "source_id": (SourceRow.source_id, "text"),
    "survey": (SourceRow.survey, "text"),
    "ra": (SourceRow.ra, "number"),
    "dec": (SourceRow.dec, "number"),
}

_OPERATORS = ("=", "<", ">", "≤", "≥", "≠")

# Column names that an error lists.
_SHOWN = 100


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
    tree = parse(text)
    try:
        expression: ColumnElement[bool] = _ToSql(text, columns).transform(tree)
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
    key = name.strip("`").lower()
    if key in _FIXED:
        return _FIXED[key]
    kinds: dict[str, str] = {column.name: column.kind for column in columns}
    if key not in kinds:
        names = [*_FIXED, *kinds]
        near = difflib.get_close_matches(key[:100], names, n=3)
        shown = near or sorted(names)[:20]
        msg = f"no column {name[:100]!r}; near ones: {', '.join(shown)}"
        raise FilterError(msg, columns=names[:_SHOWN], nearest=near)
    value = SourceRow.columns[key]
    if kinds[key] == "number":
        return value.as_float(), "number"
    if kinds[key] == "boolean":
        return value.as_boolean(), "boolean"
    return value.as_string(), "text"


@dataclass(frozen=True)
class _Operand:
    """A column or a value, and where it stands."""

    value: Any
    kind: str
    token: Token
    is_column: bool = False

    @property
    def ordered(self) -> Any:
        """Of which less and more mean the same everywhere."""
        text = self.is_column and self.kind == "text"
        return bytewise(self.value) if text else self.value


@v_args(inline=True)
class _ToSql(Transformer[Token, ColumnElement[bool]]):
    """Tree to expression, from the leaves up."""

    def __init__(self, text: str, columns: Sequence[Column]) -> None:
        super().__init__()
        self._text = text
        self._columns = columns

    def number(self, token: Token) -> _Operand:
        value = float(token.replace("−", "-"))  # noqa: RUF001 - as it was typed
        if value in (float("inf"), float("-inf")):
            msg = f"{token[:30]} is too large for a number"
            raise FilterError(
                msg, position=token.start_pos, limit="1.8e308", actual=token[:30]
            )
        return _Operand(value, "number", token)

    def text(self, token: Token) -> _Operand:
        quote = token[0]
        return _Operand(token[1:-1].replace(quote * 2, quote), "text", token)

    def true(self, token: Token) -> _Operand:
        return _Operand(value=True, kind="boolean", token=token)

    def false(self, token: Token) -> _Operand:
        return _Operand(value=False, kind="boolean", token=token)

    def column(self, name: Token) -> _Operand:
        try:
            value, kind = column_expression(str(name), self._columns)
        except FilterError as exc:
            place = name.start_pos or 0
            text = self._text[:place].rstrip().endswith(_OPERATORS)
            hint = f"; text stands in quotes: '{name[:100]}'" if text else ""
            msg = f"{exc}{hint}"
            raise FilterError(
                msg, position=place, columns=exc.columns, nearest=exc.nearest
            ) from None
        return _Operand(value, kind, name, is_column=True)

    def compared(self, left: Any, operator: Token, right: Any) -> Any:
        if not left.is_column and not right.is_column:
            msg = "two values are compared; one side must be a column"
            raise FilterError(msg, position=left.token.start_pos)
        self._same_kind(left, right)
        match str(operator):
            case "=" | "==":
                return left.value == right.value
            case "!=" | "<>" | "≠":
                return left.value != right.value
            case _ if left.kind == "boolean":
                msg = f"{operator} does not order true and false; use ="
                raise FilterError(msg, position=operator.start_pos)
            case "<":
                return left.ordered < right.ordered
            case "<=" | "≤":
                return left.ordered <= right.ordered
            case ">":
                return left.ordered > right.ordered
            case _:
                return left.ordered >= right.ordered

    def flag(self, name: Token) -> Any:
        column = self.column(name)
        if column.kind != "boolean":
            msg = f"{name} is a {column.kind}: it must be compared with something"
            raise FilterError(msg, position=name.start_pos)
        return column.value == True  # noqa: E712 - SQL

    def absent(self, name: Token, *_: Token) -> Any:
        return self.column(name).value.is_(None)

    def present(self, name: Token, *_: Token) -> Any:
        return self.column(name).value.is_not(None)

    def certain(self, name: Token, _is: Token, truth: _Operand) -> Any:
        column = self.column(name)
        self._same_kind(column, truth)
        return column.value.is_(truth.value)

    def uncertain(self, name: Token, _is: Token, _not: Token, truth: _Operand) -> Any:
        column = self.column(name)
        self._same_kind(column, truth)
        return column.value.is_not(truth.value)

    def within(self, name: Token, *parts: Any) -> Any:
        column = self.column(name)
        literals = [part for part in parts if isinstance(part, _Operand)]
        for literal in literals:
            self._same_kind(column, literal)
        return column.value.in_([literal.value for literal in literals])

    def without(self, name: Token, *parts: Any) -> Any:
        return not_(self.within(name, *parts))

    def between(self, name: Token, *parts: Any) -> Any:
        column = self.column(name)
        low, high = (part for part in parts if isinstance(part, _Operand))
        self._same_kind(column, low)
        self._same_kind(column, high)
        if column.kind == "boolean":
            msg = "between does not order true and false; use ="
            raise FilterError(msg, position=name.start_pos)
        return column.ordered.between(low.value, high.value)

    def beyond(self, name: Token, *parts: Any) -> Any:
        return not_(self.between(name, *parts))

    def like(self, name: Token, *parts: Token) -> Any:
        column, pattern = self._pattern(name, parts[-1])
        return like(column, pattern)

    def unlike(self, name: Token, *parts: Token) -> Any:
        return not_(self.like(name, *parts))

    def ilike(self, name: Token, *parts: Token) -> Any:
        column, pattern = self._pattern(name, parts[-1])
        return ilike(column, pattern)

    def unilike(self, name: Token, *parts: Token) -> Any:
        return not_(self.ilike(name, *parts))

    def negated(self, _not: Token, inner: Any) -> Any:
        return not_(inner)

    def both(self, *parts: Any) -> Any:
        return and_(*(part for part in parts if not isinstance(part, Token)))

    def either(self, *parts: Any) -> Any:
        return or_(*(part for part in parts if not isinstance(part, Token)))

    def _pattern(self, name: Token, text: Token) -> tuple[Any, str]:
        column = self.column(name)
        if column.kind != "text":
            msg = f"like is for text; {name} is a {column.kind}"
            raise FilterError(msg, position=name.start_pos)
        pattern: str = self.text(text).value
        check_pattern(pattern, text.start_pos or 0)
        return column.value, pattern

    def _same_kind(self, left: _Operand, right: _Operand) -> None:
        if left.kind == right.kind:
            return
        column, other = (left, right) if left.is_column else (right, left)
        msg = (
            f"{column.token} is a {column.kind} and cannot be compared with a "
            f"{other.kind}"
        )
        if not other.is_column and column.kind == "text":
            msg += "; text stands in quotes"
        if not other.is_column and other.kind == "text":
            msg += "; write it without quotes"
        raise FilterError(msg, position=other.token.start_pos)
