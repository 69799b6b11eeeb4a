"""Whether requests are traced: only where the environment names a collector.

The variables are OpenTelemetry's own. Nothing of it is imported where none is set.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinjet.service.spans import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


class TracingError(Exception):
    """Traces are wanted, and cannot be sent."""


def spans() -> "Spans | None":
    """What makes spans of requests, if they are wanted.

    Raises
    ------
    TracingError
        They are, and what sends them is not installed, or another protocol is meant.
    """
    endpoint = next(filter(os.environ.get, _ENDPOINTS), None)
    if endpoint is None or _says("OTEL_SDK_DISABLED", "true"):
        return None
    if _says("OTEL_TRACES_EXPORTER", "none"):
        return None
    protocol = next(filter(os.environ.get, _PROTOCOLS), None)
    if protocol is not None and os.environ[protocol] != _PROTOCOL:
        msg = (
            f"{protocol} is {os.environ[protocol]!r}; traces are sent as {_PROTOCOL} "
            "only, usually to port 4318"
        )
        raise TracingError(msg)
    try:
        from twinjet.service.spans import Spans  # noqa: PLC0415 - only where wanted
    except ModuleNotFoundError as exc:
        msg = (
            f"{endpoint} is set and OpenTelemetry is not installed: "
            "pip install 'twinjet[otel]', or unset it"
        )
        raise TracingError(msg) from exc
    return Spans()


def _says(variable: str, value: str) -> bool:
    return os.environ.get(variable, "").strip().lower() == value
