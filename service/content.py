"""Bodies by their type: what came, by its Content-Type; what is wanted, by Accept."""

from fastapi import HTTPException, Request
from starlette.datastructures import Headers

from twinjet.service.tables import MEDIA_TYPES, Format

JSON = "application/json"
FORM = "multipart/form-data"


def form_only(request: Request) -> None:
    """Refuse a body that is neither a form nor what an earlier route took.

    Raises
    ------
    HTTPException
        415, naming both kinds and the one that came.
    """
    given = media_type(request.headers)
    if given != FORM:
        came = repr(given[:100]) if given else "no Content-Type"
        raise HTTPException(415, f"send {FORM} or {JSON}; {came} came")


def wanted_format(accept: str) -> Format | None:
    """The table that an Accept header prefers to JSON; None for JSON.

    What is not known is passed over: a browser gets JSON.

    Examples
    --------
    >>> wanted_format("text/csv, application/json;q=0.5")
    'csv'
    >>> wanted_format("text/html, */*") is None
    True
    """
    by_type: dict[str, Format | None] = {
        media: form for form, media in MEDIA_TYPES.items()
    }
    by_type |= {JSON: None, "*/*": None, "application/*": None}
    best, chosen = 0.0, None
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        weight = _weight(parameters)
        known = name.strip().lower()
        if known in by_type and weight > best:
            best, chosen = weight, by_type[known]
    return chosen


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def media_type(headers: Headers) -> str:
    """Of a body, without parameters.

    Examples
    --------
    >>> media_type(Headers({"content-type": "Text/CSV; charset=utf-8"}))
    'text/csv'
    """
    return headers.get("content-type", "").partition(";")[0].strip().lower()
