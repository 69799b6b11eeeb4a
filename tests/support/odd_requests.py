"""Odd and hostile requests: what each is, and the exact answer it gets."""

from collections.abc import Iterator
from itertools import product

from odd_addresses import FILTERS, PATHS, POSITIONS, REGIONS
from odd_forms import FORMS
from odd_heads import HEADERS, METHODS
from odd_json import JSON
from odd_wire import SERVER
from raw_requests import OddRequest, file_part, form, get

# Each is none of the values of any numeric parameter.
_NO_NUMBERS = ("NaN", "-inf", "1e999", "9223372036854775808", "-400", "0x10", "")
_NUMERIC = {
    "/similar/T100%2B003": (
        *("k", "offset", "min_similarity", "diversity", "generation"),
        *("region_ra", "region_dec", "region_radius_deg"),
    ),
    "/similar?ra=1&dec=1": ("radius_arcsec",),
    "/sources": ("limit", "radius_arcsec"),
    "/outliers": ("k", "offset"),
    "/sources/T100%2B003/cutout.png": ("size", "field_arcsec"),
    "/sessions": ("limit", "offset"),
    "/jobs": ("limit",),
}


def odd_requests() -> Iterator[OddRequest]:
    """All of them."""
    yield from _numbers()
    yield from _rows(POSITIONS, "invalid-parameter")
    yield from _rows(FILTERS, "invalid-filter")
    yield from _rows(REGIONS, "invalid-region")
    for table in (PATHS, HEADERS, METHODS, FORMS, JSON, SERVER):
        for name, (data, status, problem) in table.items():
            yield OddRequest(name, data, status, problem)


def _numbers() -> Iterator[OddRequest]:
    for path, names in _NUMERIC.items():
        for name, value in product(names, _NO_NUMBERS):
            joint = "&" if "?" in path else "?"
            target = f"{path}{joint}{name}={value}"
            yield OddRequest(target, get(target), 422, "invalid-parameter")
    for name, value in product(("pixel_scale_arcsec", "hdu"), _NO_NUMBERS):
        target = f"/embeddings?{name}={value}"
        data = form(target, file_part())
        yield OddRequest(target, data, 422, "invalid-parameter")


def _rows(targets: tuple[str, ...], problem: str) -> Iterator[OddRequest]:
    for target in targets:
        yield OddRequest(target[:100], get(target), 422, problem)
