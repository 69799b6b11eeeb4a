"""Settings that are lists: proxies that are believed, origins that may ask."""

from ipaddress import ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode


def _parts(value: Any) -> Any:
    """Of a text with commas; what is a list already stays."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as exc:
            msg = (
                f"{exc}; addresses and networks stand with commas between, as "
                "127.0.0.1,10.0.0.0/8"
            )
            raise ValueError(msg) from exc
    return values


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers write them, or they would never be the same.

    Examples
    --------
    >>> _origins(("https://sky.example", "http://localhost:8080"))
    ('https://sky.example', 'http://localhost:8080')
    """
    for value in values:
        if value != _origin_of(value):
            msg = (
                f"{value!r} is no origin; one is a scheme, a host in small letters, "
                "and a port where it is not the usual one, as https://sky.example, "
                "with commas between; never * or null"
            )
            raise ValueError(msg)
    return values


def _origin_of(value: str) -> str | None:
    usual = {"http": 80, "https": 443}
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in usual or not host or not host.isascii() or "*" in host:
        return None
    host = f"[{host}]" if ":" in host else host
    shown = "" if port in {None, usual[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


Networks = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_parts), AfterValidator(_networks)
]
Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_parts), AfterValidator(_origins)
]
