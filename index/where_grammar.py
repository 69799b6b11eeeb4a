"""The grammar of filters, and what is said of a text that does not keep to it."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from twinjet.index.errors import FilterError

# A thousand IDs in a list, and below what HTTP servers take as an address.
MAX_LENGTH = 20_000

# More than a person writes; each is evaluated for every source.
MAX_TERMS = 64

# Parentheses and nots within one another: the database nests as deep.
MAX_DEPTH = 16

MAX_LIST = 1000

_GRAMMAR = r"""
?start: either
?either: both (OR both)*
?both: negation (AND negation)*
?negation: NOT negation -> negated | test
?test: "(" either ")"
     | operand OPERATOR operand -> compared
     | NAME -> flag
     | NAME IS NULL -> absent
     | NAME IS NOT NULL -> present
     | NAME IS truth -> certain
     | NAME IS NOT truth -> uncertain
     | NAME IN "(" literal ("," literal)* ")" -> within
     | NAME NOT IN "(" literal ("," literal)* ")" -> without
     | NAME BETWEEN literal AND literal -> between
     | NAME NOT BETWEEN literal AND literal -> beyond
     | NAME LIKE TEXT -> like
     | NAME NOT LIKE TEXT -> unlike
     | NAME ILIKE TEXT -> ilike
     | NAME NOT ILIKE TEXT -> unilike
?operand: NAME -> column | literal
?literal: NUMBER -> number | TEXT -> text | truth
?truth: TRUE -> true | FALSE -> false
AND.2: /and\b/i
OR.2: /or\b/i
NOT.2: /not\b/i
IS.2: /is\b/i
IN.2: /in\b/i
NULL.2: /null\b/i
BETWEEN.2: /between\b/i
LIKE.2: /like\b/i
ILIKE.2: /ilike\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
OPERATOR: "<=" | ">=" | "!=" | "<>" | "==" | "=" | "<" | ">" | "≤" | "≥" | "≠"
NAME: /[a-z_][a-z0-9_]*|`[^`]*`/i
NUMBER: /[+\-\u2212]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+\-\u2212]?[0-9]{1,3}(?![0-9]))?/i
TEXT: /'([^']|'')*'/ | /"([^"]|"")*"/
%ignore /\s+/
"""

_WORDS = {
    "NAME": "a column",
    "NUMBER": "a number",
    "TEXT": "'text'",
    "OPERATOR": "one of = != < <= > >=",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}

_HINTS = {
    "&": "write and",
    "|": "write or",
    "!": "write not",
    "‘": "text stands in straight quotes, 'text'",  # noqa: RUF001 - as it was typed
    "’": "text stands in straight quotes, 'text'",  # noqa: RUF001 - as it was typed
    "“": "text stands in straight quotes, 'text'",
    "”": "text stands in straight quotes, 'text'",
    "'": "the text that begins here does not end",
    '"': "the text that begins here does not end",
    "`": "the column that begins here does not end",
} | dict.fromkeys("+-*/%^", "there is no arithmetic in a filter")


def parse(text: str) -> Tree[Token]:
    """The tree of a filter.

    Raises
    ------
    FilterError
        It cannot be read, or is longer, deeper or wider than the limits.
    """
    if len(text) > MAX_LENGTH:
        msg = f"the filter has {len(text)} characters; at most {MAX_LENGTH}"
        raise FilterError(msg, position=MAX_LENGTH, limit=MAX_LENGTH, actual=len(text))
    for position, letter in enumerate(text):
        # NUL and halves of characters are no text; databases refuse them.
        if letter == "\0" or "\ud800" <= letter <= "\udfff":
            msg = f"the filter holds U+{ord(letter):04X}, which is no text"
            raise FilterError(msg, position=position)
    tokens = _tokens(text)
    _check_cost(tokens)
    parser = _parser().parse_interactive()
    for number, token in enumerate(tokens):
        try:
            parser.feed_token(token)
        except UnexpectedToken:
            raise _unexpected(tokens, number) from None
    try:
        tree: Tree[Token] = parser.feed_eof(tokens[-1] if tokens else None)  # type: ignore[no-untyped-call] # of lark
    except UnexpectedToken:
        expected = _expected(parser)
        msg = f"the filter {'ends too early' if tokens else 'is empty'}; " + _or(
            "it may go on with", expected
        )
        raise FilterError(msg, position=len(text), expected=expected) from None
    return tree


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic")


