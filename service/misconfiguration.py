"""Settings that cannot be used, each said in one line."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from twinjet.index.sharing import without_credentials

PREFIX = "TWINJET_"

# Variables that are no settings: of workers among themselves, and of the tests.
_OTHERS = {"TWINJET_DEVICE"}
_OF_TESTS = "TWINJET_TEST_"


class ConfigError(Exception):
    """A setting has a value that it cannot have."""


def described(exc: ValidationError, settings: type[BaseSettings]) -> str:
    """Each setting at fault: its variable, its value and what is allowed.

    The values of secrets are not told.
    """
    lines = []
    for error in exc.errors(include_url=False):
        name = str(error["loc"][0]) if error["loc"] else ""
        field = settings.model_fields.get(name)
        if field is None:
            lines.append(f"{name}: {error['msg']}")
            continue
        secret = "SecretStr" in str(field.annotation)
        value = "" if secret else f"={_value(error['input'])!r}"
        allowed = error["msg"][0].lower() + error["msg"][1:]
        lines.append(f"{PREFIX}{name.upper()}{value}: {allowed} ({field.description})")
    return "; ".join(lines)


def unknown(environment: Mapping[str, str], known: Iterable[str]) -> Iterator[str]:
    """What to say of each variable that looks like a setting and is none."""
    names = [f"{PREFIX}{name.upper()}" for name in known]
    for variable in sorted(environment):
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper.startswith(_OF_TESTS):
            continue
        if upper not in names and upper not in _OTHERS:
            near = get_close_matches(upper, names, n=1, cutoff=0.0)[0]
            yield f"{variable} is no setting and has no effect; the nearest is {near}"


def _value(given: Any) -> Any:
    if isinstance(given, str):
        return without_credentials(given)
    return "..." if isinstance(given, SecretStr) else given
