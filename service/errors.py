"""One table from our errors to problem documents (RFC 9457)."""

import errno
import json
import logging
import math
import os
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Scope

from twinjet.index import errors as index_errors
from twinjet.index.errors import TwinjetIndexError
from twinjet.model import errors as model_errors
from twinjet.model.errors import CutoutError
from twinjet.service.content import JSON, media_type

_log = logging.getLogger(__name__)


class DecodeFailedError(CutoutError):
    """A decoder came to grief on a file, or the file took more than it may.

    Parameters
    ----------
    detail
        Of the file, for who sent it.
    cause
        What happened to the decoder, for the log.
    limit
        That was passed, seconds or bytes, where it is known.
    """

    def __init__(self, detail: str, *, cause: str, limit: float | None = None) -> None:
        super().__init__(f"the file cannot be decoded: {detail}", limit=limit)
        self.cause = cause


MEDIA_TYPE = "application/problem+json"

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Those that a route can have."""

# Error class to (status, name under /problems/). A subclass without an entry of its
# own is answered as its parent.
PROBLEMS: Mapping[type[Exception], tuple[int, str]] = {
    model_errors.EmptyFileError: (422, "empty-upload"),
    model_errors.UnsupportedFormatError: (415, "unsupported-media-type"),
    model_errors.MalformedFitsError: (422, "malformed-fits"),
    model_errors.MalformedImageError: (422, "malformed-image"),
    model_errors.TruncatedFileError: (422, "truncated-file"),
    model_errors.DecompressionLimitError: (413, "decompression-limit"),
    model_errors.TooManyHdusError: (422, "too-many-hdus"),
    model_errors.NoImageError: (422, "no-image-hdu"),
    model_errors.AmbiguousImageError: (422, "ambiguous-image"),
    model_errors.ImageTooLargeError: (413, "image-too-large"),
    model_errors.ImageTooSmallError: (422, "image-too-small"),
    model_errors.UnsupportedPixelsError: (422, "unsupported-pixels"),
    model_errors.NoUsablePixelsError: (422, "no-usable-pixels"),
    DecodeFailedError: (422, "decode-failed"),
    index_errors.UnknownSourceError: (404, "unknown-source"),
    index_errors.UnknownExamplesError: (404, "unknown-source"),
    index_errors.NotCalibratedError: (404, "not-calibrated"),
    index_errors.NoSourceAtPositionError: (404, "no-source-at-position"),
    index_errors.GenerationGoneError: (410, "generation-gone"),
    index_errors.UnknownGenerationError: (404, "unknown-generation"),
    index_errors.UnknownEncoderError: (404, "unknown-encoder"),
    index_errors.CutoutUnavailableError: (404, "cutout-unavailable"),
    index_errors.FilterError: (422, "invalid-filter"),
    index_errors.RegionError: (422, "invalid-region"),
    index_errors.InvalidQueryError: (422, "invalid-parameter"),
    index_errors.CatalogueError: (422, "unusable-table"),
    index_errors.LabelsError: (422, "unusable-labels"),
    index_errors.UnknownSessionError: (404, "unknown-session"),
    index_errors.UnknownListError: (404, "unknown-list"),
    index_errors.SessionConflictError: (409, "session-conflict"),
    index_errors.SessionLimitError: (422, "session-limit"),
    index_errors.NoExamplesError: (409, "no-examples"),
    index_errors.NoCandidatesError: (409, "no-candidates"),
    index_errors.KnownListError: (422, "unusable-list"),
    index_errors.CutoutLocationError: (422, "invalid-parameter"),
    index_errors.UnknownApiKeyError: (404, "unknown-key"),
    index_errors.ApiKeyError: (422, "invalid-parameter"),
    index_errors.UnknownJobError: (404, "unknown-job"),
    index_errors.JobConflictError: (409, "job-under-way"),
    index_errors.IdempotencyError: (422, "idempotency-key-reused"),
    index_errors.NoGenerationError: (503, "index-unavailable"),
    index_errors.GenerationDamagedError: (503, "index-unavailable"),
    index_errors.LostVectorsError: (503, "index-unavailable"),
    index_errors.DatabaseDamagedError: (503, "store-damaged"),
    index_errors.StoreError: (503, "store-unavailable"),
    index_errors.IndexUnavailableError: (503, "index-unavailable"),
    index_errors.EncoderMismatchError: (503, "model-mismatch"),
}

# In the state of a request, why there was no room for it.
_OVERLOAD = "overload"

# What a status of the framework itself is called.
_BY_STATUS = {
    400: "malformed-multipart",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "payload-too-large",
    415: "unsupported-media-type",
    499: "client-closed-request",
    503: "store-unavailable",
}


class RequestError(HTTPException):
    """How a request comes, or when, and not what is in it.

    An `HTTPException`, for the framework makes a 400 of any other that is raised
    while it parses a form.

    Parameters
    ----------
    status
        Of the answer.
    name
        Of the problem type, under /problems/.
    detail
        What is wrong, and what would be right.
    limit, actual
        What was passed, and by what.
    headers
        Of the answer.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        limit: float,
        actual: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.name = name
        self.limit = limit
        self.actual = actual