def _tokens(text: str) -> list[Token]:
    try:
        return list(_parser().lex(text))
    except UnexpectedCharacters as exc:
        position: Any = exc.pos_in_stream  # lark's own hint is too narrow
        letter = text[position]
        hint = _HINTS.get(letter, "it has no meaning in a filter")
        msg = f"{letter!r} at character {position + 1}: {hint}"
        raise FilterError(msg, position=position) from None


def _check_cost(tokens: Sequence[Token]) -> None:
    """Refuse what would be dear, before it is parsed."""
    kinds = [token.type for token in tokens]
    terms = 1 + kinds.count("AND") + kinds.count("OR") - kinds.count("BETWEEN")
    if terms > MAX_TERMS:
        msg = f"the filter has {terms} terms; at most {MAX_TERMS}"
        raise FilterError(msg, position=0, limit=MAX_TERMS, actual=terms)
    _check_depth(tokens)
    listed = 0
    begins: Token | None = None
    for before, token in zip(["", *kinds], tokens, strict=False):
        if token.type == "LPAR":
            begins, listed = (token, 1) if before == "IN" else (None, 0)
        elif token.type == "COMMA":
            listed += 1
        elif token.type == "RPAR" and begins is not None and listed > MAX_LIST:
            msg = f"the list has {listed} values; at most {MAX_LIST}"
            raise FilterError(
                msg, position=begins.start_pos, limit=MAX_LIST, actual=listed
            )


def _check_depth(tokens: Sequence[Token]) -> None:
    """Count parentheses and nots that are open at each place."""
    outer: list[int] = []
    depth = deepest = 0
    where = None
    before = "OR"
    for token in tokens:
        if token.type == "LPAR":
            outer.append(depth)
            depth += 1
        elif token.type == "NOT" and before in {"AND", "OR", "NOT", "LPAR"}:
            depth += 1
        elif token.type == "RPAR" and outer:
            depth = outer.pop()
            depth = outer[-1] + 1 if outer else 0
        elif token.type in {"AND", "OR"}:
            depth = outer[-1] + 1 if outer else 0
        if depth > MAX_DEPTH and where is None:
            where = token.start_pos
        deepest = max(deepest, depth)
        before = token.type
    if where is not None:
        msg = (
            f"the filter nests {deepest} deep, parentheses and nots together; "
            f"at most {MAX_DEPTH}"
        )
        raise FilterError(msg, position=where, limit=MAX_DEPTH, actual=deepest)


def _unexpected(tokens: Sequence[Token], number: int) -> FilterError:
    """What is wrong with a token, in the words of a person who reads the filter."""
    # Once more, up to it: the parser that met it has already thrown away what it can.
    parser = _parser().parse_interactive()
    for good in tokens[:number]:
        parser.feed_token(good)
    token, expected = tokens[number], _expected(parser)
    before = [t.type for t in tokens[max(0, number - 3) : number]]
    shown = f"{_shortened(str(token))!r} at character {(token.start_pos or 0) + 1}"
    if before[-1:] == ["NUMBER"] and token.type == "NAME":
        msg = f"{shown}: numbers have no units; `GET /sources` has those of columns"
    elif token.type == "NULL" and before[-1:] == ["OPERATOR"]:
        msg = f"{shown}: nothing compares with null; write `is null`, `is not null`"
    elif token.type == "OPERATOR" and before[-2:-1] == ["OPERATOR"]:
        msg = f"{shown}: comparisons do not chain; write `a < x and x < b`"
    else:
        msg = f"{shown} is out of place; " + _or("there may be", expected)
    return FilterError(msg, position=token.start_pos, expected=expected)


def _expected(parser: InteractiveParser) -> tuple[str, ...]:
    names = (_WORDS.get(name, name.lower()) for name in parser.accepts())  # type: ignore[no-untyped-call] # of lark
    return tuple(sorted(names))


def _or(start: str, words: Iterable[str]) -> str:
    return f"{start} {', '.join(words)}"


def _shortened(text: str) -> str:
    return text if len(text) <= 30 else text[:30] + "…"  # noqa: PLR2004 - a line
