"""Figures for Prometheus: what is asked, how long it takes, what is served.

Figures are of one process, unless the environment names a folder in
``PROMETHEUS_MULTIPROC_DIR``: then those of all processes of this machine that share
the folder are added up, and any of them answers for all.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

NO_ROUTE = "none"
"""Label of whatever path matches no route, and of what is refused at the door."""

# From an answer out of memory to an upload in a queue.
_REQUEST_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
_STAGE_S = (0.0001, 0.00025, 0.0005, *_REQUEST_S)


class Metrics:
    """What one service counts.

    Labels have few values: a route is a template, never a path.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # half of all series, and nobody asks
        self._folder = os.environ.get(FOLDER)
        if self._folder is not None:
            Path(self._folder).mkdir(parents=True, exist_ok=True)
        self._registry = CollectorRegistry()
        if self._folder is None:
            ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "twinjet_http_requests",
            "Requests that were answered, by the route's template",
            ("method", "route", "status"),
            registry=self._registry,
        )
        # A look-up by labels costs more than the rest of such a refusal.
        self._at_door = self._requests.labels("GET", NO_ROUTE, "503")
        self._request_s = Histogram(
            "twinjet_http_request_duration_seconds",
            "From the arrival of a request to the last byte of its answer",
            ("method", "route"),
            buckets=_REQUEST_S,
            registry=self._registry,
        )
        self._stage_s = Histogram(
            "twinjet_stage_duration_seconds",
            "Parts of the time of a request, as in Server-Timing",
            ("stage",),
            buckets=_STAGE_S,
            registry=self._registry,
        )
        self._uploads = Gauge(
            "twinjet_uploads_in_flight",
            "Requests with a form that have no answer yet",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._generation = Gauge(
            "twinjet_generation",
            "Number of the generation that is served, 0 for none; of several "
            "processes the lowest",
            multiprocess_mode="livemin",
            registry=self._registry,
        )
        self._sources = Gauge(
            "twinjet_sources",
            "Sources of the generation that is served; of several processes the fewest",
            multiprocess_mode="livemin",
            registry=self._registry,
        )
        self._degraded = Gauge(
            "twinjet_degraded",
            "1 where /readyz says degraded or unavailable, else 0; of several "
            "processes the highest",
            multiprocess_mode="livemax",
            registry=self._registry,
        )

    def begin_upload(self) -> None:
        """A form has begun to arrive."""
        self._uploads.inc()

    def end_upload(self) -> None:
        """It has its answer, or never will."""
        self._uploads.dec()

    def count(
        self,
        *,
        method: str,
        route: str,
        status: str,
        seconds: float,
        parts_ms: Mapping[str, float],
    ) -> None:
        """Count a request that is over, and the parts of its time that are known."""
        self._requests.labels(method, route, status).inc()
        self._request_s.labels(method, route).observe(seconds)
        for stage, spent in parts_ms.items():
            self._stage_s.labels(stage).observe(spent / 1e3)

    def count_refused_at_door(self) -> None:
        """Count a GET that was refused before anybody looked where it leads."""
        self._at_door.inc()

    def set_state(self, *, generation: int, sources: int, degraded: bool) -> None:
        """Set what this process serves; generation 0 and no sources for nothing."""
        self._generation.set(generation)
        self._sources.set(sources)
        self._degraded.set(degraded)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures and their media type, in the format that is accepted."""
        encode, media_type = choose_encoder(accept)
        if self._folder is None:
            return encode(self._registry), media_type
        self._forget_dead(Path(self._folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._folder)
        return encode(registry), media_type

    def close(self) -> None:
        """Serve nothing any more in this process; what it counted stays."""
        if self._folder is not None:
            mark_process_dead(os.getpid(), self._folder)

    @staticmethod
    def _forget_dead(folder: Path) -> None:
        """Take out of the sum what processes held that were killed."""
        held = folder.glob("gauge_live*_*.db")
        for process in {path.stem.rpartition("_")[2] for path in held}:
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                with suppress(FileNotFoundError):  # another process does the same
                    mark_process_dead(int(process), folder)
            except (PermissionError, ValueError):
                continue  # it lives, or the file is none of ours
