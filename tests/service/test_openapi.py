"""The API keeps what its description says, whatever is asked within it or beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr
from schemathesis.checks import CheckContext
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import CheckFailureInfo
from schemathesis.python import asgi
from skies import index_sky, write_sky

from twinjet.model.encoder import load_encoder
from twinjet.service.app import create_app
from twinjet.service.config import Config

KEY = "a key of sixteen characters or more"
MARK = "x-refused-by-schema"

CHECKS = {
    # A schema cannot say which filters, regions, files and pairs of parameters have a
    # meaning, nor how many parts a form has in all, so these statuses may follow what
    # it allows. What is refused by the schema itself never may: see
    # `allowed_is_not_refused_by_the_schema`.
    "positive_data_acceptance": {
        "expected-statuses": [
            *("2xx", "400", "401", "403", "404", "409", "410", "413", "415", "422"),
        ]
    },
}

_OFF = {"enabled": False}
OPERATIONS = [
    # A job that is cancelled stays, to be looked at: DELETE ends it, forgets nothing.
    {"include-path-regex": "^/jobs", "checks": {"use_after_free": _OFF}},
    # Which are also the job and the source of these names: GET /similar/batch asks for
    # the neighbours of a source called batch, so that Allow rightly has more.
    {
        "include-path-regex": "^/jobs/reindex$|^/similar/batch$",
        "checks": {"use_after_free": _OFF, "allow_header_conformance": _OFF},
    },
]


@schemathesis.check
def allowed_is_not_refused_by_the_schema(
    ctx: CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """What the description allows passes the validation of the framework."""
    del ctx
    meant = case.meta is not None and case.meta.generation.mode.is_positive
    # That a form wants a file, or examples instead, no schema of a form says.
    refused = MARK in response.headers and "missing-file" not in response.text
    assert not (meant and refused), response.text


@pytest.fixture
def app(config: Config, tmp_path: Path) -> Iterator[FastAPI]:
    """A service of the test's own, whose answers tell when validation refused."""
    assert config.encoder is not None
    write_sky(tmp_path / "sky", 40)
    index_sky(tmp_path / "sky", tmp_path / "home", load_encoder(config.encoder))
    changed = {"home": tmp_path / "home", "admin_key": SecretStr(KEY)}
    app = create_app(config.model_copy(update=changed))
    refuse = app.exception_handlers[RequestValidationError]

    @app.exception_handler(RequestValidationError)
    async def marked(request: Request, exc: RequestValidationError) -> Response:
        answer: Response = await refuse(request, exc)  # type: ignore[misc]
        answer.headers[MARK] = "yes"
        return answer

    yield app
    asgi.shutdown_lifespans()


def faults_of(app: FastAPI, *, examples: int, steps: int) -> str:
    """All operations, all phases, all checks; what was found, once each."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {KEY}"},
            "generation": {
                "max-examples": examples,
                "deterministic": True,
                "no-shrink": True,
                "database": "none",
            },
            "phases": {"stateful": {"max-steps": steps}},
            "checks": CHECKS,
            "operations": OPERATIONS,
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    faults: dict[tuple[str, ...], str] = {}
    asked = 0
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError), event.exception
        if isinstance(event, events.NonFatalError):
            faults[event.label, repr(event.value)] = repr(event.value)
        if isinstance(event, events.ScenarioFinished):
            asked += len(event.recorder.interactions)
            for name, found in _failures(event):
                key = (event.recorder.label, name, found.failure.title)
                faults[key] = f"{found.failure.message}\n{found.code_sample[:2000]}"
    assert asked > 50 * len(app.openapi()["paths"])
    return "\n\n".join(f"{' '.join(key)}: {told}" for key, told in faults.items())


def _failures(event: events.ScenarioFinished) -> Iterator[tuple[str, CheckFailureInfo]]:
    for checks in event.recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                yield check.name, check.failure_info


@pytest.mark.slow
def test_all_operations_keep_to_their_description(app: FastAPI) -> None:
    if faults := faults_of(app, examples=2, steps=6):
        pytest.fail(faults, pytrace=False)


@pytest.mark.torture
def test_so_they_do_at_length(
    app: FastAPI, record_property: Callable[[str, object], None]
) -> None:
    record_property("asked", "300 examples of each operation, up to 30 steps of links")
    if faults := faults_of(app, examples=300, steps=30):
        pytest.fail(faults, pytrace=False)
