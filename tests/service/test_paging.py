"""Pages over one ranking while other generations come and go."""

import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from problems import assert_problem
from skies import index_sky, write_sky

from twinjet.index.retention import retire
from twinjet.index.source import Column
from twinjet.model.encoder import load_encoder
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.resources import Resources

FIRST = "/similar/T100%2B003?k=4"


@pytest.fixture
def moving(config: Config, tmp_path: Path) -> Iterator[tuple[TestClient, Config]]:
    """A service of its own, whose index changes when the test says so."""
    assert config.encoder is not None
    write_sky(tmp_path / "sky1", 12)
    index_sky(tmp_path / "sky1", tmp_path / "home", load_encoder(config.encoder))
    own = config.model_copy(update={"home": tmp_path / "home", "refresh_s": 3600})
    with TestClient(create_app(own), raise_server_exceptions=False) as client:
        yield client, own


def publish(client: TestClient, config: Config, number: int) -> Resources:
    """Another sky becomes the index."""
    assert config.encoder is not None
    sky = config.home.parent / f"sky{number}"
    write_sky(sky, 12 + number, seed=number)
    index_sky(sky, config.home, load_encoder(config.encoder))
    resources: Resources = client.app.state.resources  # type: ignore[attr-defined]
    resources.refresh()
    assert client.get("/readyz").json()["generation"] == number
    return resources


def ids_of_all_pages(client: TestClient, url: str | None) -> list[str]:
    found = []
    while url:
        page = client.get(url).json()
        found += [n["source"]["source_id"] for n in page["neighbours"]]
        url = page["next"]
    return found


def test_paging_goes_on_when_another_generation_is_published(
    moving: tuple[TestClient, Config],
) -> None:
    client, config = moving
    whole = ids_of_all_pages(client, FIRST)
    first = client.get(FIRST).json()
    resources = publish(client, config, 2)
    # Held open, or opened again: it makes no difference.
    for _ in range(2):
        rest = client.get(first["next"]).json()
        assert rest["generation"]["number"] == 1
        assert rest["neighbours"][0]["rank"] == 5
        pages = ids_of_all_pages(client, first["next"])
        assert whole[4:] == pages
        resources._earlier.clear()
    assert client.get(FIRST).json()["generation"]["number"] == 2
    body = {"like": ["T100+003"]}
    answer = client.post("/similar?generation=1&k=1000", json=body).json()
    assert [n["source"]["source_id"] for n in answer["neighbours"]] == whole


def test_of_a_generation_that_nobody_holds_nothing_stays(
    moving: tuple[TestClient, Config],
) -> None:
    client, config = moving
    resources = publish(client, config, 2)
    assert client.get(FIRST).is_success
    assert client.get("/sources/T100%2B003/cutout.png").is_success
    second = weakref.ref(resources.served)
    publish(client, config, 3)
    assert second() is not None
    resources._let_go(2)
    gc.collect()
    assert second() is None


def test_an_upload_is_answered_by_the_generation_of_its_first_page(
    moving: tuple[TestClient, Config],
) -> None:
    client, config = moving
    data = (config.home.parent / "sky1" / "T003.fits").read_bytes()
    files = {"file": ("a.fits", data)}
    first = client.post("/similar?k=3", files=files).json()
    publish(client, config, 2)
    second = client.post(first["next"], files=files).json()
    assert second["generation"]["number"] == 1
    assert second["neighbours"][0]["rank"] == 4


def test_a_generation_that_is_gone_is_a_410_with_a_way_on(
    moving: tuple[TestClient, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, config = moving
    url = client.get(FIRST).json()["next"]
    resources = publish(client, config, 2)
    retire(config.files, resources.store, keep=1)
    # It was still held open for those who turn its pages.
    assert client.get(url).status_code == 200
    monkeypatch.setattr("twinjet.service.resources._EARLIER_S", 0)
    resources.refresh()
    deadline = time.monotonic() + 30
    while config.files.generation("g000001").exists() and time.monotonic() < deadline:
        # The thread that answered last may not have let go of it yet.
        retire(config.files, resources.store, keep=1)
    body = assert_problem(client.get(url), 410, "generation-gone")
    assert "generation 1 is no longer kept" in body["detail"]
    assert_problem(client.get("/generations/1"), 410, "generation-gone")
    assert client.get(FIRST).status_code == 200


def test_a_generation_that_never_was_is_a_404(client: TestClient) -> None:
    answer = client.get(f"{FIRST}&generation=77")
    assert_problem(answer, 404, "unknown-generation")
    for number in ("0", "-1", "x", "9223372036854775808"):
        answer = client.get(f"{FIRST}&generation={number}")
        body = assert_problem(answer, 422, "invalid-parameter")
        assert body["parameter"] == "generation"


def test_a_generation_that_is_being_built_is_a_404(
    moving: tuple[TestClient, Config],
) -> None:
    client, _ = moving
    store = client.app.state.resources.store  # type: ignore[attr-defined]
    number = store.begin_generation(
        encoder_id="e", catalogue_name="c", catalogue_digest="d", columns=[Column("n")]
    )
    answer = client.get(f"{FIRST}&generation={number}")
    assert_problem(answer, 404, "unknown-generation")


def test_few_earlier_generations_are_held_open(
    moving: tuple[TestClient, Config],
) -> None:
    client, config = moving
    publish(client, config, 2)
    publish(client, config, 3)
    assert list(publish(client, config, 4)._earlier) == [2, 3]


@pytest.mark.parametrize(
    "query", ["k=20", "k=7&offset=3", "k=20&diversity=0.4", "k=20&order=least"]
)
def test_the_same_question_has_the_same_answer_to_the_byte(
    client: TestClient, query: str
) -> None:
    url = f"/similar/T100%2B003?generation=1&{query}"
    bodies = {client.get(url).content for _ in range(5)}
    assert len(bodies) == 1


def test_another_service_over_the_generation_gives_the_same_bytes(
    client: TestClient, config: Config, sky: Path
) -> None:
    like = [f"T100+{n:03d}" for n in range(0, 12, 2)]
    unlike = [f"T100+{n:03d}" for n in range(1, 12, 2)]

    def bodies(client: TestClient) -> list[bytes]:
        ranker = {"like": like, "unlike": unlike, "strategy": "ranker"}
        pairs = {"like": like[:1], "pairs": [[like[1], unlike[1]]]}
        upload = {"file": ("a.fits", (sky / "T003.fits").read_bytes())}
        answers = [
            client.get("/similar/T100%2B003?k=20"),
            client.get("/similar?ra=351.5&dec=-19.1&exact=true"),
            client.post("/similar", json=ranker),
            client.post("/similar", json=pairs),
            client.post("/similar", files=upload),
            client.post("/similar/batch", json={"ids": like}),
            client.get("/outliers"),
        ]
        assert [answer.status_code for answer in answers] == [200] * 7
        return [answer.content for answer in answers]

    with TestClient(create_app(config)) as other:
        assert bodies(other) == bodies(client) == bodies(other)


def test_the_last_page_that_may_be_asked_for_has_no_next(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.service.answers.MAX_OFFSET", 9)
    assert client.get("/similar/T100%2B003?k=9").json()["next"]
    assert client.get("/similar/T100%2B003?k=10").json()["next"] is None
