"""So many requests are computed at a time; the rest waits a little, or is refused."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi.responses import StreamingResponse
from problems import assert_problem
from serving import Running, read_answer, running, wait_until

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.errors import OverloadedError
from twinjet.service.files import Files, Upload
from twinjet.service.line import Line
from twinjet.service.scopes import READ

_LONG_S = 60.0


class Held:
    """Requests that are answered when they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = threading.Event()

    def wait(self) -> dict[str, str]:
        self.begun += 1
        assert self.go_on.wait(_LONG_S)
        return {}


@contextmanager
def service(
    config: Config, *, places: int = 1, wait_s: float = 0.05
) -> Iterator[tuple[Running, Held]]:
    app = create_app(config.model_copy(update={"reads": places, "read_wait_s": wait_s}))
    held = Held()
    app.get("/held", dependencies=[READ])(held.wait)
    app.post("/held", dependencies=[READ])(held.wait)

    @app.get("/streamed", dependencies=[READ])
    def streamed() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"first"
            held.wait()

        return StreamingResponse(parts())

    with running(app) as served:
        try:
            yield served, held
        finally:
            held.go_on.set()


def get(served: Running, path: str = "/similar/T100%2B003") -> httpx.Response:
    return httpx.get(served.url + path, timeout=_LONG_S)


def batch(served: Running) -> httpx.Response:
    asked = {"ids": ["T100+003"]}
    return httpx.post(f"{served.url}/similar/batch", json=asked, timeout=_LONG_S)


def test_without_a_place_a_request_is_refused_and_others_go_on(
    config: Config, sky: Path
) -> None:
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        first = clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        with served.connection() as client:
            for _ in range(3):
                client.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                status, headers, problem = read_answer(client)
                assert (status, problem["type"]) == (503, "/problems/overloaded")
                assert (problem["limit"], problem["actual"]) == (1, 1)
                assert int(headers["retry-after"]) >= 1
                assert problem["request_id"] == headers["x-request-id"]
            # By the same connection: what says how the service is.
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_answer(client)[0] == 200
        for path in ("/readyz", "/metrics", "/static/style.css"):
            assert get(served, path).status_code in {200, 404}
        assert batch(served).status_code == 200
        cutout = {"file": (sky / "T003.fits").read_bytes()}
        upload = httpx.post(f"{served.url}/similar", files=cutout, timeout=_LONG_S)
        assert upload.status_code == 200
        held.go_on.set()
        assert first.result().status_code == 200
        assert get(served).status_code == 200


def test_bodies_have_a_line_of_their_own_and_uploads_a_third_one(
    config: Config, sky: Path
) -> None:
    cutout = {"file": (sky / "T003.fits").read_bytes()}
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        first = clients.submit(httpx.post, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 1)
        assert_problem(batch(served), 503, "overloaded")
        assert get(served).status_code == 200
        for path in ("/similar", "/embeddings"):
            upload = httpx.post(served.url + path, files=cutout, timeout=_LONG_S)
            assert upload.status_code == 200
        held.go_on.set()
        assert first.result().status_code == 200
        assert batch(served).status_code == 200


def lets_in(files: Files) -> Upload | None:
    try:
        return files.let_in()
    except OverloadedError:
        return None


@pytest.mark.parametrize(("share", "let_in"), [(1.0, 100), (0.25, 26), (0.0, 2)])
def test_of_files_the_same_part_is_let_in_as_of_searches(
    monkeypatch: pytest.MonkeyPatch, share: float, let_in: int
) -> None:
    files = Files(1000, Line(1, wait_s=1.0))
    monkeypatch.setattr(Line, "share", property(lambda _: share))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    # One more at the begin; where none is let in, one after a second.
    first = sum(lets_in(files) is not None for _ in range(99))
    now += 1.1
    assert first + (lets_in(files) is not None) == let_in


