"""What is no request, which the server itself refuses."""

from raw_requests import Rows, get

_HEAD = b"POST /similar HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SERVER: Rows = {
    "no request": (b"no request at all\r\n\r\n", 400, None),
    "a handshake of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, None),
    "an unknown method": (get("/livez", method="BREW"), 400, None),
    "a method in small letters": (get("/livez", method="get"), 400, None),
    "an unknown version": (b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n", 400, None),
    "a header with NUL": (get("/livez", "X: a\0b"), 400, None),
    "a header without a colon": (get("/livez", "X"), 400, None),
    "a header with a blank name": (get("/livez", "X : y"), 400, None),
    "a length below zero": (_HEAD + b"Content-Length: -1\r\n\r\n", 400, None),
    "a length beyond all numbers": (
        _HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        400,
        None,
    ),
    "a length of nonsense": (_HEAD + b"Content-Length: 0x10\r\n\r\n", 400, None),
    "two lengths": (
        _HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        400,
        None,
    ),
    "a length and chunks": (
        _HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(400, None),
    ),
    "an encoding of nonsense": (_HEAD + b"Transfer-Encoding: cow\r\n\r\n", 501, None),
    "a chunk of no size": (
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\nz\r\n",
        400,
        None,
    ),
    "a chunk below zero": (
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        400,
        None,
    ),
    "a chunk beyond all numbers": (
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 20 + b"\r\n",
        *(400, None),
    ),
    "a chunk longer than it says": (
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        *(400, None),
    ),
    "chunks that are a body": (
        _HEAD
        + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        *(422, "invalid-parameter"),
    ),
}
