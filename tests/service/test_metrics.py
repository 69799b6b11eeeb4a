"""`/metrics` counts what was asked, and nothing makes series without end."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from scrapes import Series, figures, moved, scraped, series

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.metrics import FOLDER
from twinjet.service.scopes import PUBLIC

REQUESTS = "twinjet_http_requests_total"
DURATIONS = "twinjet_http_request_duration_seconds_count"
STAGES = "twinjet_stage_duration_seconds_count"


@pytest.fixture
def client(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A service whose figures begin at nothing."""
    monkeypatch.delenv(FOLDER, raising=False)
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        yield client


def request_series(method: str, route: str, status: int) -> Series:
    return series(REQUESTS, method=method, route=route, status=str(status))


def test_figures_move_by_what_was_asked(client: TestClient, sky: Path) -> None:
    before = scraped(client)
    for number in (3, 4, 5):
        assert client.get(f"/similar/T100%2B00{number}").status_code == 200
    assert client.get("/similar/nobody").status_code == 404
    cutout = (sky / "T003.fits").read_bytes()
    for _ in range(2):
        assert client.post("/similar", files={"file": cutout}).status_code == 200
    assert client.post("/similar", files={"file": b"text"}).status_code == 415
    assert client.delete("/similar/T100%2B003").status_code == 405
    after = scraped(client)
    source = "/similar/{source_id}"
    assert moved(before, after, REQUESTS) == {
        request_series("GET", source, 200): 3,
        request_series("GET", source, 404): 1,
        request_series("POST", "/similar", 200): 2,
        request_series("POST", "/similar", 415): 1,
        request_series("DELETE", source, 405): 1,
        request_series("GET", "/metrics", 200): 1,
    }
    assert moved(before, after, DURATIONS) == {
        series(DURATIONS, method="GET", route=source): 4,
        series(DURATIONS, method="POST", route="/similar"): 3,
        series(DURATIONS, method="DELETE", route=source): 1,
        series(DURATIONS, method="GET", route="/metrics"): 1,
    }
    stages = moved(before, after, STAGES)
    assert {
        stage: stages[series(STAGES, stage=stage)]
        for stage in ("decode", "embed", "search", "metadata")
    } == {"decode": 2, "embed": 2, "search": 5, "metadata": 5}


def test_times_of_stages_are_those_of_server_timing(client: TestClient) -> None:
    name = "twinjet_stage_duration_seconds_sum"
    before = scraped(client)
    timing = client.get("/similar/T100%2B003").headers["server-timing"]
    told = dict(part.split(";dur=") for part in timing.split(", "))
    summed = moved(before, scraped(client), name)
    assert summed[series(name, stage="search")] == pytest.approx(
        float(told["search"]) / 1e3, abs=1e-6
    )


def test_strange_questions_make_no_series(client: TestClient) -> None:
    def ask() -> None:
        word = uuid.uuid4().hex
        client.get(f"/{word}")
        client.get(f"/{word}/{word}?{word}={word}")
        client.get(f"/similar/{word}?{word}={word}")
        client.get(f"/sources/{word}")
        client.get(f"/sources/{word}/cutout.png")
        client.get(f"/static/{word}")
        client.request(word.upper(), "/livez")
        client.request(word.upper(), f"/{word}")
        client.get("/livez", headers={"X-Request-ID": word, "User-Agent": word})

    ask()
    scraped(client)
    before = scraped(client)
    for _ in range(10):
        ask()
    after = scraped(client)
    # The first one that waits for a moment begins the series of that stage.
    waited = {one for one in after if ("stage", "queue") in one[1]}
    assert set(after) - waited == set(before) - waited
    assert moved(before, after, REQUESTS) == {
        request_series("GET", "none", 404): 20,
        request_series("GET", "/similar/{source_id}", 422): 10,
        request_series("GET", "/sources/{source_id}", 404): 10,
        request_series("GET", "/sources/{source_id}/cutout.png", 404): 10,
        request_series("GET", "/static/{path}", 404): 10,
        request_series("other", "/livez", 405): 10,
        request_series("other", "none", 404): 10,
        request_series("GET", "/livez", 200): 10,
        request_series("GET", "/metrics", 200): 1,
    }


