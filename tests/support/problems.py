"""The one shape of every refusal."""

from typing import Any

import httpx2 as httpx


def assert_problem(response: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """The response is a problem document of this status and type; returns it."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body.get("type")) == (status, f"/problems/{name}"), (
        body
    )
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "request_id"} <= set(body)
    assert body["status"] == status
    assert body["detail"]
    return body
