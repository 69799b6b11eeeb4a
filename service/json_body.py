"""JSON in the body of a request: one reading of it, and one refusal."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from twinjet.service.content import JSON, media_type
from twinjet.service.errors import RequestError

# Of a text: what a backslash begins. A pair of surrogates is one character; one that
# stands alone, the group, is none.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
    r"|(u[dD][89a-fA-F][\da-fA-F]{2})|.)",
    re.DOTALL,
)
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)

# Longer ones keep nobody else waiting.
_AT_ONCE_BYTES = 1 << 15

# While Python reads a list nothing else runs: a tenth of a second for so many commas,
# which 1,000 examples have that are embeddings of 1,024 numbers.
_COMMAS = 1 << 20

# Told of a body that was too deep for the parser, which takes some hundreds.
_DEEP = 100

# More are no number of ours, and Python reads no more than 4,300.
_DIGITS = re.compile(r"\d{1000,}")

# Characters of a name that a refusal repeats.
_SHOWN = 100


def parsed(data: bytes) -> Any:
    """What a body says.

    Raises
    ------
    json.JSONDecodeError
        It is no JSON in UTF-8 (RFC 8259), or none that every program reads alike: half
        of a surrogate pair (RFC 7493, 2.1), a member twice (2.3), too deep, or a
        number of too many digits.

    Examples
    --------
    >>> parsed(b'{"like": ["J0123"]}')
    {'like': ['J0123']}
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        msg = f"byte {exc.start} is not UTF-8"
        raise json.JSONDecodeError(msg, "", exc.start) from None
    half = next((e for e in _ESCAPES.finditer(text) if e[1]), None)
    if half is not None:
        msg = f"{half[0]} is half of a character"
        raise json.JSONDecodeError(msg, text, half.start())
    try:
        return json.loads(
            text, object_pairs_hook=partial(_members, text), parse_constant=_no_number
        )
    except _ConstantError as exc:
        msg = f"{exc} is no number of JSON"
        raise json.JSONDecodeError(msg, text, _place(text, str(exc))) from None
    except json.JSONDecodeError:
        raise
    except RecursionError:
        msg = f"lists and objects are nested more than {_DEEP} deep"
        raise json.JSONDecodeError(msg, text, _too_deep(text)) from None
    except ValueError:
        found = _DIGITS.search(text)
        msg = "a number has too many digits"
        place = 0 if found is None else found.start()
        raise json.JSONDecodeError(msg, text, place) from None


class JsonBodyRoute(APIRoute):
    """A route whose JSON body is read by `parsed`."""

    def get_route_handler(
        self,
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As of every route, of a request that reads its own body."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return answer


class JsonRoute(JsonBodyRoute):
    """A route for JSON bodies alone: others go to the next route of the same path."""

    def takes(self, scope: Scope) -> bool:
        """Whether the kind of the body is its own; `Routes` asks, too."""
        return media_type(Headers(scope=scope)) == JSON

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path, the method and the kind of the body are its own."""
        match, inner = super().matches(scope)
        if match == Match.FULL and not self.takes(scope):
            return Match.NONE, {}
        return match, inner


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Read the body, which the framework asks for once."""
        data = await self.body()
        commas = data.count(b",")
        if commas > _COMMAS:
            raise _ManyValuesError(commas)
        if len(data) <= _AT_ONCE_BYTES:
            return parsed(data)
        return await asyncio.to_thread(parsed, data)


class _ManyValuesError(RequestError):
    """More values than are read."""

    def __init__(self, actual: int) -> None:
        detail = f"the body has {actual} commas; {_COMMAS} are read at most: "
        detail += "send fewer values"
        super().__init__(413, "payload-too-large", detail, limit=_COMMAS, actual=actual)


class _ConstantError(ValueError):
    """A number that Python's reader takes and JSON does not have."""


def _no_number(word: str) -> None:
    raise _ConstantError(word)


def _members(text: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        msg = f"an object has the member {twice[:_SHOWN]!r} twice"
        raise json.JSONDecodeError(msg, text, _place(text, json.dumps(twice)))
    return found


def _place(text: str, word: str) -> int:
    """Where a word stands last; 0 where it is written in another way."""
    return max(0, text.rfind(word))


def _too_deep(text: str) -> int:
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _DEEP:
            return found.start()
    return 0
