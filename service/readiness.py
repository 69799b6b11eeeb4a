"""What is served, and what is wrong with it."""

from dataclasses import dataclass
from typing import Literal

from twinjet.index.errors import DatabaseDamagedError, NoGenerationError
from twinjet.index.store import Generation
from twinjet.service.metrics import Metrics
from twinjet.service.resources import Resources


@dataclass(frozen=True)
class Readiness:
    """Whether the service can answer."""

    status: Literal["ok", "degraded", "unavailable"]
    generation: Generation | None
    trouble: str | None


def readiness(held: Resources) -> Readiness:
    """Look at what is served now."""
    try:
        generation = held.served.generation
    except (NoGenerationError, DatabaseDamagedError) as exc:
        return Readiness("unavailable", None, str(exc))
    trouble = held.trouble or held.mismatch()
    return Readiness("degraded" if trouble else "ok", generation, trouble)


def measure(held: Resources, metrics: Metrics) -> None:
    """Set the figures of what is served now."""
    found = readiness(held)
    generation = found.generation
    metrics.set_state(
        generation=0 if generation is None else generation.number,
        sources=0 if generation is None else generation.source_count,
        degraded=found.status != "ok",
    )