class PayloadTooLargeError(RequestError):
    """The body of a request has more bytes than the limit."""

    def __init__(self, limit: int, actual: int) -> None:
        detail = f"the body has more than {limit} bytes ({actual} have come); "
        detail += "send a smaller cutout"
        super().__init__(413, "payload-too-large", detail, limit=limit, actual=actual)


class SlowBodyError(RequestError):
    """The body of a request stalls, or trickles."""

    def __init__(self, detail: str, *, limit: float, actual: float) -> None:
        # Who knows how much of the body is still to come: no further request.
        super().__init__(
            408,
            "request-timeout",
            detail,
            limit=limit,
            actual=actual,
            headers={"Connection": "close"},
        )


class OverloadedError(RequestError):
    """More requests wait than the service will answer in time."""

    def __init__(
        self, detail: str, *, limit: float, actual: float, retry_after_s: float
    ) -> None:
        self.retry_after_s = math.ceil(retry_after_s)
        super().__init__(
            503,
            "overloaded",
            detail,
            limit=limit,
            actual=actual,
            headers={"Retry-After": str(self.retry_after_s)},
        )


class TooManyRequestsError(RequestError):
    """A caller asks for more in a minute than it may."""

    def __init__(
        self, what: str, limit: int, actual: int, retry_after_s: float
    ) -> None:
        wait_s = max(1, math.ceil(retry_after_s))
        super().__init__(
            429,
            "too-many-requests",
            f"there may be {limit} {what} a minute; go on in {wait_s} s",
            limit=limit,
            actual=actual,
            headers={"Retry-After": str(wait_s)},
        )


class ClientGoneError(HTTPException):
    """The client went away before it had its answer; nobody reads this one."""

    def __init__(self) -> None:
        # As nginx has it in its log; no status of HTTP.
        super().__init__(499, "the client has closed the connection")


class _Document(JSONResponse):
    """Of any text, also of a file name that is not Unicode: `?` stands for it."""

    def render(self, content: Any) -> bytes:
        """As JSON in UTF-8."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def problem(
    request: Request,
    status: int,
    name: str,
    detail: str,
    **members: str | float | list[str] | None,
) -> JSONResponse:
    """A problem document; members without a value are left out."""
    body = {
        key: without_home(request, value) if isinstance(value, str) else value
        for key, value in _members(status, name, detail, **members).items()
    }
    body["request_id"] = request_id(request)
    headers = {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return _Document(body, status, headers, media_type=MEDIA_TYPE)


def without_home(request: Request, text: str) -> str:
    """A text with files named as within the home: where that is, the log tells."""
    home: Path = request.app.state.home
    for folder in (home.absolute(), home):
        text = text.replace(f"{folder}{os.sep}", "")
    return text


def document(exc: RequestError, known_as: str) -> bytes:
    """The body of a refusal of a request, by its identity alone."""
    members = _members(
        exc.status_code, exc.name, exc.detail, limit=exc.limit, actual=exc.actual
    )
    return json.dumps(members | {"request_id": known_as}).encode()


def described(exc: TwinjetIndexError) -> dict[str, Any]:
    """Members of the problem document of an error, for a row of a batch.

    Raises
    ------
    LookupError
        It is not in the table: nobody has foreseen it.
    """
    found = lookup(type(exc))
    if found is None:
        raise LookupError(type(exc).__name__) from exc
    status, name = found
    return _members(
        status,
        name,
        str(exc),
        parameter=exc.parameter,
        limit=exc.limit,
        actual=exc.actual,
    )


def _members(
    status: int, name: str, detail: str, **members: str | float | list[str] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"/problems/{name}",
        "title": name.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
    }
    return body | {key: value for key, value in members.items() if value is not None}


def request_id(request: Request) -> str:
    """The identity to find a request by in the log; of `RequestIds`."""
    found: str = request.state.request_id
    return found


def install(app: FastAPI) -> None:
    """Answer every error of every route with a problem document."""
    for error in (model_errors.ModelError, index_errors.TwinjetIndexError):
        app.add_exception_handler(error, _domain_error)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    for away in (OperationalError, NoConnectionError):
        app.add_exception_handler(away, _store_away)
    app.add_exception_handler(OSError, _os_error)
    app.add_exception_handler(Exception, unforeseen)


def lookup(error: type[Exception]) -> tuple[int, str] | None:
    """Status and name for an error class, by its nearest ancestor in the table."""
    for ancestor in error.__mro__:
        if ancestor in PROBLEMS:
            return PROBLEMS[ancestor]
    return None


def overload(scope: Scope) -> str | None:
    """Why there was no room for a request; None where there was."""
    why: str | None = scope.get("state", {}).get(_OVERLOAD)
    return why


async def refusal(request: Request, exc: HTTPException) -> JSONResponse:
    """Of a middleware, which the framework's handlers are inside of."""
    answer = _request_error if isinstance(exc, RequestError) else _http_error
    return await answer(request, exc)


