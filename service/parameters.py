"""Parameters of an address: each is one that the route reads, and is given once."""

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_origin

from fastapi import Request
from fastapi.dependencies.utils import get_dependant, get_flat_params
from fastapi.params import Query

from twinjet.index.errors import InvalidQueryError

# Characters of a name that a refusal repeats.
_SHOWN = 100


async def known_parameters(request: Request) -> None:
    """Refuse what the framework would pass over in silence.

    Of a mistyped filter one would get an answer without it, and not see it.

    Raises
    ------
    InvalidQueryError
        A parameter is none of the route's, or one that stands once is repeated.
    """
    route = request.scope["route"]
    known = _parameters(route.path_format, route.endpoint)
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise _unknown(name, known)
        if not known[name] and given.count(name) > 1:
            msg = f"{name} is given {given.count(name)} times; give it once"
            raise InvalidQueryError(
                msg, parameter=name, limit=1, actual=given.count(name)
            )


def _unknown(name: str, known: Mapping[str, bool]) -> InvalidQueryError:
    shown = name[:_SHOWN].encode("utf-8", "backslashreplace").decode("utf-8")
    near = difflib.get_close_matches(shown, known, n=1)
    meant = f"; {near[0]} is near" if near else ""
    there = ", ".join(sorted(known)) or "none"
    msg = f"{shown!r} is no parameter{meant}; there are {there}"
    return InvalidQueryError(msg, parameter=shown)


@cache  # of routes, which are few, and whose own cannot be hashed
def _parameters(path: str, endpoint: Callable[..., Any]) -> Mapping[str, bool]:
    """Names of a route's parameters, and whether they may be repeated."""
    return {
        field.alias: _is_list(field.field_info.annotation)
        for field in get_flat_params(get_dependant(path=path, call=endpoint))
        if isinstance(field.field_info, Query)
    }


def _is_list(annotation: object) -> bool:
    """Whether an annotation is of a list, or of a list and None."""
    parts = getattr(annotation, "__args__", ())
    return list in {get_origin(annotation), *map(get_origin, parts)}
