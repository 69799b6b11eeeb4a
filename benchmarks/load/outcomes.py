"""What came of a load, in figures."""

from dataclasses import asdict, dataclass

import numpy as np
from arrivals import Outcome
from numpy.typing import NDArray

_OK = 200
_REFUSALS = (429, 503)

# In windows so long it is looked for when the service is as before.
_WINDOW_S = 0.25


@dataclass(frozen=True)
class Figures:
    """Of one stretch of a load."""

    asked: int
    seconds: float
    answered: int
    refused: int
    failed: int
    """Neither: errors of the service, connections that broke, no answer in time."""
    hopeless: int
    """Refusals that do not say when to come again."""
    goodput: float
    """Answers a second that came within the stretch, whenever they were due."""
    uploads: float
    """Of these answers, those to uploads."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    largest_ms: float
    """Of what was answered, from when it was due."""
    refusal_p50_ms: float
    refusal_p99_ms: float
    refusal_largest_ms: float
    late_p99_ms: float
    """By how much the load itself was late."""
    faults: dict[str, int]

    def raw(self) -> dict[str, object]:
        """For JSON."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def figures(outcome: Outcome, began_s: float, seconds: float) -> Figures:
    """Of what was due in a stretch of time."""
    within = (outcome.due_s >= began_s) & (outcome.due_s < began_s + seconds)
    status, took_ms = outcome.status[within], outcome.took_ms[within]
    answered, refused = status == _OK, np.isin(status, _REFUSALS)
    came_s = outcome.due_s + outcome.took_ms / 1e3
    in_time = (outcome.status == _OK) & (came_s >= began_s)
    in_time &= came_s < began_s + seconds
    p50, p90, p99, largest = _percentiles(took_ms[answered], 50, 90, 99, 100)
    soon, late, latest = _percentiles(took_ms[refused], 50, 99, 100)
    (behind,) = _percentiles(outcome.late_ms[within], 99)
    return Figures(
        asked=int(within.sum()),
        seconds=seconds,
        answered=int(answered.sum()),
        refused=int(refused.sum()),
        failed=int((~answered & ~refused).sum()),
        hopeless=int((refused & ~outcome.retry_after[within]).sum()),
        goodput=float(in_time.sum() / seconds),
        uploads=float(outcome.upload[in_time].sum() / seconds),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        largest_ms=largest,
        refusal_p50_ms=soon,
        refusal_p99_ms=late,
        refusal_largest_ms=latest,
        late_p99_ms=behind,
        faults=outcome.faults,
    )


def recovery_s(
    outcome: Outcome, ended_s: float, quiet_p50_ms: float
) -> tuple[float, int]:
    """How long after the end of an overload the service was as in quiet.

    As in quiet is the first quarter of a second in which nothing is refused and the
    median is less than twice what it is in quiet. Gives seconds, and how many were
    refused in them; not a number where it never was.
    """
    after = outcome.due_s >= ended_s
    window = ((outcome.due_s[after] - ended_s) / _WINDOW_S).astype(int)
    status, took_ms = outcome.status[after], outcome.took_ms[after]
    for number in range(int(window.max(initial=-1)) + 1):
        here = window == number
        calm = (status[here] == _OK).all()
        if here.any() and calm and np.median(took_ms[here]) < 2 * quiet_p50_ms:
            earlier = window < number
            return number * _WINDOW_S, int((status[earlier] != _OK).sum())
    return float("nan"), int((status != _OK).sum())


def _percentiles(values: NDArray[np.float64], *parts: float) -> list[float]:
    if not len(values):
        return [float("nan")] * len(parts)
    return [float(value) for value in np.percentile(values, parts)]
