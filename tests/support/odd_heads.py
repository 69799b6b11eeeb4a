"""Odd headers and methods."""

from raw_requests import KEY, Rows, get, sent

HEADERS: Rows = {
    "a key that is no ASCII": (
        get("/jobs").replace(KEY.encode(), b"\xff\xfe\x80"),
        *(401, "unauthenticated"),
    ),
    "a key of another scheme": (
        get("/jobs").replace(b"Bearer", b"Basic"),
        *(401, "unauthenticated"),
    ),
    "an empty key": (
        get("/jobs").replace(KEY.encode(), b""),
        *(401, "unauthenticated"),
    ),
    "a key of blanks": (
        get("/jobs").replace(KEY.encode(), b"  \t "),
        *(401, "unauthenticated"),
    ),
    "another key before the right one": (
        get("/jobs").replace(
            b"Authorization", b"Authorization: Bearer x\r\nAuthorization"
        ),
        *(401, "unauthenticated"),
    ),
    "Accept of nonsense": (get("/similar/T100+003", "Accept: ;;q=,/,*"), 200, None),
    "Accept of no number": (
        get("/similar/T100+003", "Accept: text/csv;q=nan, */*;q=0"),
        *(200, None),
    ),
    "a long Accept": (get("/similar/T100+003", f"Accept: {'a/b,' * 5000}"), 200, None),
    "a Range of an answer": (get("/similar/T100+003", "Range: bytes=0-1"), 200, None),
    "a Range of nonsense": (get("/static/js/main.js", "Range: bytes=z-"), 400, None),
    "a Range beyond the end": (
        get("/static/js/main.js", "Range: bytes=99999999-"),
        *(416, None),
    ),
    "a thousand Ranges": (
        get(
            "/static/js/main.js",
            "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2)),
        ),
        *(200, None),
    ),
    "If-None-Match of nonsense": (get("/sources", 'If-None-Match: "'), 200, None),
    "If-Modified-Since of nonsense": (
        get("/static/js/main.js", "If-Modified-Since: never"),
        *(200, None),
    ),
    "an upgrade to a web socket": (
        get(
            "/similar/T100+003",
            *("Upgrade: websocket", "Connection: Upgrade"),
            *(
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
            ),
        ).replace(b"Connection: close\r\n", b""),
        *(403, None),
    ),
    "an upgrade to HTTP/2": (
        get("/livez", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
        *(200, None),
    ),
    "an upgrade of a body, which is none of the next request": (
        sent(
            "/similar",
            "application/json",
            get("/livez"),
            *("Upgrade: foo", "Connection: upgrade"),
        ),
        *(400, None),
    ),
    "no host": (get("/livez").replace(b"Host: localhost\r\n", b""), 400, None),
    "no host, of HTTP/1.0": (
        get("/livez")
        .replace(b"Host: localhost\r\n", b"")
        .replace(b"HTTP/1.1", b"HTTP/1.0"),
        *(200, None),
    ),
    "a body that is packed on its way": (
        sent(
            "/similar",
            "application/json",
            b"",
            *("Transfer-Encoding: gzip, chunked",),
        ).replace(b"Content-Length: 0\r\n", b"")
        + b"0\r\n\r\n",
        *(501, None),
    ),
    "an expectation that is none": (get("/livez", "Expect: the unexpected"), 200, None),
    "an identity with escapes": (get("/livez", "X-Request-ID: \x1b[31m"), 400, None),
    "a header of 1 MB": (get("/livez", f"X: {'x' * 10**6}"), 431, None),
    "many headers": (get("/livez", *(f"X-{n}: {n}" for n in range(500))), 200, None),
    "a host of nonsense": (
        get("/livez").replace(b"localhost", b"a@b:c/../"),
        200,
        None,
    ),
    "two hosts": (get("/livez", "Host: elsewhere"), 400, None),
    "forwarded by nobody": (
        get("/livez", "X-Forwarded-For: \xff', drop", "X-Forwarded-Proto: javascript"),
        *(200, None),
    ),
    "a long Idempotency-Key": (
        sent(
            "/jobs/reindex",
            "application/json",
            b'{"cutouts":"/x"}',
            f"Idempotency-Key: {'k' * 201}",
        ),
        *(422, "invalid-parameter"),
    ),
}

METHODS: Rows = {
    f"{method} {path}": (get(path, method=method), 405, "method-not-allowed")
    for method in ("OPTIONS", "TRACE", "PROPFIND", "PATCH")
    for path in ("/similar", "/sources", "/jobs", "/lists/x", "/livez")
} | {
    f"HEAD {path}": (get(path, method="HEAD"), status, None)
    for path, status in {
        "/similar": 422,
        "/sources": 200,
        "/jobs": 200,
        "/lists/x": 404,
        "/livez": 200,
        "/embeddings": 405,
    }.items()
}
