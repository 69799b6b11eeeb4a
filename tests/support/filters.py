"""Random filters, and what they mean by SQL's logic of three values, without SQL."""

import operator as op
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from twinjet.index.source import Column, Source

COLUMNS = (
    Column("size", "arcsec"),
    Column("z"),
    Column("fr", kind="text"),
    Column("host", kind="text"),
    Column("bent", kind="boolean"),
    Column("wide", kind="boolean"),
    Column("in"),
)

WORDS = [
    *("FRI", "FRII", "fri", "FrII", "", "a", "A", "ab", "aB", "a%b", "a_b", "a*b"),
    *("a[b", "a]b", "a?b", "a\\b", "É", "é", "Éa", "zz", "Z", "O'Brien", '"', "-", " "),
]
NUMBERS = [0.0, 1.0, -1.0, 0.1, 0.3, 0.1 + 0.2, 1e-300, 1e300, 30.0, 2.0**53, 7.5]


def some_sources() -> list[Source]:
    """Values that databases are known to differ about, many of them missing."""
    return [
        Source(
            f"J{number:04d}",
            number % 360 + 0.25,
            number % 180 - 90 + 0.5,
            None if number % 5 == 0 else "FIRST",
            columns={
                "size": None if number % 7 == 0 else NUMBERS[number % len(NUMBERS)],
                "z": None if number % 3 == 0 else NUMBERS[number % 4],
                "fr": None if number % 13 == 0 else WORDS[number % len(WORDS)],
                "host": None if number % 4 == 0 else WORDS[number // 3 % len(WORDS)],
                "bent": None if number % 11 == 0 else number % 2 == 0,
                "wide": None if number % 6 == 0 else number % 5 == 0,
                "in": number,
            },
        )
        for number in range(300)
    ]


SOURCES = some_sources()
VALUES = [
    {"source_id": s.source_id, "ra": s.ra, "dec": s.dec, "survey": s.survey}
    | dict(s.columns)
    for s in SOURCES
]


# Filters as trees: each is written as text and, with no SQL, held to be true (True),
# false (False) or unknown (None) of a source.
Tree = tuple[Any, ...]

NAMES = {
    "number": ["size", "z", "ra", "dec", "`in`"],
    "text": ["fr", "host", "survey", "source_id"],
    "boolean": ["bent", "wide"],
}
KINDS = {name: kind for kind, names in NAMES.items() for name in names}
LITERALS = {
    "number": st.sampled_from(NUMBERS) | st.floats(-400, 400),
    "text": st.sampled_from(WORDS)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
    "boolean": st.booleans(),
}
# A pattern ends in \ only where that stands for itself.
PATTERNS = st.lists(
    st.sampled_from(["%", "_", r"\%", r"\_", r"\\", "*", "[", "]", "?", *"aAbFRIÉé'"]),
    max_size=6,
).map("".join)
ORDERS = ["<", "<=", ">", ">="]
EQUALS = ["=", "==", "!=", "<>"]
_OPERATORS = {
    "=": op.eq,
    "==": op.eq,
    "!=": op.ne,
    "<>": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}


@st.composite
def terms(draw: st.DrawFn) -> Tree:  # noqa: PLR0911 - one for each form
    name = draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[name]
    forms = ["null", "in", "compared", "flipped", "columns"]
    forms += {"number": ["between"], "text": ["between", "like", "ilike"]}.get(
        kind, ["flag", "is"]
    )
    form = draw(st.sampled_from(forms))
    negated = draw(st.booleans())
    literal = LITERALS[kind]
    operator = draw(st.sampled_from(EQUALS + (ORDERS if kind != "boolean" else [])))
    match form:
        case "null" | "flag":
            return form, name, negated
        case "in":
            return form, name, negated, draw(st.lists(literal, min_size=1, max_size=4))
        case "compared" | "flipped":
            return form, name, operator, draw(literal)
        case "columns":
            return form, name, operator, draw(st.sampled_from(NAMES[kind]))
        case "between":
            return form, name, negated, draw(literal), draw(literal)
        case "is":
            return form, name, negated, draw(literal)
        case _:
            return form, name, negated, draw(PATTERNS)


FILTERS = st.recursive(
    terms(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=6,
)


def quoted(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def written(tree: Tree) -> str:
    """The text of a filter."""
    match tree:
        case ("not", inner):
            return f"not ({written(inner)})"
        case (("and" | "or") as word, left, right):
            return f"({written(left)}) {word.upper()} ({written(right)})"
        case (("compared" | "columns") as form, name, operator, other):
            return f"{name}{operator}{other if form == 'columns' else quoted(other)}"
        case ("flipped", name, operator, value):
            return f"{quoted(value)} {operator} {name}"
        case (form, name, negated, *values):
            return _of_form(form, name, "not " if negated else "", values)
        case _:
            raise AssertionError(tree)


def _of_form(form: str, name: str, negation: str, values: Sequence[Any]) -> str:
    match form:
        case "flag":
            return f"{negation}{name}"
        case "null":
            return f"{name} is {negation}null"
        case "is":
            return f"{name} is {negation}{quoted(values[0])}"
        case "in":
            return f"{name} {negation}in ({', '.join(map(quoted, values[0]))})"
        case "between":
            low, high = map(quoted, values)
            return f"{name} {negation}between {low} and {high}"
        case _:
            return f"{name} {negation}{form} {quoted(values[0])}"


def held(tree: Tree, values: Mapping[str, Any]) -> bool | None:
    """Whether a filter holds of a source: true, false or unknown."""
    match tree:
        case ("not", inner):
            truth = held(inner, values)
            return None if truth is None else not truth
        case (("and" | "or") as word, left, right):
            both = held(left, values), held(right, values)
            decides = word == "or"  # one of them alone
            return decides if decides in both else None if None in both else not decides
        case _:
            return _of_column(tree, values)


def _of_column(tree: Tree, values: Mapping[str, Any]) -> bool | None:
    form, name, *rest = tree
    value = values[name.strip("`")]
    match form:
        case "null":
            return bool((value is None) != rest[0])
        case "is":
            return bool((value is rest[1]) != rest[0])
        case "columns":
            return _compared(rest[0], value, values[rest[1].strip("`")])
        case "compared":
            return _compared(rest[0], value, rest[1])
        case "flipped":
            return _compared(rest[0], rest[1], value)
        case _:
            return None if value is None else _found(form, value, rest[1:]) != rest[0]


def _found(form: str, value: Any, wanted: Sequence[Any]) -> bool:
    match form:
        case "flag":
            return bool(value)
        case "in":
            return value in wanted[0]
        case "between":
            return bool(wanted[0] <= value <= wanted[1])
        case _:
            return _alike(value, wanted[0], fold=form == "ilike")


def _compared(operator: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return bool(_OPERATORS[operator](left, right))


def _alike(value: str, pattern: str, *, fold: bool) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(p, re.escape(p[-1])) for p in parts)
    if fold:
        value, expression = _lower(value), _lower(expression)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)
