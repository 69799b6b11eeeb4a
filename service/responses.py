"""The refusals that the API description declares: each route those that it can give."""

from typing import Any

from twinjet.service.errors import MEDIA_TYPE
from twinjet.service.schemas import Problem
from twinjet.service.tables import MEDIA_TYPES

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "A form that cannot be read",
    404: "Nothing of that name, number or position",
    408: "The body stalled, or came too slowly",
    409: "Somebody else was faster, or there is no more",
    410: "The generation is no longer kept",
    413: "Too large",
    415: "Not a format that is read",
    422: "Invalid parameter or unusable file",
    503: "No index or store to answer from, or too many uploads: try again in a moment",
    507: "No room on the disk",
}

# What every route answers: it has parameters, if only those that it does not know.
_EVERYWHERE = (422,)

BODY = (408, 413, 507)
FORM = (400, 415, *BODY)
# Of what a generation answers that the address may name.
PINNED = (404, 410, 503)

_SCHEMA = {"$ref": f"#/components/schemas/{Problem.__name__}"}


def problems(*statuses: int) -> Responses:
    """Declarations of problem documents, for the `responses` of a route or router."""
    return {status: _refusal(status) for status in (*_EVERYWHERE, *statuses)}


def _refusal(status: int) -> dict[str, Any]:
    # `model` brings the schema in; `content` says under which media type it is sent.
    declared: dict[str, Any] = {
        "model": Problem,
        "description": _MEANINGS[status],
        "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
    }
    if status in _HEADERS:
        name, description, kind = _HEADERS[status]
        schema = {"type": kind}
        declared["headers"] = {name: {"description": description, "schema": schema}}
    return declared


_HEADERS = {
    503: ("Retry-After", "In so many seconds", "integer"),
}

# What an answer may look like besides JSON, by `Accept` or `format`.
TABLE_RESPONSES: Responses = {
    200: {"content": {media: {} for media in MEDIA_TYPES.values()}}
}
