"""Odd addresses: parameters, filters, regions, paths."""

from raw_requests import Rows, get

POSITIONS = (
    "/similar?ra=361&dec=0",
    "/similar?ra=0&dec=-91",
    "/similar?ra=0&dec=0&radius_arcsec=3601",
    "/similar?ra=1",
    "/similar?dec=1",
    "/similar",
    "/sources?ra=1&dec=1",
    "/sources?ra=361&dec=1&radius_arcsec=1",
    "/sources?name=T&where=z%3E1",
    "/sources?name=",
    "/sources?sort=nobody%3B%20drop%20table%20source",
    "/sources?sort=-",
    "/sources?after=%00",
    "/sources?after=AAAA",
    f"/sources?after={'W' * 1999}",
    "/sources?after=%5B1e999%5D",
    "/similar/T100%2B003?wher=z%3E1",
    "/similar/T100%2B003?k=1&k=2",
    "/similar/T100%2B003?%00=1",
    "/similar/T100%2B003?K=1",
    f"/similar/T100%2B003?{'a' * 5000}=1",
    "/similar/T100%2B003?k=3;offset=1",
    "/similar/T100%2B003?exact=perhaps",
    "/similar/T100%2B003?order=most%0A",
    "/similar/T100%2B003?format=xml",
    "/similar/T100%2B003?duplicates=KEEP",
    f"/similar/T100%2B003?{'exclude=x&' * 1001}k=1",
    "/generations/1/embeddings.parquet?where=z",
    "/generations/99999999999999999999",
    "/generations/one",
    "/sessions/nobody/rounds/0",
    "/sources/T100%2B003/cutout.png?stretch=..%2f",
    "/jobs?limit=10&limit=20",
)

FILTERS = tuple(
    f"/similar/T100%2B003?where={text}"
    for text in (
        *("", "%00", "1=1", "1%3D1%3B%20drop%20table%20source--", "size"),
        *("%27", "(" * 2000, "not%20" * 500, "ra%3E1%20and%20" * 400, "x" * 5000),
        "ra%20in%20(" + "1," * 1500 + "1)",
        "ra%20in%20()",
        "ra%3E1e400",
        "ra%20like%20%27%25%27",
        "source_id%20like%20%27" + "%25_" * 500 + "%27",
        "%27'%27" * 800,
        "%E2%80%AEra%3E1",
        "sleep(10)",
        "ra%20%3E%20(select%201)",
    )
)

REGIONS = tuple(
    f"/similar/T100%2B003?region={text}"
    for text in (
        *("", "%00", "SQUARE%201%201%201", "CIRCLE", "CIRCLE%20nan%200%201"),
        *("CIRCLE%201e999%200%201", "CIRCLE%20361%200%201", "CIRCLE%201%202"),
        "CIRCLE%20%D9%A1%200%201",
        "RANGE%200%201%202",
        "POLYGON%201%201%202%202",
        "POLYGON%20" + "1%202%20" * 3000,
        "POLYGON%200%200%20180%200%20270%2089",
        "POLYGON%200%200%201%201%200%201%201%200",
        *("MOC", "MOC%20%7B", "MOC%2030/1", "MOC%200/12", "MOC%203/-1"),
        "MOC%20" + "29/1%20" * 3000 + "x",
        "MOC%20%7B%226%22%3A%5B1e999%5D%7D",
        "MOC%20%7B%226%22%3A%20" + "%5B" * 2000 + "%7D",
    )
)

_NOBODY = (404, "unknown-source")
PATHS: Rows = {
    "parents": (get("/similar/..%2f..%2fetc%2fpasswd"), *_NOBODY),
    "parents unescaped": (get("/similar/../../etc/passwd"), *_NOBODY),
    "parents of a cutout": (get("/sources/..%2f..%2fx/cutout.fits"), *_NOBODY),
    "parents twice escaped": (get("/sources/%252e%252e%252fx"), *_NOBODY),
    "NUL in an ID": (get("/similar/T100%00"), *_NOBODY),
    "a bare percent": (get("/similar/%"), *_NOBODY),
    "no hexadecimal": (get("/similar/%zz"), *_NOBODY),
    "no UTF-8": (get("/similar/%ff%fe"), *_NOBODY),
    "half a character": (get("/similar/%ed%a0%80"), *_NOBODY),
    "an overlong slash": (get("/similar/%c0%af"), *_NOBODY),
    "a minus of Unicode": (get("/similar/T100%E2%88%92003"), *_NOBODY),
    "a plus as it is": (get("/similar/T100+003"), 200, None),
    "a plus escaped": (get("/similar/T100%2B003"), 200, None),
    "a plus twice escaped": (get("/similar/T100%252B003"), *_NOBODY),
    "a quote": (get("/similar/T'%20or%20'1'='1"), *_NOBODY),
    "line breaks in an ID": (
        get("/similar/a%0d%0aSet-Cookie:%20a=b"),
        *(404, "not-found"),
    ),
    "escapes of a terminal": (get("/similar/%1b%5b31m"), *_NOBODY),
    "a long ID": (get(f"/similar/{'a' * 8000}"), *_NOBODY),
    "an address of 60,000 characters": (get(f"/similar/{'a' * 60_000}"), *_NOBODY),
    "an address of 1 MB": (get(f"/similar/{'a' * 10**6}"), 414, None),
    "no ID": (get("/similar/"), *_NOBODY),
    "only slashes": (get("/similar///"), *_NOBODY),
    "no route": (get("/no/such/route"), 404, "not-found"),
    "two slashes before": (get("//similar/T100+003"), 404, "not-found"),
    "a path of another case": (get("/Similar/T100+003"), 404, "not-found"),
    "parents of static files": (get("/static/..%2f..%2fapp.py"), 404, "not-found"),
    "parents as they are": (get("/static/../app.py"), 404, "not-found"),
    "NUL in a static file": (get("/static/%00"), 404, "not-found"),
    "a long static file": (get(f"/static/{'a' * 5000}"), 404, "not-found"),
    "a static folder": (get("/static/js"), 404, "not-found"),
    "an unknown encoder": (get("/encoders/%00%ff"), 404, "unknown-encoder"),
    "an unknown list": (get("/lists/%00%ff"), 404, "unknown-list"),
    "an unknown session": (get("/sessions/%ff%00"), 404, "unknown-session"),
    "an unknown job": (get("/jobs/%00%ff"), 404, "unknown-job"),
    "a generation to come": (
        get("/generations/9223372036854775807"),
        404,
        "unknown-generation",
    ),
    "a page of no generation": (
        get("/similar/T100+003?generation=99"),
        *(404, "unknown-generation"),
    ),
    "no source there": (get("/similar?ra=1&dec=-89"), 404, "no-source-at-position"),
    "the whole address": (get("http://elsewhere/livez"), 200, None),
}
