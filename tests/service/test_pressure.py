"""More than can be done, slower than can be waited for: refused, and never a hang."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from problems import assert_problem
from serving import Running, read_answer, running, upload_bytes, wait_until

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.decoding.decoder import Decoder
from twinjet.service.decoding.replies import Decoded
from twinjet.service.files import Files
from twinjet.service.inference import Inference


@contextmanager
def service(config: Config, **settings: Any) -> Iterator[Running]:
    app = create_app(config.model_copy(update=settings))
    with running(app) as served:
        yield served


def inference_of(served: Running) -> Inference:
    inference: Inference = served.app.state.resources.inference
    return inference


@contextmanager
def busy_encoder(served: Running) -> Iterator[None]:
    """The thread of the encoder has something else to do meanwhile."""
    with _busy(inference_of(served)._batcher._thread):
        yield


@contextmanager
def no_free_decoder(served: Running) -> Iterator[None]:
    """All are in other hands meanwhile."""
    decoders = inference_of(served)._decoders

    loop = decoders._keepers[0].get_loop()

    async def taken() -> list[Decoder[Decoded]]:
        return [await decoders.next_free() for _ in range(decoders.count)]

    ours = asyncio.run_coroutine_threadsafe(taken(), loop).result(60)
    try:
        yield
    finally:
        for one in ours:
            loop.call_soon_threadsafe(decoders._free.put_nowait, one)


@contextmanager
def _busy(threads: ThreadPoolExecutor) -> Iterator[None]:
    free = threading.Event()
    for _ in range(threads._max_workers):
        threads.submit(free.wait)
    try:
        yield
    finally:
        free.set()


@pytest.fixture
def cutout(sky: Path) -> bytes:
    return (sky / "T003.fits").read_bytes()


def post(served: Running, data: bytes) -> httpx.Response:
    return httpx.post(f"{served.url}/similar", files={"file": data}, timeout=60)


def embeddings_computed(served: Running, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that came to the encoder, call by call."""
    encoder = inference_of(served).encoder
    calls: list[int] = []
    embed = encoder.embed_images

    def counted(images: Any, **how: Any) -> Any:
        calls.append(len(images))
        return embed(images, **how)

    monkeypatch.setattr(encoder, "embed_images", counted)
    return calls


