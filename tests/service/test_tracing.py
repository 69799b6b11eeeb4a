"""Requests as spans, at a collector that speaks OTLP/HTTP; nothing where none is."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from commands import TWINJET
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from servers import free_port

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.logs import formatter, identified
from twinjet.service.scopes import PUBLIC

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HIDDEN = "swordfish-0123456789"


@dataclass
class Collector:
    """What has come, as it was read by OpenTelemetry's own protobuf."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    service: dict[str, str] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for known in resource.resource.attributes:
                self.service[known.key] = known.value.string_value
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def requests(self) -> list[Span]:
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def within(self, span: Span) -> list[Span]:
        return [one for one in self.spans if one.parent_span_id == span.span_id]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    received = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            received.take(self.rfile.read(int(self.headers["Content-Length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv(ENDPOINT, received.url)
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Span) -> dict[str, object]:
    values = {one.key: one.value for one in span.attributes}
    return {
        key: getattr(value, value.WhichOneof("value")) for key, value in values.items()
    }


def test_a_request_is_a_span_of_its_route(config: Config, collector: Collector) -> None:
    with TestClient(create_app(config)) as client:
        answer = client.get("/similar/T100%2B003", headers={"X-Request-ID": "ticket-1"})
        assert answer.status_code == 200
        assert client.get("/similar/nobody").status_code == 404
        assert client.get("/no-such-page").status_code == 404
        assert client.request("BREW", "/similar/T100%2B003").status_code == 405
    found, missing, nowhere, brewed = collector.requests()
    assert found.name == "GET /similar/{source_id}"
    assert attributes(found) == {
        "twinjet.request_id": "ticket-1",
        "http.request.method": "GET",
        "http.route": "/similar/{source_id}",
        "http.response.status_code": 200,
    }
    assert attributes(missing)["http.response.status_code"] == 404
    assert missing.status.code == Status.STATUS_CODE_UNSET
    assert nowhere.name == "GET"
    assert "http.route" not in attributes(nowhere)
    assert attributes(brewed)["http.request.method"] == "_OTHER"
    assert len({span.trace_id for span in collector.requests()}) == 4
    assert collector.service["service.name"] == "twinjet"


def test_parts_of_the_time_are_spans_within(
    config: Config, collector: Collector, sky: Path
) -> None:
    cutout = (sky / "T003.fits").read_bytes()
    with TestClient(create_app(config)) as client:
        answer = client.post("/similar", files={"file": cutout})
    told = dict(
        part.split(";dur=") for part in answer.headers["server-timing"].split(", ")
    )
    (request,) = collector.requests()
    parts = collector.within(request)
    assert {"queue", "decode", "embed", "search", "metadata"} <= {p.name for p in parts}
    for name in set(told) - {"other", "total"}:
        spent = sum(
            p.end_time_unix_nano - p.start_time_unix_nano
            for p in parts
            if p.name == name
        )
        assert spent / 1e6 == pytest.approx(float(told[name]), abs=0.002)
    assert {part.trace_id for part in parts} == {request.trace_id}
    ordered = sorted(parts, key=lambda part: part.start_time_unix_nano)
    names = [part.name for part in ordered]
    assert names.index("decode") < names.index("embed") < names.index("search")
    for one, following in pairwise(ordered):
        assert one.end_time_unix_nano <= following.start_time_unix_nano + 100_000
    assert ordered[-1].end_time_unix_nano <= request.end_time_unix_nano


def test_a_trace_that_was_begun_elsewhere_goes_on(
    config: Config, collector: Collector
) -> None:
    with TestClient(create_app(config)) as client:
        client.get("/livez", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        client.get("/livez", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        client.get("/livez", headers={"traceparent": "00-not-a-trace-01"})
    followed, own = collector.requests()  # the second was not to be recorded
    assert (followed.trace_id.hex(), followed.parent_span_id.hex()) == (TRACE, PARENT)
    assert own.trace_id.hex() != TRACE
    assert not own.parent_span_id


def test_nothing_of_query_headers_and_body_is_in_a_trace(
    config: Config, collector: Collector
) -> None:
    app = create_app(config)

    @app.get("/fault", dependencies=[PUBLIC])
    def fault(word: str) -> None:
        raise RuntimeError(word)

    with TestClient(app, raise_server_exceptions=False) as client:
        client.get(f"/sources?name={HIDDEN}", headers={"Authorization": HIDDEN})
        client.post("/similar", json={"like": [HIDDEN]})
        client.post("/similar", files={"file": (HIDDEN, HIDDEN.encode())})
        client.get(f"/sources/{HIDDEN}")
        assert client.get(f"/fault?word={HIDDEN}").status_code == 500
    assert len(collector.requests()) == 5
    assert collector.requests()[-1].status.code == Status.STATUS_CODE_ERROR
    assert not any(span.events for span in collector.spans)
    for body in collector.bodies:
        assert HIDDEN.encode() not in body


def test_lines_of_the_log_have_the_trace(config: Config, collector: Collector) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter("json"))
    handler.addFilter(identified)
    logger = logging.getLogger("twinjet.service.observation")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with TestClient(create_app(config)) as client:
            client.get("/livez")
            client.get("/livez")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [line["trace_id"] for line in lines] == [
        span.trace_id.hex() for span in collector.requests()
    ]


def test_the_name_and_the_endpoint_are_those_of_the_standard_variables(
    config: Config, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "twinjet-of-the-north")
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces"
    )
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9/not-this-one")
    with TestClient(create_app(config)) as client:
        client.get("/livez")
    assert collector.service["service.name"] == "twinjet-of-the-north"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")],
)
def test_the_standard_variables_switch_it_off(
    config: Config,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with TestClient(create_app(config)) as client:
        client.get("/livez")
    assert not collector.bodies


def test_a_collector_that_is_away_disturbs_nobody(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with TestClient(create_app(config)) as client:
        assert client.get("/similar/T100%2B003").status_code == 200


def test_nothing_is_imported_where_no_collector_is_named() -> None:
    script = (
        "import sys\n"
        "from twinjet.service.app import create_app\n"
        "create_app()\n"
        "wanted = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "assert not [name for name in sys.modules if name.startswith(wanted)]\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def served(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TWINJET, "serve", "--home", str(tmp_path), "--port", "0"],
        env={**os.environ, "TWINJET_WORKERS": "0", **variables},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def test_a_collector_without_the_extra_is_refused_at_the_start(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    # Found before what is installed, and as good as none.
    (absent / "sitecustomize.py").write_text(
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n"
    )
    done = served(
        tmp_path, PYTHONPATH=str(absent), **{ENDPOINT: "http://127.0.0.1:4318"}
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"twinjet: {ENDPOINT} is set and OpenTelemetry is not"
    )
    assert "pip install 'twinjet[otel]'" in done.stderr


def test_a_protocol_that_is_not_spoken_is_refused_at_the_start(tmp_path: Path) -> None:
    done = served(
        tmp_path,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        **{ENDPOINT: "http://127.0.0.1:4317"},
    )
    assert done.returncode == 1
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'" in done.stderr
    assert "http/protobuf" in done.stderr


def test_without_a_collector_the_extra_is_not_imported() -> None:
    code = (
        "import sys, twinjet.service.app; "
        "print([m for m in sys.modules if m.startswith("
        "('opentelemetry.sdk', 'opentelemetry.exporter', 'twinjet.service.spans'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
