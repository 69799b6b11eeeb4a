"""What a test needs and a machine may lack."""

import os

import pytest


def require(name: str, *, available: bool, reason: str) -> None:
    """Skip with the reason when it is not available; fail where it must be.

    CI names what must be in ``TWINJET_TEST_REQUIRE``, separated by commas.
    """
    if available:
        return
    if name in os.environ.get("TWINJET_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{name} is required here: {reason}")
    pytest.skip(f"{name}: {reason}")