def test_a_full_queue_refuses_at_once_and_answers_those_who_wait(
    config: Config, cutout: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with service(config, upload_queue=2) as served, ThreadPoolExecutor(2) as clients:
        with busy_encoder(served):
            waiting = [clients.submit(post, served, cutout) for _ in range(2)]
            wait_until(lambda: inference_of(served).waiting == 2)
            refused = post(served, cutout)
            body = assert_problem(refused, 503, "overloaded")
            assert (body["limit"], body["actual"]) == (2, 2)
            assert int(refused.headers["retry-after"]) >= 1
            assert {post(served, cutout).status_code for _ in range(5)} == {503}
            warnings = [one for one in caplog.messages if "refused" in one]
            [warning] = warnings
            assert warning.startswith("overloaded: 1 requests refused so far")
            assert body["detail"] in warning
            assert not any("503" in one for one in caplog.messages)
            # What needs no encoder goes on.
            by_id = httpx.get(f"{served.url}/similar/T100%2B003", timeout=60)
            by_json = httpx.post(
                f"{served.url}/similar", json={"like": ["T100+003"]}, timeout=60
            )
            assert (by_id.status_code, by_json.status_code) == (200, 200)
        assert [one.result().status_code for one in waiting] == [200, 200]
        assert post(served, cutout).status_code == 200


def test_whose_body_has_come_is_before_those_who_come(
    config: Config, cutout: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(config, upload_queue=2) as served:
        monkeypatch.setattr(Files, "whole", property(lambda _: 1))
        assert post(served, cutout).status_code == 200
        monkeypatch.setattr(Files, "whole", property(lambda _: 2))
        body = assert_problem(post(served, cutout), 503, "overloaded")
        assert (body["limit"], body["actual"]) == (2, 2)


def test_who_would_wait_too_long_is_refused_though_there_are_places(
    config: Config, cutout: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"upload_queue": 32, "upload_wait_s": 0.5}
    with service(config, **settings) as served, ThreadPoolExecutor(24) as clients:
        encoder = inference_of(served).encoder
        embed = encoder.embed_images

        def slowly(images: Any, **how: Any) -> Any:
            time.sleep(0.3)
            return embed(images, **how)

        monkeypatch.setattr(encoder, "embed_images", slowly)
        monkeypatch.setattr(encoder, "in_one_batch", lambda **_: 1)
        # Of the first ones nobody knows how long they will wait.
        first = [clients.submit(post, served, cutout) for _ in range(3)]
        assert [one.result().status_code for one in first] == [200] * 3
        many = [clients.submit(post, served, cutout) for _ in range(24)]
        answers = [one.result() for one in many]
        refused = [one for one in answers if one.status_code != 200]
        assert 4 <= len(answers) - len(refused) < 24
        # Four may always wait.
        limits = {assert_problem(one, 503, "overloaded")["limit"] for one in refused}
        assert limits == {4}
        assert {int(one.headers["retry-after"]) for one in refused} <= {2, 3}


@pytest.mark.parametrize("path", ["/similar", "/embeddings"])
def test_who_is_refused_need_not_send_the_body(
    config: Config, cutout: bytes, path: str
) -> None:
    with service(config, upload_queue=1) as served, ThreadPoolExecutor(1) as clients:
        with busy_encoder(served):
            waiting = clients.submit(post, served, cutout)
            wait_until(lambda: inference_of(served).waiting == 1)
            with served.connection() as client:
                head, body = upload_bytes(path, cutout)
                client.sendall(head)
                status, headers, problem = read_answer(client)
                assert (status, problem["type"]) == (503, "/problems/overloaded")
                assert headers["retry-after"] == "1"
                # The connection stays good for the next request.
                client.sendall(body + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert read_answer(client)[0] == 200
        assert waiting.result().status_code == 200


def test_what_is_not_begun_before_its_deadline_is_refused_and_never_computed(
    config: Config, cutout: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(config, deadline_s=0.2) as served:
        computed = embeddings_computed(served, monkeypatch)
        with busy_encoder(served):  # and still is when the answer comes
            late = post(served, cutout)
            body = assert_problem(late, 503, "overloaded")
            assert body["limit"] == 0.2
            assert body["actual"] >= 0.2
            assert int(late.headers["retry-after"]) >= 1
            assert inference_of(served).waiting == 0
        with no_free_decoder(served):
            assert_problem(post(served, cutout), 503, "overloaded")
    assert computed == []


def test_a_client_that_goes_away_frees_its_place(
    config: Config, cutout: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(config, upload_queue=1) as served:
        computed = embeddings_computed(served, monkeypatch)
        with busy_encoder(served):
            with served.connection() as client:
                client.sendall(b"".join(upload_bytes("/similar", cutout)))
                wait_until(lambda: inference_of(served).waiting == 1)
                assert_problem(post(served, cutout), 503, "overloaded")
            wait_until(lambda: inference_of(served).waiting == 0)
        assert post(served, cutout).status_code == 200
        assert computed == [1]  # of the last alone


def test_a_hundred_clients_that_go_away_leave_nothing_behind(
    config: Config, cutout: bytes
) -> None:
    with service(config, upload_queue=4) as served:
        for number in range(100):
            head, body = upload_bytes("/embeddings", cutout)
            with served.connection() as client:
                client.sendall(head + body[: number * len(body) // 99])
        wait_until(lambda: post(served, cutout).status_code == 200)
        assert inference_of(served).waiting == 0


@pytest.mark.parametrize("part", ["nothing", "half"])
@pytest.mark.parametrize("path", ["/similar", "/similar/batch", "/embeddings"])
def test_a_body_that_stalls_is_cut_off(
    config: Config, cutout: bytes, path: str, part: str
) -> None:
    with service(config, body_stall_s=0.3) as served, served.connection() as client:
        head, body = upload_bytes(path, cutout)
        client.sendall(head + (body[: len(body) // 2] if part == "half" else b""))
        status, headers, problem = read_answer(client)
        assert (status, problem["type"]) == (408, "/problems/request-timeout")
        assert headers["connection"] == "close"
        assert problem["limit"] == 0.3
        assert problem["actual"] >= 0.3
        assert client.recv(1) == b""
        # The others have noticed nothing.
        assert post(served, cutout).status_code == 200


def test_json_that_stalls_is_cut_off(config: Config) -> None:
    with service(config, body_stall_s=0.2) as served, served.connection() as client:
        client.sendall(
            b"POST /similar HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        status, _, problem = read_answer(client)
        assert (status, problem["type"]) == (408, "/problems/request-timeout")


@contextmanager
def trickling(client: socket.socket, data: bytes, *, each_s: float) -> Iterator[None]:
    """Byte by byte, meanwhile or until the other side has closed."""
    over = threading.Event()

    def trickle() -> None:
        for start in range(len(data)):
            if over.wait(each_s):
                return
            try:
                client.sendall(data[start : start + 1])
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("at_once", [0, 1 << 19])
def test_a_body_that_trickles_is_cut_off_though_it_never_stalls(
    config: Config, at_once: int
) -> None:
    """What came quickly is no credit: half a MiB would be worth nine minutes."""
    slow = {"body_stall_s": 0.5, "body_bytes_per_s": 1000}
    head, body = upload_bytes("/similar", bytes(1 << 20))
    with service(config, **slow) as served, served.connection() as client:
        client.sendall(head + body[:at_once])
        with trickling(client, body[at_once:], each_s=0.1):
            status, _, problem = read_answer(client)
    assert (status, problem["type"]) == (408, "/problems/request-timeout")


def test_bodies_together_are_bounded(
    config: Config, cutout: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.service.limits._TOGETHER", 2)
    small = {"max_upload_bytes": 1 << 16}
    large = b"x" * ((1 << 16) - 1000)
    with service(config, **small) as served, ExitStack() as clients:
        head, body = upload_bytes("/similar", large)
        for _ in range(4):  # twice what a body may have, of 128 KiB each
            client = clients.enter_context(served.connection())
            client.sendall(head + body[:-1])
        last = clients.enter_context(served.connection())
        last.sendall(head + body)
        status, headers, problem = read_answer(last)
        assert (status, problem["type"]) == (503, "/problems/overloaded")
        assert int(headers["retry-after"]) >= 1
        clients.close()
        wait_until(lambda: post(served, cutout).status_code == 200)


def test_a_body_that_comes_in_small_pieces_is_whole(
    config: Config, cutout: bytes
) -> None:
    with service(config) as served, served.connection() as client:
        head, body = upload_bytes("/similar", cutout)
        client.sendall(head)
        for start in range(0, len(body), 997):
            client.sendall(body[start : start + 997])
        status, _, answer = read_answer(client)
    assert status == 200
    assert answer["neighbours"][0]["source"]["source_id"] == "T100+003"


def test_at_many_times_capacity_each_gets_its_own_answer_or_a_refusal(
    config: Config, sky: Path
) -> None:
    files = [(sky / f"T{number:03d}.fits").read_bytes() for number in range(40)]
    refused: list[httpx.Response] = []
    answered: dict[int, list[float]] = {}
    with (
        service(config, upload_queue=3) as served,
        httpx.Client(base_url=served.url, timeout=60) as client,
    ):

        def ask(number: int) -> None:
            answer = client.post("/embeddings", files={"file": files[number]})
            if answer.status_code == 200:
                vector = answer.json()["embedding"]
                assert answered.setdefault(number, vector) == vector
            else:
                refused.append(answer)

        with ThreadPoolExecutor(40) as clients:
            with busy_encoder(served):
                asked = [clients.submit(ask, number) for number in [*range(40)] * 8]
                wait_until(lambda: len(refused) > 40)
            for one in asked:
                one.result()
        assert answered
        for answer in refused:
            assert_problem(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        assert inference_of(served).waiting == 0
        before = len(refused)
        for number in range(40):  # each alone, to the same vectors
            ask(number)
        assert len(refused) == before
        assert len(answered) == 40


def test_refusals_are_declared(config: Config) -> None:
    paths = create_app(config).openapi()["paths"]
    for path in ("/similar", "/embeddings"):
        declared = paths[path]["post"]["responses"]
        assert {"408", "503"} <= set(declared)
        assert "Retry-After" in declared["503"]["headers"]