def test_routes_are_those_of_the_description(client: TestClient) -> None:
    for path in ("/", "/docs", "/openapi.json", "/sources?limit=1", "/static/nothing"):
        client.get(path)
    declared = set(client.get("/openapi.json").json()["paths"])
    seen = {
        dict(labels)["route"] for name, labels in scraped(client) if name == REQUESTS
    }
    # The last is what is refused at the door, if only 0 times.
    beside = {"/", "/docs", "/openapi.json", "/static/{path}", "none"}
    assert seen <= {path.replace(":path", "") for path in declared} | beside
    assert beside <= seen


def test_what_is_served_is_told(client: TestClient) -> None:
    told = scraped(client)
    assert told[series("twinjet_generation")] == 1
    assert told[series("twinjet_sources")] == 40
    assert told[series("twinjet_degraded")] == 0
    assert told[series("twinjet_uploads_in_flight")] == 0
    assert told[series("process_resident_memory_bytes")] > 1e6


def test_nothing_to_serve_is_told(empty_client: TestClient) -> None:
    told = scraped(empty_client)
    assert told[series("twinjet_generation")] == 0
    assert told[series("twinjet_sources")] == 0
    assert told[series("twinjet_degraded")] == 1


def test_openmetrics_is_answered_to_who_asks(client: TestClient) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_an_upload_is_in_flight_until_it_is_answered(
    config: Config, sky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    app = create_app(config)
    arrived, go_on = threading.Event(), threading.Event()

    @app.post("/held", dependencies=[PUBLIC])
    def held() -> None:
        arrived.set()
        assert go_on.wait(30)

    with TestClient(app) as client:
        file = (sky / "T003.fits").read_bytes()
        asking = threading.Thread(
            target=client.post, args=("/held",), kwargs={"files": {"file": file}}
        )
        asking.start()
        assert arrived.wait(30)
        during = scraped(client)
        go_on.set()
        asking.join()
        after = scraped(client)
    assert during[series("twinjet_uploads_in_flight")] == 1
    assert after[series("twinjet_uploads_in_flight")] == 0


# Counts, then holds an upload and what it serves until it is ended.
_PROCESS = """
import sys
from twinjet.service.metrics import Metrics

metrics = Metrics()
generation, times = int(sys.argv[1]), int(sys.argv[2])
for _ in range(times):
    metrics.count(
        method="GET", route="/", status="200", seconds=0.1, parts_ms={"search": 50}
    )
metrics.begin_upload()
metrics.set_state(generation=generation, sources=10 * generation, degraded=times > 4)
print("ready", flush=True)
sys.stdin.read()
"""

_SCRAPE = """
from twinjet.service.metrics import Metrics
print(Metrics().exposition("")[0].decode())
"""


def test_any_process_answers_for_all_and_not_for_the_dead(tmp_path: Path) -> None:
    environment = os.environ | {FOLDER: str(tmp_path / "figures")}

    def begin(*arguments: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def scrape() -> dict[Series, float]:
        done = subprocess.check_output(
            [sys.executable, "-c", _SCRAPE], env=environment, text=True
        )
        return figures(done)

    with begin(7, 3) as one, begin(8, 5) as other:
        all_of_them = scrape()
        assert all_of_them[request_series("GET", "/", 200)] == 8
        assert all_of_them[series(STAGES, stage="search")] == 8
        assert all_of_them[series("twinjet_uploads_in_flight")] == 2
        assert all_of_them[series("twinjet_degraded")] == 1
        other.send_signal(signal.SIGKILL)
        other.wait()
        alive = scrape()
        assert alive[request_series("GET", "/", 200)] == 8
        assert alive[series("twinjet_uploads_in_flight")] == 1
        assert alive[series("twinjet_degraded")] == 0
        one.kill()
