"""Messages between the service and its decoders: a head in JSON, then bytes.

Never a pickle: a decoder that was taken over by a file must not run code in the
service.
"""

import json
import socket
import struct
from typing import Any

LENGTHS = struct.Struct(">II")
"""Of the head and of the bytes behind it."""

MAX_TEXT = 1000
"""Characters of a refusal or a note."""

NAMED_AT_A_TIME = 1000
"""Rows in a line of a list: others run while the next is read."""

MAX_HEAD_BYTES = 64 * 1024
"""Notes and refusals are some hundred characters."""


def packed(head: dict[str, Any], size: int) -> bytes:
    """A message up to its bytes, of which there will be `size`."""
    text = json.dumps(head, allow_nan=False).encode()
    return LENGTHS.pack(len(text), size) + text


def send(line: socket.socket, head: dict[str, Any], data: bytes = b"") -> None:
    """Send one message."""
    line.sendall(packed(head, len(data)) + data)


def receive(line: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """Wait for one message; None when the other side has closed the line."""
    lengths = _exactly(line, LENGTHS.size)
    if lengths is None:
        return None
    head_bytes, size = LENGTHS.unpack(lengths)
    head, data = _exactly(line, head_bytes), _exactly(line, size)
    return None if head is None or data is None else (json.loads(head), data)


def _exactly(line: socket.socket, count: int) -> bytes | None:
    data = line.recv(count, socket.MSG_WAITALL) if count else b""
    return data if len(data) == count else None
