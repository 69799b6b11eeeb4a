"""The refusals that the API description declares for every route."""

from typing import Any

from twinjet.service.errors import MEDIA_TYPE
from twinjet.service.schemas import Problem

_SCHEMA = {"$ref": f"#/components/schemas/{Problem.__name__}"}

# `model` brings the schema in; `content` says under which media type it is sent.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "model": Problem,
        "description": description,
        "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
    }
    for status, description in {
        404: "Unknown source or position",
        410: "The generation is no longer kept",
        413: "Too large",
        415: "Not a format that is read",
        422: "Invalid parameter or unusable file",
        503: "No index to answer from",
    }.items()
}