async def unforeseen(request: Request, exc: Exception) -> JSONResponse:
    """A fault of ours: the text of the exception stays in the log."""
    _log.error("request %s failed", request_id(request), exc_info=exc)
    detail = "the service failed; the log has the cause under this request_id"
    return problem(request, 500, "internal-error", detail)


async def _domain_error(request: Request, exc: Exception) -> JSONResponse:
    if isinstance(exc, index_errors.DatabaseDamagedError):
        request.app.state.resources.found_damaged(exc)
    found = lookup(type(exc))
    if found is None:
        return await unforeseen(request, exc)
    status, name = found
    return problem(
        request,
        status,
        name,
        str(exc),
        parameter=getattr(exc, "parameter", None),
        limit=getattr(exc, "limit", None),
        actual=getattr(exc, "actual", None),
        position=getattr(exc, "position", None),
        expected=getattr(exc, "expected", None) or None,
        nearest=getattr(exc, "nearest", None) or None,
        columns=getattr(exc, "columns", None) or None,
        candidates=getattr(exc, "candidates", None) or None,
    )


async def _request_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestError)  # noqa: S101 - for the type checker
    if isinstance(exc, OverloadedError):
        request.scope.setdefault("state", {})[_OVERLOAD] = exc.detail
    limit, actual = exc.limit, exc.actual
    response = problem(
        request, exc.status_code, exc.name, exc.detail, limit=limit, actual=actual
    )
    response.headers.update(exc.headers or {})
    return response


async def _invalid(request: Request, exc: Exception) -> JSONResponse:
    """The framework's own validation: names the first fault, never echoes the body."""
    assert isinstance(exc, RequestValidationError)  # noqa: S101 - for the type checker
    first = exc.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "json_invalid":
        detail = f"the body is not JSON: {first['ctx']['error']}"
        return problem(request, 422, "malformed-json", detail, position=int(place[-1]))
    # Of a body, the member at fault and not what is wrong deep inside of it.
    parameter = place[1] if len(place) > 1 else place[0]
    if "Expected UploadFile" in first.get("msg", ""):
        part = parameter.partition(".")[0]
        detail = f"the part called {part!r} is text and no file: give it a file name"
        return problem(request, 422, "missing-file", detail, parameter=part)
    if first["type"] == "missing" and parameter == "file":
        detail = "the multipart form has no part called 'file'"
        return problem(request, 422, "missing-file", detail, parameter="file")
    actual = first.get("input")
    shown = actual if isinstance(actual, str | int | float) else None
    # Halves of characters, which JSON can write and UTF-8 cannot.
    text = None if shown is None else _sendable(str(shown)[:200])
    detail = f"{'.'.join(place[1:]) or parameter}: {first['msg']}"
    if text is not None and place[0] in {"query", "path"}:
        detail += f"; it was {text!r}"
    limits = first.get("ctx", {})
    limit = next((limits[k] for k in ("ge", "gt", "le", "lt") if k in limits), None)
    return problem(
        request,
        422,
        "invalid-parameter",
        detail,
        parameter=parameter,
        limit=limit,
        actual=text,
    )


def _sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


async def _os_error(request: Request, exc: Exception) -> JSONResponse:
    """What the machine refuses: room on its disk, or something nobody has foreseen."""
    if is_full(exc):
        return _storage_full(request, exc)
    return await unforeseen(request, exc)


def is_full(exc: BaseException | None) -> bool:
    """Whether a disk is full, or what one may have of it."""
    return isinstance(exc, OSError) and exc.errno in {errno.ENOSPC, errno.EDQUOT}


def _storage_full(request: Request, exc: BaseException | None) -> JSONResponse:
    _log.error("request %s: no room on the disk: %s", request_id(request), exc)
    detail = "the service has no room on its disk for this request; try again later"
    return problem(request, 507, "storage-full", detail)


async def _http_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)  # noqa: S101 - for the type checker
    # The framework says of any error within a form that the form is at fault.
    if is_full(exc.__cause__):
        return _storage_full(request, exc.__cause__)
    name = _BY_STATUS.get(exc.status_code, "refused")
    if (
        exc.status_code == HTTPStatus.BAD_REQUEST
        and media_type(request.headers) == JSON
    ):
        name = "malformed-json"
    response = problem(request, exc.status_code, name, str(exc.detail))
    response.headers.update(exc.headers or {})
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = _allowed(request)
    return response


def _allowed(request: Request) -> str:
    """Methods of a path, of all its routes: the framework names those of the first."""
    routes = [one for one in request.app.routes if not isinstance(one, Mount)]

    def has(method: str) -> bool:
        # Heads are those of GET.
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
        return any(route.matches(scope)[0] == Match.FULL for route in routes)

    # Of a folder of files, which is no route, what such a folder takes.
    return ", ".join(filter(has, METHODS)) or "GET, HEAD"


async def _store_away(request: Request, exc: Exception) -> JSONResponse:
    """The database is away or too slow: its own words stay in the log."""
    cause = getattr(exc, "orig", None)
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return _storage_full(request, cause)
    _log.warning("request %s: the database is away: %s", request_id(request), exc)
    detail = "the metadata store does not answer; try again in a moment"
    return problem(request, 503, "store-unavailable", detail)
