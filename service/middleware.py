"""What stands between the server and the routes, in its order."""

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from twinjet.service.access import Access
from twinjet.service.admission import Admission
from twinjet.service.config import Config
from twinjet.service.door import Door
from twinjet.service.ending import Ending, LastAnswers
from twinjet.service.headers import SecurityHeaders
from twinjet.service.heads import Heads
from twinjet.service.limits import BodyLimit, BodyPace
from twinjet.service.line import Line
from twinjet.service.metrics import Metrics
from twinjet.service.observation import Observation, Unforeseen
from twinjet.service.refusals import Refusals
from twinjet.service.request_ids import RequestIds
from twinjet.service.scopes import Level
from twinjet.service.timings import ServerTiming

if TYPE_CHECKING:  # what it imports is there only where the extra is
    from twinjet.service.spans import Spans

# Between a page of another origin and this service.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SENT_HEADERS = ("Authorization", "Idempotency-Key", "X-Request-ID")
_TOLD_HEADERS = (
    *("Twinjet-Generation", "Twinjet-Encoder", "Twinjet-Catalogue", "Twinjet-Exact"),
    *("Server-Timing", "X-Request-ID", "Retry-After", "Link", "Location"),
    *("Content-Disposition", "WWW-Authenticate"),
)


def add_middleware(
    app: FastAPI,
    settings: Config,
    *,
    anonymous: Level,
    figures: Metrics,
    traces: "Spans | None",
    ending: Ending,
) -> None:
    """Add all of it; what is added last sees a request first.

    Parameters
    ----------
    app
        The application.
    settings
        In force.
    anonymous
        What needs no key.
    figures, traces
        Where requests are counted and told; None without a collector.
    ending
        Whether the service ends.
    """
    reads, others = (
        Line(settings.places, wait_s=settings.read_wait_s) for _ in range(2)
    )
    refusals = Refusals()
    app.add_middleware(BodyLimit, max_upload_bytes=settings.max_upload_bytes)
    app.add_middleware(
        Admission,
        reads=reads,
        others=others,
        files=settings.upload_queue,
        refusals=refusals,
    )
    # Who waits for a place has sent its body.
    app.add_middleware(
        BodyPace,
        stall_s=settings.body_stall_s,
        bytes_per_s=settings.body_bytes_per_s,
    )
    # Who is refused anyway takes nobody's place.
    app.add_middleware(Access, anonymous=anonymous)
    app.add_middleware(Unforeseen)
    app.add_middleware(Heads)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_SENT_HEADERS,
            expose_headers=_TOLD_HEADERS,
        )
    app.add_middleware(SecurityHeaders, hsts_s=settings.hsts_s)
    app.add_middleware(ServerTiming)
    app.add_middleware(LastAnswers, ending=ending)
    app.add_middleware(Observation, metrics=figures)
    if settings.trusted_proxies:
        proxies = list(settings.trusted_proxies)
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    if traces is not None:
        app.add_middleware(traces.around)
    app.add_middleware(RequestIds)
    app.add_middleware(
        Door, reads=reads, refusals=refusals, metrics=figures, ending=ending
    )