def test_a_file_counts_from_when_its_body_has_come_until_it_is_taken() -> None:
    files = Files(100, Line(1, wait_s=1.0))
    first, second = files.let_in(), files.let_in()
    assert files.whole == 0
    first.whole = second.whole = True
    assert files.whole == 2
    for _ in range(2):  # its file is taken, and it ends
        files.leave(first)
        assert files.whole == 1


def test_so_many_bodies_come_at_a_time_and_slow_ones_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = Files(12, Line(1, wait_s=1.0))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    some = [lets_in(files) for _ in range(100)]
    assert sum(one is not None for one in some) == 12
    assert some[0] is not None
    some[0].whole = True
    assert sum(lets_in(files) is not None for _ in range(100)) == 1
    now += 1.1
    assert sum(lets_in(files) is not None for _ in range(100)) == 12


def test_files_are_refused_while_searches_are_and_no_longer(
    config: Config, sky: Path
) -> None:
    cutout = {"file": (sky / "T003.fits").read_bytes()}
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:

        def upload() -> httpx.Response:
            return httpx.post(f"{served.url}/similar", files=cutout, timeout=_LONG_S)

        clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        for _ in range(150):
            if get(served).status_code == 503 and upload().status_code == 503:
                break
        else:
            pytest.fail("every file was let in, and no search")
        refused = upload()
        while refused.status_code == 200:
            get(served)
            refused = upload()
        assert_problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        held.go_on.set()
        wait_until(lambda: get(served).status_code == 200)
        wait_until(lambda: upload().status_code == 200)
        # Nobody is refused any more: no file is, either.
        time.sleep(1.1)
        assert {upload().status_code for _ in range(5)} == {200}


def test_a_table_that_is_sent_has_a_place_too(config: Config) -> None:
    table = {"file": ("t.csv", "source_id\nT100+003\n")}
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        url = f"{served.url}/similar/batch"
        assert httpx.post(url, files=table, timeout=_LONG_S).status_code == 200
        first = clients.submit(httpx.post, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 1)
        answer = httpx.post(url, files=table, timeout=_LONG_S)
        assert_problem(answer, 503, "overloaded")
        held.go_on.set()
        assert first.result().status_code == 200


def test_who_is_refused_anyway_takes_no_place(config: Config) -> None:
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        first = clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        wrong = {"Authorization": "Bearer of nothing"}
        answer = httpx.get(f"{served.url}/held", headers=wrong, timeout=_LONG_S)
        assert_problem(answer, 401, "unauthenticated")
        held.go_on.set()
        assert first.result().status_code == 200


def test_a_burst_waits_for_its_turn(config: Config) -> None:
    with (
        service(config, wait_s=_LONG_S) as (served, held),
        ThreadPoolExecutor(8) as clients,
    ):
        all_of_them = [clients.submit(get, served, "/held") for _ in range(8)]
        wait_until(lambda: held.begun == 1)
        held.go_on.set()
        assert [one.result().status_code for one in all_of_them] == [200] * 8


