"""What a route asks of who calls it: declared with the route, and told in the API.

A route names its scope as one of its dependencies, ``dependencies=[READ]``, or has it
of its router; where there are several the strongest holds. A route that names none is
open to nobody.
"""

from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import Any, Literal

from fastapi import Depends, FastAPI
from fastapi.params import Depends as Dependency
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope as Connection

from twinjet.index.api_keys import SCOPES, Scope
from twinjet.service.errors import MEDIA_TYPE

Level = Literal["public", Scope]
"""``public`` is open whoever asks; of the others each has those before it."""

LEVELS: tuple[Level, ...] = ("public", *SCOPES)

# Method of what takes every one, as a folder does.
_ANY = ""

# Routes that take no dependencies, for they are none of FastAPI's.
_PLAIN: dict[str, Level] = {"/openapi.json": "public", "/static": "public"}

_SCHEME = "key"
_REFUSALS = {
    401: "No key, or one that opens nothing",
    403: "The key's scope does not suffice",
    429: "More requests or uploads in a minute than are allowed",
}


class Needs:
    """Dependency that says what its route asks for; `Access` sees to it.

    Dependencies are called when the body has been read, which is too late.
    """

    def __init__(self, level: Level) -> None:
        self.level = level

    async def __call__(self) -> None:
        """Nothing: see above."""


PUBLIC = Depends(Needs("public"))
READ = Depends(Needs("read"))
INGEST = Depends(Needs("ingest"))
ADMIN = Depends(Needs("admin"))


def covers(held: Level, wanted: Level) -> bool:
    """Whether who may do one thing may do another.

    Examples
    --------
    >>> covers("admin", "read"), covers("read", "ingest")
    (True, False)
    """
    return LEVELS.index(held) >= LEVELS.index(wanted)


def routes_of(app: FastAPI) -> Iterator[RouteContext]:
    """All routes and mounts, those of included routers too."""
    return iter_route_contexts(app.routes)


def level_of(route: RouteContext) -> Level | None:
    """What a route declares; None when it declares nothing."""
    dependencies: list[Dependency] = getattr(route, "dependencies", [])
    needs = [d.dependency for d in dependencies if isinstance(d.dependency, Needs)]
    if needs:
        return max((one.level for one in needs), key=LEVELS.index)
    return _PLAIN.get(route.path or "")


class Routes:
    """Finds the route that will answer a request, before the router does.

    Parameters
    ----------
    app
        Of the routes; those that are added later are found, too.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        # To walk through included routers takes several times as long as to match; and
        # the method and what a path begins with say most of it.
        self._known = defaultdict[tuple[str, str], list[RouteContext]](list)
        for route in routes_of(app):
            for method in route.methods or (_ANY,):
                self._known[method, _first(route.path or "")].append(route)

    def find(self, connection: Connection) -> RouteContext | None:
        """The route; None for a path or a method that there is not."""
        path = connection["path"].removeprefix(connection.get("root_path", ""))
        known = self._known.get((connection["method"], _first(path)), ())
        others = self._known.get((_ANY, _first(path)), ())
        for route in chain(known, others, routes_of(self._app)):
            fits = route.matches(connection)[0] == Match.FULL
            if fits and _takes(route, connection):
                return route
        return None


def _takes(route: RouteContext, connection: Connection) -> bool:
    """Whether the body is of a kind that the route takes, as `JsonRoute` has it."""
    takes = getattr(route.original_route, "takes", None)
    return takes is None or bool(takes(connection))


def _first(path: str) -> str:
    """Of a path, up to its second slash."""
    return path.split("/", 2)[1] if path.startswith("/") else path


def description(app: FastAPI, anonymous: Level) -> dict[str, Any]:
    """The OpenAPI of an application, with what each operation asks for."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = FastAPI.openapi(app)
    schema["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of `twinjet keys create`, or TWINJET_ADMIN_KEY",
        }
    }
    for route in routes_of(app):
        level = level_of(route)
        operations = schema["paths"].get(route.path_format, {})
        for method in route.methods or ():
            operation = operations.get(method.lower())
            if operation is not None and level not in {None, "public"}:
                _declare(operation, level or "admin", anonymous)
    return schema


def _declare(operation: dict[str, Any], level: Level, anonymous: Level) -> None:
    free: list[dict[str, list[str]]] = [{}] if covers(anonymous, level) else []
    operation["security"] = [*free, {_SCHEME: [level]}]
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status, said in _REFUSALS.items():
        if status == HTTPStatus.FORBIDDEN and (free or level == "read"):
            continue  # which needs no key, or what every key has
        refusal = {"description": said, "content": {MEDIA_TYPE: problem}}
        operation["responses"].setdefault(str(status), refusal)
