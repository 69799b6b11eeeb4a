"""`/sources`, cutouts, generations, encoders, health and the page."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from fastapi.testclient import TestClient
from PIL import Image
from problems import assert_problem
from skies import index_sky, small_encoder, write_sky

from twinjet.index import durable
from twinjet.index import errors as index_errors
from twinjet.model import errors as model_errors
from twinjet.model.encoder import SHIPPED_ENCODERS
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.errors import lookup


def test_pages_walk_through_every_source_once(client: TestClient) -> None:
    for sort in ("source_id", "-redshift", "fr_class"):
        seen, url = [], f"/sources?limit=7&sort={sort}"
        while url:
            page = client.get(url).json()
            seen += [item["source"]["source_id"] for item in page["sources"]]
            url = page["next"]
        assert sorted(seen) == [f"T100+{number:03d}" for number in range(40)]


def test_a_cone_across_ra_0_is_in_order_of_separation(client: TestClient) -> None:
    page = client.get("/sources?ra=0&dec=-14&radius_arcsec=7200").json()
    gaps = [item["separation_arcsec"] for item in page["sources"]]
    assert gaps == sorted(gaps)
    assert {item["source"]["ra"] > 350 for item in page["sources"]} == {True, False}


@pytest.mark.parametrize(
    ("typed", "match"),
    [
        ("T100+007", "id"),
        ("t100 007", "name"),
        ("+007", "name"),
        ("353.5 -17.9", "position"),
    ],
)
def test_what_a_person_types_is_understood(
    client: TestClient, typed: str, match: str
) -> None:
    first = client.get("/sources", params={"name": typed}).json()["sources"][0]
    assert (first["source"]["source_id"], first["match"]) == ("T100+007", match)


def test_columns_tell_kind_and_unit(client: TestClient) -> None:
    columns = client.get("/sources?limit=1").json()["columns"]
    assert {c["name"]: c["kind"] for c in columns} == {
        "redshift": "number",
        "fr_class": "text",
        "tailed": "boolean",
    }


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "after=zzz",
        "sort=nothing",
        "ra=1&dec=1",
        "ra=1&dec=95&radius_arcsec=1",
        "ra=nan&dec=1&radius_arcsec=1",
        "name=x&where=redshift>1",
        "name=",
    ],
)
def test_a_list_that_cannot_be_is_refused(client: TestClient, query: str) -> None:
    assert_problem(client.get(f"/sources?{query}"), 422, "invalid-parameter")


def test_a_cutout_comes_back_as_it_was_indexed(client: TestClient, sky: Path) -> None:
    answer = client.get("/sources/T100%2B007/cutout.fits")
    assert answer.content == (sky / "T007.fits").read_bytes()
    assert answer.headers["content-type"] == "application/fits"
    with fits.open(io.BytesIO(answer.content)) as hdus:
        assert hdus[0].data.shape == (100, 100)


@pytest.mark.parametrize("stretch", ["asinh", "linear", "log", "sqrt"])
def test_a_cutout_is_drawn_as_asked(client: TestClient, stretch: str) -> None:
    answer = client.get(f"/sources/T100%2B007/cutout.png?size=64&stretch={stretch}")
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("PNG", (64, 64))
    assert np.asarray(picture).max() > 200


def test_a_cutout_that_was_removed_is_a_404_and_not_a_500(
    config: Config, tmp_path: Path
) -> None:
    write_sky(tmp_path / "sky", 3)
    encoder = small_encoder()
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    (tmp_path / "sky" / "T001.fits").unlink()
    with TestClient(
        create_app(config.model_copy(update={"home": tmp_path / "home"}))
    ) as client:
        answer = client.get("/sources/T100%2B001/cutout.fits")
        assert_problem(answer, 404, "cutout-unavailable")
        assert client.get("/similar/T100%2B001").status_code == 200


def test_generations_tell_which_is_current(client: TestClient) -> None:
    listed = client.get("/generations").json()["generations"]
    assert [g["current"] for g in listed] == [True]
    report = client.get(f"/generations/{listed[0]['number']}").json()
    assert report["manifest"]["recall_at_10"] >= 0.9
    assert "cutouts" not in report["manifest"]
    assert_problem(client.get("/generations/99"), 404, "unknown-generation")


def test_encoders_are_listed_with_their_cards(client: TestClient) -> None:
    first, *shipped = client.get("/encoders").json()["encoders"]
    assert (first["name"], first["in_force"]) == ("small", True)
    assert [card["name"] for card in shipped] == list(SHIPPED_ENCODERS)
    assert not any(card["in_force"] or card["engine"] for card in shipped)
    assert first["engine"] == "openvino"
    for card in (first, *shipped):
        assert client.get(f"/encoders/{card['name']}").json() == card
        assert client.get(f"/encoders/{card['id']}").json() == card
    assert_problem(client.get("/encoders/other"), 404, "unknown-encoder")


def test_a_new_generation_is_served_without_a_restart(
    config: Config, tmp_path: Path
) -> None:
    write_sky(tmp_path / "sky", 5)
    encoder = small_encoder()
    home = tmp_path / "home"
    index_sky(tmp_path / "sky", home, encoder)
    app = create_app(config.model_copy(update={"home": home}))
    with TestClient(app) as client:
        assert client.get("/readyz").json()["generation"] == 1
        write_sky(tmp_path / "more", 8, seed=3)
        index_sky(tmp_path / "more", home, encoder)
        resources = app.state.resources
        resources.refresh()
        assert client.get("/readyz").json()["generation"] == 2
        assert client.get("/similar/T100%2B007").status_code == 200


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda _: None,
    ],
    ids=["one bit", "shorter", "empty", "gone"],
)
@pytest.mark.parametrize("name", ["vectors.npy", "index.faiss"])
def test_a_file_that_changes_while_it_is_served_is_noticed_by_the_next_request(
    config: Config,
    tmp_path: Path,
    damage: Callable[[bytes], bytes | None],
    name: str,
) -> None:
    """The last whole generation answers, until the file is what it was."""
    write_sky(tmp_path / "sky", 5)
    write_sky(tmp_path / "more", 8, seed=3)
    encoder = small_encoder()
    home = tmp_path / "home"
    index_sky(tmp_path / "sky", home, encoder)
    index_sky(tmp_path / "more", home, encoder)
    app = create_app(config.model_copy(update={"home": home, "refresh_s": 3600}))
    path = home / "generations" / "g000002" / name
    assert path.stat().st_mode & 0o222 == 0  # read-only
    data = path.read_bytes()
    before = path.stat()
    with TestClient(app) as client:
        assert client.get("/similar/T100%2B001").json()["generation"]["number"] == 2
        fine = client.get("/readyz").json()
        path.chmod(0o644)
        changed = damage(data)
        if changed is None:
            path.unlink()
        else:
            path.write_bytes(changed)
        answer = client.get("/similar/T100%2B001")
        assert answer.json()["generation"]["number"] == 1, answer.text
        ready = client.get("/readyz").json()
        assert (ready["status"], ready["generation"]) == ("degraded", 1)
        assert name in ready["trouble"]
        app.state.resources.refresh()
        assert client.get("/readyz").json() == ready
        path.write_bytes(data)
        app.state.resources.refresh()
        assert client.get("/readyz").json() == fine
        assert client.get("/similar/T100%2B001").json()["generation"]["number"] == 2
        # Another time and the same bytes are no damage.
        os.utime(path, ns=(0, before.st_mtime_ns + 7))
        assert client.get("/similar/T100%2B001").json()["generation"]["number"] == 2
        assert client.get("/readyz").json() == fine


def test_a_server_starts_with_the_last_generation_that_is_whole(
    config: Config, tmp_path: Path
) -> None:
    write_sky(tmp_path / "sky", 5)
    write_sky(tmp_path / "more", 8, seed=3)
    home = tmp_path / "home"
    index_sky(tmp_path / "sky", home, small_encoder())
    index_sky(tmp_path / "more", home, small_encoder())
    folder = home / "generations"
    (folder / "g000002" / "vectors.npy").unlink()
    app = create_app(config.model_copy(update={"home": home, "refresh_s": 3600}))
    with TestClient(app) as client:
        ready = client.get("/readyz").json()
        assert (ready["status"], ready["generation"]) == ("degraded", 1)
        assert "vectors.npy" in ready["trouble"]
        (folder / "g000001" / "vectors.npy").unlink()
        assert_problem(client.get("/similar/T100%2B001"), 503, "index-unavailable")
        assert client.get("/readyz").status_code == 503


def test_a_table_of_an_earlier_generation_is_read_once(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sky(tmp_path / "sky", 5)
    write_sky(tmp_path / "more", 8, seed=3)
    home = tmp_path / "home"
    index_sky(tmp_path / "sky", home, small_encoder())
    index_sky(tmp_path / "more", home, small_encoder())
    app = create_app(config.model_copy(update={"home": home, "refresh_s": 3600}))
    read: list[Path] = []
    digest = durable.file_digest

    def noted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr("twinjet.index.generation.file_digest", noted)
    with TestClient(app) as client:
        read.clear()
        tables = []
        for _ in range(3):
            answer = client.get("/generations/1/embeddings.parquet")
            tables.append(pq.read_table(io.BytesIO(answer.content)).num_rows)
        assert tables == [5, 5, 5]
        assert len(read) == len(set(read))


def test_a_damaged_generation_is_not_served_and_the_earlier_one_is(
    config: Config, tmp_path: Path
) -> None:
    write_sky(tmp_path / "sky", 5)
    encoder = small_encoder()
    home = tmp_path / "home"
    index_sky(tmp_path / "sky", home, encoder)
    app = create_app(config.model_copy(update={"home": home, "refresh_s": 3600}))
    with TestClient(app) as client:
        write_sky(tmp_path / "more", 8, seed=3)
        index_sky(tmp_path / "more", home, encoder)
        path = home / "generations" / "g000002" / "vectors.npy"
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        app.state.resources.refresh()
        ready = client.get("/readyz").json()
        assert (ready["status"], ready["generation"]) == ("degraded", 1)
        assert "checksum" in ready["trouble"]


def test_every_error_of_ours_has_a_place_in_the_table() -> None:
    bases = {model_errors.ModelError, index_errors.TwinjetIndexError}
    # What only commands meet is not answered over HTTP.
    offline = {
        *("EncoderError", "EncoderFileError", "DatasetError", "SimulationError"),
        "EngineError",
        *("BuildInProgressError", "TooManyFailuresError", "CutoutError"),
        *(
            "SharedStoreError",
            "DiscoveryError",
            "ScratchError",
            "ShardDamagedError",
            "CutoutsUnreadError",
            "VerificationError",
            "JobError",
            "JobFailedError",
            "JobCancelledError",
            "BackupError",
        ),
    }
    for module in (model_errors, index_errors):
        for error in vars(module).values():
            if (
                isinstance(error, type)
                and issubclass(error, Exception)
                and error not in bases
            ):
                assert (lookup(error) is None) == (error.__name__ in offline), error


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/static/js/main.js", "/livez"]
)
def test_every_answer_keeps_the_page_to_its_own_origin(
    client: TestClient, path: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/").text
    for attribute in ('src="http', 'href="http', "//cdn"):
        assert attribute not in page


def test_what_is_not_there_is_a_problem_too(client: TestClient) -> None:
    assert_problem(client.get("/nothing"), 404, "not-found")
    assert_problem(client.delete("/livez"), 405, "method-not-allowed")


def test_behind_a_path_prefix_links_carry_it(config: Config) -> None:
    with TestClient(create_app(config), root_path="/twins") as client:
        answer = client.get("/similar/T100%2B003?k=2").json()
        links = answer["neighbours"][0]["links"].values()
        assert all(link.startswith("/twins/") for link in [*links, answer["next"]])
        assert (
            client.get("/sources?limit=1").json()["next"].startswith("/twins/sources?")
        )
        assert client.get("/").status_code == 200


def test_embeddings_are_there_to_take(client: TestClient, config: Config) -> None:
    answer = client.get("/generations/1/embeddings.parquet")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert 'filename="twinjet-sky' in answer.headers["content-disposition"]
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.num_rows == 40
    cells = table["_healpix_29"].to_pylist()
    assert cells == sorted(cells)
    vectors = np.load(config.home / "generations" / "g000001" / "vectors.npy")
    found = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found, vectors)
    assert table.schema.metadata[b"generation"] == b"1"
    near = {"region_ra": 0, "region_dec": -14, "region_radius_deg": 2}
    answer = client.get("/generations/1/embeddings.parquet", params=near)
    part = pq.read_table(io.BytesIO(answer.content))
    assert 0 < part.num_rows < 40
    whole = dict(zip(table["source_id"].to_pylist(), found, strict=True))
    for row in part.to_pylist():
        np.testing.assert_array_equal(row["embedding"], whole[row["source_id"]])
    nowhere = near | {"region_dec": 80}
    answer = client.get("/generations/1/embeddings.parquet", params=nowhere)
    assert pq.read_table(io.BytesIO(answer.content)).num_rows == 0
    missing = client.get("/generations/9/embeddings.parquet")
    assert_problem(missing, 404, "unknown-generation")
    near.pop("region_dec")
    half = client.get("/generations/1/embeddings.parquet", params=near)
    assert_problem(half, 422, "invalid-parameter")
    mistyped = {"ra": 0, "dec": -14, "radius_deg": 2}
    whole_sky = client.get("/generations/1/embeddings.parquet", params=mistyped)
    assert_problem(whole_sky, 422, "invalid-parameter")
    assert "region_ra" in whole_sky.json()["detail"]


@pytest.mark.parametrize(
    "query", ["radius_arcsec=5", "name=T1&radius_arcsec=5", "name=T1&after=x"]
)
def test_no_parameter_is_passed_over(client: TestClient, query: str) -> None:
    assert client.get(f"/sources?{query}").status_code == 422
