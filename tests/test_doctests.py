"""Examples in docstrings are true."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest
import torch

import twinjet.index
import twinjet.model


def modules() -> list[str]:
    packages: tuple[ModuleType, ...] = (twinjet.model, twinjet.index)
    return [
        found.name
        for package in packages
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if "migrations" not in found.name
    ]


@pytest.mark.parametrize("name", modules())
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": torch})
    assert result.failed == 0