def test_an_answer_that_has_begun_has_no_place(config: Config) -> None:
    with service(config) as (served, held), served.connection() as client:
        client.sendall(b"GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: held.begun == 1)
        assert get(served).status_code == 200


def test_a_body_that_is_still_to_come_has_no_place(config: Config) -> None:
    with service(config) as (served, _), served.connection() as client:
        client.sendall(
            b"POST /similar/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 22\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        assert batch(served).status_code == 200
        client.sendall(b'{"ids": ["T100+003"] }')
        assert read_answer(client)[0] == 200
        assert batch(served).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_claims_a_body_that_nobody_takes_waits_for_a_place_too(
    config: Config, method: str
) -> None:
    paths = {
        "GET": ["/held", "/similar/T100%2B003"],
        "POST": ["/held"],
        "DELETE": ["/lists/none"],
    }
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        kind = "GET" if method == "GET" else "POST"
        first = clients.submit(
            httpx.request, kind, f"{served.url}/held", timeout=_LONG_S
        )
        wait_until(lambda: held.begun == 1)
        for path in paths[method]:
            refused = httpx.request(method, served.url + path, content=b"x", timeout=5)
            assert_problem(refused, 503, "overloaded")
        held.go_on.set()
        assert first.result().status_code == 200


def test_a_form_of_ids_alone_and_a_read_that_is_called_a_form_have_places_too(
    config: Config,
) -> None:
    url, form = "/similar", {"Content-Type": "multipart/form-data; boundary=a"}
    ids = {"like": (None, "T100+003")}
    with service(config) as (served, held), ThreadPoolExecutor(2) as clients:
        asked = httpx.post(served.url + url, files=ids, timeout=_LONG_S)
        assert asked.status_code == 200
        for kind in ("GET", "POST"):
            clients.submit(httpx.request, kind, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 2)
        asked = httpx.post(served.url + url, files=ids, timeout=_LONG_S)
        assert_problem(asked, 503, "overloaded")
        read = f"{served.url}/similar/T100%2B003"
        assert_problem(httpx.get(read, headers=form), 503, "overloaded")
        held.go_on.set()


def test_waiting_for_a_turn_is_part_of_the_time(config: Config) -> None:
    with (
        service(config, wait_s=_LONG_S) as (served, held),
        ThreadPoolExecutor(2) as clients,
    ):
        clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        waits = clients.submit(get, served)
        time.sleep(0.2)
        held.go_on.set()
        timing = waits.result().headers["server-timing"]
        parts = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
        assert float(parts["queue"]) > 0


def test_a_failed_request_gives_its_place_back(config: Config) -> None:
    with service(config) as (served, _):
        for _ in range(3):
            assert_problem(get(served, "/similar/nobody"), 404, "unknown-source")
            assert get(served, "/nowhere").status_code == 404
            assert get(served).status_code == 200


def test_at_many_times_capacity_each_is_answered_or_refused(config: Config) -> None:
    with service(config, places=2) as (served, held):
        with httpx.Client(base_url=served.url, timeout=_LONG_S) as client:

            def ask(number: int) -> httpx.Response:
                return client.get(f"/similar/T100%2B{number % 40:03d}")

            with ThreadPoolExecutor(32) as clients:
                two = [clients.submit(get, served, "/held") for _ in range(2)]
                wait_until(lambda: held.begun == 2)
                refused = list(clients.map(ask, range(64)))
                held.go_on.set()
                assert {one.result().status_code for one in two} == {200}
                answers = list(clients.map(ask, range(400)))
        for answer in refused:
            assert_problem(answer, 503, "overloaded")
        assert {one.status_code for one in answers} <= {200, 503}
        for number, answer in enumerate(answers):
            if answer.status_code == 200:
                asked = answer.json()["query"]["source"]["source_id"]
                assert asked == f"T100+{number % 40:03d}"
        assert get(served).status_code == 200


def test_refusals_are_summed_up_in_the_log(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with service(config) as (served, held), ThreadPoolExecutor(1) as clients:
        clients.submit(get, served, "/held")
        wait_until(lambda: held.begun == 1)
        for _ in range(10):
            assert get(served).status_code == 503
        held.go_on.set()
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len([one for one in warnings if "refused" in one.getMessage()]) == 1
    assert not any("GET" in one.getMessage() for one in warnings)


def test_who_waits_for_a_place_has_sent_its_body(config: Config) -> None:
    """It came in time; that it is not answered soon is no fault of its client's."""
    asked = b'{"ids": ["T100+003"]}'
    head = (
        b"POST /similar/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(asked)
    )
    slow = config.model_copy(update={"body_stall_s": 0.5})
    with (
        service(slow, wait_s=_LONG_S) as (served, held),
        ThreadPoolExecutor(1) as clients,
        served.connection() as client,
    ):
        first = clients.submit(httpx.post, f"{served.url}/held", timeout=_LONG_S)
        wait_until(lambda: held.begun == 1)
        client.sendall(head + asked)
        time.sleep(1)  # twice as long as a body may stall
        held.go_on.set()
        assert read_answer(client)[0] == 200
        assert first.result().status_code == 200
