"""A short walk over what is fuzzed at length: seeds, and seeds with damage."""

import random
import time

import pytest
from fuzz_targets import TARGETS

_MOST_S = 10
_DRAWS = 400


def damaged(draw: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with some bytes changed, a part cut out, or a part of another in it."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(data) + 1)
        match draw.randrange(4):
            case 0 if start < len(data):
                data[start] = draw.randrange(256)
            case 1:
                del data[start : start + draw.randint(1, 80)]
            case 2:
                other = draw.choice(seeds)
                place = draw.randrange(len(other) + 1)
                data[start:start] = other[place : place + draw.randint(1, 80)]
            case _:
                del data[start:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_damaged_seeds_are_read_or_refused(name: str) -> None:
    target, draw = TARGETS[name], random.Random(1)  # noqa: S311 - no secret
    seeds = list(target.seeds())
    for data in [*seeds, *(damaged(draw, seeds) for _ in range(_DRAWS))]:
        started = time.monotonic()
        target.attack(data)
        assert time.monotonic() - started < _MOST_S, data[:100]
