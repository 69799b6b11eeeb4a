"""Odd forms."""

from raw_requests import BODY_MARK, BOUNDARY, Rows, file_part, form, part, sent

_UPLOAD = "/similar"
_DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="a"'
_MALFORMED = (400, "malformed-multipart")
_NO_FORMAT = (415, "unsupported-media-type")
FORMS: Rows = {
    "no kind": (sent(_UPLOAD, None, b"x"), *_NO_FORMAT),
    "text": (sent(_UPLOAD, "text/plain", BODY_MARK.encode()), *_NO_FORMAT),
    "XML": (
        sent(_UPLOAD, "application/xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]>"),
        *_NO_FORMAT,
    ),
    "an address's form": (
        sent(_UPLOAD, "application/x-www-form-urlencoded", b"a=1&" * 20),
        *_NO_FORMAT,
    ),
    "a long address's form": (
        sent(_UPLOAD, "application/x-www-form-urlencoded", b"a=1&" * 20_000),
        *_MALFORMED,
    ),
    "a kind of nonsense": (sent(_UPLOAD, "///;;;=,", b"x"), *_NO_FORMAT),
    "no boundary": (sent(_UPLOAD, "multipart/form-data", b"x"), *_MALFORMED),
    "an empty boundary": (
        sent(_UPLOAD, "multipart/form-data; boundary=", b"x"),
        *_MALFORMED,
    ),
    "another boundary": (
        sent(_UPLOAD, "multipart/form-data; boundary=other", file_part()),
        *_MALFORMED,
    ),
    "a form of nothing": (
        sent(_UPLOAD, f"multipart/form-data; boundary={BOUNDARY}", b""),
        *(422, "missing-file"),
    ),
    "no part": (form(_UPLOAD), 422, "missing-file"),
    "no file": (
        form(_UPLOAD, part('Content-Disposition: form-data; name="a"')),
        422,
        "missing-file",
    ),
    "two files": (form(_UPLOAD, file_part(), file_part()), 422, "invalid-parameter"),
    "an empty file": (form(_UPLOAD, file_part(body=b"")), 422, "empty-upload"),
    "no picture": (form(_UPLOAD, file_part()), *_NO_FORMAT),
    "a part without a name": (
        form(_UPLOAD, part("Content-Disposition: form-data")),
        *_MALFORMED,
    ),
    "a part without a head": (form(_UPLOAD, part("")), *_MALFORMED),
    "a part head of 1 MiB": (
        form(_UPLOAD, part(f"{_DISPOSITION}\r\nX: {'x' * 2**20}")),
        *_MALFORMED,
    ),
    "a thousand part heads": (
        form(
            _UPLOAD,
            part("\r\n".join([_DISPOSITION, *(f"X-{n}: x" for n in range(1000))])),
        ),
        *_MALFORMED,
    ),
    "10,000 fields": (
        form(_UPLOAD, *[part('Content-Disposition: form-data; name="a"')] * 10_000),
        *_MALFORMED,
    ),
    "1,100 fields": (
        form(_UPLOAD, *[part('Content-Disposition: form-data; name="a"')] * 1100),
        *_MALFORMED,
    ),
    "3,000 files": (
        form(_UPLOAD, *[file_part("like", b"")] * 3000),
        *_MALFORMED,
    ),
    "a field of 2 MiB": (
        form(
            "/lists/x",
            part('Content-Disposition: form-data; name="file"', b"x" * 2**21),
            method="PUT",
        ),
        *_MALFORMED,
    ),
    "a body over the limit": (
        form(_UPLOAD, file_part(body=b"\0" * (17 * 2**20))),
        *(413, "payload-too-large"),
    ),
    "a file as base64": (
        form(
            _UPLOAD,
            part(f"{_DISPOSITION}\r\nContent-Transfer-Encoding: base64", b"U0lNUExF"),
        ),
        *_NO_FORMAT,
    ),
    "parents as a file's name": (
        form(
            _UPLOAD,
            part('Content-Disposition: form-data; name="file"; filename="../../x"'),
        ),
        *_NO_FORMAT,
    ),
    "a file's name of NULs": (
        form(
            _UPLOAD,
            part('Content-Disposition: form-data; name="file"; filename="\0\0"'),
        ),
        *_NO_FORMAT,
    ),
    "a form that ends early": (
        sent(_UPLOAD, f"multipart/form-data; boundary={BOUNDARY}", file_part()[:40]),
        *(422, "missing-file"),
    ),
    "a form within a form": (
        form(
            _UPLOAD,
            part("Content-Type: multipart/mixed; boundary=x\r\n" + _DISPOSITION),
        ),
        *_NO_FORMAT,
    ),
    "17 files as examples": (
        form(_UPLOAD, *[file_part("like")] * 17),
        422,
        "invalid-parameter",
    ),
    "a batch of no table": (form("/similar/batch", file_part()), 422, "unusable-table"),
    "labels that are no text": (
        form("/probe", file_part(body=b"\xff\xfe\0")),
        422,
        "unusable-labels",
    ),
    "a million columns": (
        form("/probe", file_part(body=b"a," * 10**6 + b"\n")),
        *(422, "unusable-labels"),
    ),
    "a quote that never ends": (
        form("/probe", file_part(body=b'id,label\n"' + b"x" * 200_000)),
        *(422, "unusable-labels"),
    ),
    "a list of nothing": (
        form("/lists/x", file_part(body=b""), method="PUT"),
        422,
        "unusable-list",
    ),
    "a list of no name": (
        form("/lists/%00", file_part(body=b"id\nx"), method="PUT"),
        422,
        "invalid-parameter",
    ),
    "a MOC of nothing": (
        form(_UPLOAD, file_part(), file_part("moc", b"")),
        422,
        "invalid-region",
    ),
    "a MOC of no end": (
        form(_UPLOAD, file_part(), file_part("moc", b"29/0-3458764513820540928")),
        422,
        "invalid-region",
    ),
}
