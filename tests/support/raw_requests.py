"""Requests as bytes, of which the odd ones are made."""

import json
from dataclasses import dataclass

KEY = "swordfish-0123456789"
"""Borne by every request: no log may ever have it."""

BODY_MARK = "a-body-that-no-log-has"
"""In the bodies of many requests, likewise."""

BOUNDARY = "b0undary"

Rows = dict[str, tuple[bytes, int, str | None]]
"""Bytes, status and problem type by what it is."""


@dataclass(frozen=True)
class OddRequest:
    """Bytes for a connection, and what must come back."""

    name: str
    data: bytes
    status: int
    problem: str | None = None
    """Name of the problem type; None of an answer, or of the server's own refusal."""


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {KEY}", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def sent(
    target: str, kind: str | None, body: bytes, *headers: str, method: str = "POST"
) -> bytes:
    """A request with a body."""
    told = [] if kind is None else [f"Content-Type: {kind}"]
    length = f"Content-Length: {len(body)}"
    return get(target, *told, length, *headers, method=method) + body


def of_json(target: str, body: object, *, method: str = "POST") -> bytes:
    """A request with JSON; bytes are sent as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sent(target, "application/json", data, method=method)


def part(head: str, body: bytes = b"x") -> bytes:
    """One part of a form."""
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + body + b"\r\n"


def form(target: str, *parts: bytes, method: str = "POST") -> bytes:
    """A request with a form of parts."""
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return sent(target, kind, body, method=method)


def file_part(name: str = "file", body: bytes = BODY_MARK.encode()) -> bytes:
    """A part with a file."""
    return part(f'Content-Disposition: form-data; name="{name}"; filename="a"', body)
