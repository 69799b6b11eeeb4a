"""The refusals that the API description declares for every route."""

from typing import Any

from twinjet.service.errors import MEDIA_TYPE
from twinjet.service.schemas import Problem
from twinjet.service.tables import MEDIA_TYPES

_SCHEMA = {"$ref": f"#/components/schemas/{Problem.__name__}"}


def _refusal(description: str) -> dict[str, Any]:
    # `model` brings the schema in; `content` says under which media type it is sent.
    return {
        "model": Problem,
        "description": description,
        "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
    }


CONFLICT_RESPONSE: dict[int | str, dict[str, Any]] = {
    409: _refusal("Somebody else was faster, or there is no more")
}

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: _refusal(description)
    for status, description in {
        400: "A body that cannot be read",
        404: "Unknown source or position",
        408: "The body stalled, or came too slowly",
        410: "The generation is no longer kept",
        413: "Too large",
        415: "Not a format that is read",
        422: "Invalid parameter or unusable file",
        503: "No index to answer from, or too many uploads: try again in a moment",
    }.items()
}
PROBLEM_RESPONSES[503]["headers"] = {
    "Retry-After": {"description": "In so many seconds", "schema": {"type": "integer"}}
}

# What an answer may look like besides JSON, by `Accept` or `format`.
TABLE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {} for media in MEDIA_TYPES.values()}}
}
