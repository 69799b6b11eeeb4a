"""What `/metrics` says, as numbers."""

from collections.abc import Mapping

import httpx2 as httpx
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]


def series(name: str, **labels: str) -> Series:
    """A figure by its name and labels."""
    return name, frozenset(labels.items())


def figures(text: str) -> dict[Series, float]:
    """All figures of an exposition."""
    return {
        series(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(client: httpx.Client) -> dict[Series, float]:
    """All figures of a service."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return figures(answer.text)


def moved(
    before: Mapping[Series, float], after: Mapping[Series, float], name: str
) -> dict[Series, float]:
    """By how much the figures of one name are higher, where they are."""
    changes = {
        key: value - before.get(key, 0.0)
        for key, value in after.items()
        if key[0] == name
    }
    return {key: change for key, change in changes.items() if change}
