"""Odd JSON."""

from raw_requests import Rows, of_json, sent

_UPLOAD = "/similar"
_NOJSON = (422, "malformed-json")
_INVALID = (422, "invalid-parameter")
JSON: Rows = {
    "no bytes": (of_json(_UPLOAD, b""), *_INVALID),
    "a million brackets": (of_json(_UPLOAD, b"[" * 10**6), *_NOJSON),
    "a million objects": (of_json(_UPLOAD, b'{"a":' * 10**5), *_NOJSON),
    "a number of 100,000 digits": (of_json(_UPLOAD, b"1" * 10**5), *_NOJSON),
    "NaN": (of_json(_UPLOAD, b'{"like":[[NaN]]}'), *_NOJSON),
    "Infinity": (of_json(_UPLOAD, b'{"like":[[Infinity]]}'), *_NOJSON),
    "a member twice": (of_json(_UPLOAD, b'{"like":["a"],"like":[]}'), *_NOJSON),
    "UTF-16": (of_json(_UPLOAD, '{"like":[]}'.encode("utf-16")), *_NOJSON),
    "half a character in JSON": (of_json(_UPLOAD, b'{"like":["\\ud800"]}'), *_NOJSON),
    "a comment": (of_json(_UPLOAD, b'{"like":[]} // all'), *_NOJSON),
    "a list": (of_json(_UPLOAD, []), *_INVALID),
    "null": (of_json(_UPLOAD, None), *_INVALID),
    "nothing sought": (of_json(_UPLOAD, {}), *_INVALID),
    "an unknown member": (of_json(_UPLOAD, {"__proto__": {}}), *_INVALID),
    "an embedding beyond all numbers": (
        of_json(_UPLOAD, b'{"like":[[1e999]]}'),
        *_INVALID,
    ),
    "an empty embedding": (of_json(_UPLOAD, {"like": [[]]}), *_INVALID),
    "an embedding of zeros": (of_json(_UPLOAD, {"like": [[0.0] * 16]}), *_INVALID),
    "1,001 examples": (of_json(_UPLOAD, {"like": ["a"] * 1001}), *_INVALID),
    "a lone pair": (of_json(_UPLOAD, {"pairs": [["a"]]}), *_INVALID),
    "an example that is nobody": (
        of_json(_UPLOAD, {"like": ["nobody"]}),
        404,
        "unknown-source",
    ),
    "an ID of NUL": (of_json(_UPLOAD, {"like": ["\0"]}), 404, "unknown-source"),
    "a strategy of nonsense": (of_json(_UPLOAD, {"strategy": "__class__"}), *_INVALID),
    "a region of no cells": (
        of_json(_UPLOAD, {"like": ["T100+003"], "region": {"6": []}}),
        *(422, "invalid-region"),
    ),
    "a region of huge cells": (
        of_json(_UPLOAD, {"like": ["T100+003"], "region": {"6": [10**400]}}),
        *(422, "invalid-region"),
    ),
    "10,001 rows": (of_json("/similar/batch", {"ids": ["a"] * 10_001}), *_INVALID),
    "no rows": (of_json("/similar/batch", {}), *_INVALID),
    "JSON as text": (sent("/sessions", "text/plain", b'{"name":"x"}'), *_INVALID),
    "a session of no name": (of_json("/sessions", {"name": ""}), *_INVALID),
    "a session of a long name": (
        of_json("/sessions", {"name": "x" * 10**5}),
        *_INVALID,
    ),
    "a session of control characters": (
        of_json("/sessions", {"name": "\x1b[31m", "examples": ["T100+003"]}),
        *_INVALID,
    ),
    "a session without examples": (
        of_json("/sessions", {"name": "x"}),
        409,
        "no-examples",
    ),
    "a version beyond all integers": (
        of_json("/sessions/x", {"version": 10**400}, method="PATCH"),
        *(404, "unknown-session"),
    ),
    "a change of no session": (
        of_json("/sessions/x", {"version": 2**63}, method="PATCH"),
        *(404, "unknown-session"),
    ),
    "a relative place": (of_json("/jobs/reindex", {"cutouts": "../x"}), *_INVALID),
    "a place of NUL": (of_json("/jobs/reindex", {"cutouts": "/x\0"}), *_INVALID),
    "a place elsewhere": (
        of_json("/jobs/reindex", {"cutouts": "http://127.0.0.1/"}),
        *_INVALID,
    ),
}
