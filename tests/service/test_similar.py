"""`/similar` and `/embeddings`, as a client sees them."""

import gzip
import io
import time
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
from astropy.io import fits
from fastapi.testclient import TestClient
from problems import assert_problem
from skies import double_source, header_at, small_encoder

from twinjet.service.app import create_app
from twinjet.service.config import Config


def upload(
    client: TestClient, data: bytes, query: str = "", name: str = "a.fits"
) -> httpx.Response:
    return client.post(f"/similar{query}", files={"file": (name, data)})


def ids(answer: httpx.Response) -> list[str]:
    return [n["source"]["source_id"] for n in answer.json()["neighbours"]]


def fits_bytes(pixels: np.ndarray, header: fits.Header | None = None) -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(file)
    return file.getvalue()


def test_a_source_has_k_neighbours_in_order_and_is_not_among_them(
    client: TestClient,
) -> None:
    answer = client.get("/similar/T100%2B003?k=7")
    assert answer.status_code == 200
    found = answer.json()["neighbours"]
    assert [n["rank"] for n in found] == list(range(1, 8))
    similarities = [n["similarity"] for n in found]
    assert similarities == sorted(similarities, reverse=True)
    assert all(0 <= n["percentile"] <= 100 for n in found)
    assert "T100+003" not in ids(answer)


def test_an_answer_names_what_it_came_from(client: TestClient) -> None:
    received = client.get("/similar/T100%2B003")
    answer = received.json()
    assert answer["generation"]["sources"] == 40
    assert answer["generation"]["exact"] is True
    card = client.get(f"/encoders/{answer['generation']['encoder']}")
    assert card.json()["id"] == answer["generation"]["encoder"]
    digest = client.get("/generations/1").json()["catalogue_digest"]
    assert answer["generation"]["catalogue_digest"] == digest
    assert received.headers["twinjet-generation"] == "1"
    assert received.headers["twinjet-encoder"] == answer["generation"]["encoder"]
    assert received.headers["twinjet-catalogue"] == digest
    assert received.headers["twinjet-exact"] == "true"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _: client.get("/similar/T100%2B003"),
        lambda client, _: client.post("/similar", json={"like": ["T100+003"]}),
        lambda client, _: client.post("/similar/batch", json={"ids": ["T100+003"]}),
        lambda client, sky: client.post(
            "/similar", files={"file": (sky / "T003.fits").read_bytes()}
        ),
    ],
)
def test_parts_of_the_time_add_up_to_the_whole(
    client: TestClient, sky: Path, ask: Callable[[TestClient, Path], httpx.Response]
) -> None:
    began = time.perf_counter()
    answer = ask(client, sky)
    elapsed = 1e3 * (time.perf_counter() - began)
    header = answer.headers["server-timing"]
    parts = dict(part.split(";dur=") for part in header.split(", "))
    spent = {name: float(ms) for name, ms in parts.items()}
    total = spent.pop("total")
    assert {"lookup", "search", "metadata", "answer", "other"} <= set(spent)
    assert sum(spent.values()) == pytest.approx(total, abs=1e-6)
    assert 0 < total <= elapsed


def test_a_plus_that_arrives_as_a_blank_is_the_same_name(client: TestClient) -> None:
    assert (
        client.get("/similar/T100%20003").json()["query"]["source"]["source_id"]
        == "T100+003"
    )


def test_links_of_an_answer_lead_somewhere(client: TestClient) -> None:
    first = client.get("/similar/T100%2B003?k=1").json()["neighbours"][0]
    for link in first["links"].values():
        assert client.get(link).status_code == 200


def test_pages_join_to_one_ranking(client: TestClient) -> None:
    whole = ids(client.get("/similar/T100%2B003?k=12"))
    pages, url = [], "/similar/T100%2B003?k=5"
    for _ in range(3):
        answer = client.get(url)
        pages += ids(answer)
        url = answer.json()["next"]
    assert pages[:12] == whole
    assert len(set(pages)) == len(pages)


def test_pages_of_differing_neighbours_join(client: TestClient) -> None:
    whole = ids(client.get("/similar/T100%2B003?k=39&diversity=0.6"))
    assert whole[:10] != ids(client.get("/similar/T100%2B003?k=10"))
    pages, url = [], "/similar/T100%2B003?k=7&diversity=0.6"
    while url:
        answer = client.get(url)
        pages += ids(answer)
        url = answer.json()["next"]
    assert pages == whole


def test_the_last_page_has_no_next(client: TestClient) -> None:
    assert client.get("/similar/T100%2B003?k=1000").json()["next"] is None


def test_a_position_finds_the_neighbours_of_its_nearest_source(
    client: TestClient,
) -> None:
    by_id = client.get("/similar/T100%2B020")
    answer = client.get("/similar?ra=0.001&dec=-14&radius_arcsec=10")
    assert answer.json()["query"]["source"]["source_id"] == "T100+020"
    assert ids(answer) == ids(by_id)


def test_a_position_without_source_says_how_far_it_looked(client: TestClient) -> None:
    body = assert_problem(
        client.get("/similar?ra=100&dec=0"), 404, "no-source-at-position"
    )
    assert "30 arcsec" in body["detail"]


def test_a_filter_holds_for_every_neighbour(client: TestClient) -> None:
    answer = client.get(
        "/similar/T100%2B003", params={"where": "fr_class = 'FRI' and redshift > 0.3"}
    )
    found = [n["source"] for n in answer.json()["neighbours"]]
    assert found
    assert all(s["fr_class"] == "FRI" and s["redshift"] > 0.3 for s in found)


def test_a_region_holds_for_every_neighbour(client: TestClient) -> None:
    query = "region_ra=0&region_dec=-14&region_radius_deg=2&k=100"
    found = client.get(f"/similar/T100%2B003?{query}").json()["neighbours"]
    assert 0 < len(found) < 20
    assert all(abs(n["source"]["dec"] + 14) <= 2 for n in found)


def test_half_a_region_names_the_missing_half(client: TestClient) -> None:
    answer = client.get("/similar/T100%2B003?region_ra=3&region_dec=3")
    body = assert_problem(answer, 422, "invalid-parameter")
    assert body["parameter"] == "region_radius_deg"


def test_an_indexed_cutout_finds_itself_first(client: TestClient, sky: Path) -> None:
    for number in (0, 7, 21):
        answer = upload(client, (sky / f"T{number:03d}.fits").read_bytes())
        best = answer.json()["neighbours"][0]
        assert best["source"]["source_id"] == f"T100+{number:03d}"
        assert best["similarity"] > 0.9999


def test_an_upload_with_wcs_tells_its_position(client: TestClient, sky: Path) -> None:
    query = upload(client, (sky / "T020.fits").read_bytes()).json()["query"]
    assert query["kind"] == "upload"
    assert (query["ra"] % 360, query["dec"]) == pytest.approx((0, -14), abs=1e-6)
    assert query["preview_png"].startswith("data:image/png;base64,")
    assert query["peak_snr"] > 10


def test_encodings_of_the_same_image_get_the_same_answer(
    client: TestClient, sky: Path
) -> None:
    plain = (sky / "T011.fits").read_bytes()
    wanted = ids(upload(client, plain))
    with fits.open(io.BytesIO(plain)) as hdus:
        pixels, header = hdus[0].data, hdus[0].header
    degenerate = header.copy()
    for axis in (3, 4):
        degenerate[f"CTYPE{axis}"] = "FREQ" if axis == 3 else "STOKES"
        degenerate[f"CRVAL{axis}"] = degenerate[f"CDELT{axis}"] = 1.0
        degenerate[f"CRPIX{axis}"] = 1.0
    scaled = fits.PrimaryHDU(pixels.astype(np.float64), header)
    middle = float(pixels.min() + pixels.max()) / 2
    scaled.scale("int16", bscale=float(np.ptp(pixels)) / 60000, bzero=middle)
    file = io.BytesIO()
    scaled.writeto(file)
    for data in (
        gzip.compress(plain),
        fits_bytes(pixels[None, None], degenerate),
        file.getvalue(),
        fits_bytes(pixels.astype(">f8"), header),
    ):
        assert ids(upload(client, data)) == wanted


def test_a_turned_upload_gets_the_same_answer(client: TestClient, sky: Path) -> None:
    with fits.open(sky / "T011.fits") as hdus:
        pixels, header = hdus[0].data, hdus[0].header
    wanted = ids(upload(client, fits_bytes(pixels, header), "?invariant=true"))
    for turned in (np.rot90(pixels), pixels[::-1], np.rot90(pixels, 3)[:, ::-1]):
        data = fits_bytes(np.ascontiguousarray(turned), header)
        assert ids(upload(client, data, "?invariant=true")) == wanted


def test_the_next_page_of_an_upload_goes_on(client: TestClient, sky: Path) -> None:
    data = (sky / "T011.fits").read_bytes()
    whole = ids(upload(client, data, "?k=8"))
    first = upload(client, data, "?k=4")
    second = client.post(first.json()["next"], files={"file": ("a.fits", data)})
    assert ids(first) + ids(second) == whole


def test_an_embedding_is_a_unit_vector_of_the_cards_length(
    client: TestClient, sky: Path
) -> None:
    data = (sky / "T011.fits").read_bytes()
    body = client.post("/embeddings", files={"file": ("a", data)}).json()
    assert len(body["embedding"]) == body["dimension"]
    assert np.linalg.norm(body["embedding"]) == pytest.approx(1, abs=1e-5)


_GOOD = double_source(np.random.default_rng(3))

REFUSED = {
    "text": (b"not an image at all", 415, "unsupported-media-type"),
    "empty": (b"", 422, "empty-upload"),
    "truncated": (fits_bytes(_GOOD)[:10000], 422, "truncated-file"),
    "damaged": (b"SIMPLE  =                    T" + b" " * 3000, 422, "malformed-fits"),
    "one pixel": (fits_bytes(np.ones((1, 1), "f4")), 422, "image-too-small"),
    "NaN": (fits_bytes(np.full((64, 64), np.nan, "f4")), 422, "no-usable-pixels"),
    "constant": (fits_bytes(np.ones((64, 64), "f4")), 422, "no-usable-pixels"),
    "cube": (fits_bytes(np.ones((3, 64, 64), "f4")), 422, "no-image-hdu"),
    "gzip bomb": (gzip.compress(bytes(100 << 20)), 413, "decompression-limit"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + b"x" * 99, 422, "truncated-file"),
    "JPEG": (b"\xff\xd8\xff" + b"x" * 99, 422, "malformed-image"),
    "too many bytes": (b"SIMPLE" + bytes(17 << 20), 413, "payload-too-large"),
}  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/similar", "/embeddings", "/similar/batch", "/probe", "/lists/known"]
)
def test_a_second_file_is_refused(client: TestClient, sky: Path, path: str) -> None:
    data = (sky / "T003.fits").read_bytes()
    files = [("file", ("a.fits", data)), ("file", ("b.fits", data))]
    method = "PUT" if path.startswith("/lists") else "POST"
    answer = client.request(method, path, files=files)
    body = assert_problem(answer, 422, "invalid-parameter")
    assert (body["parameter"], body["limit"], body["actual"]) == ("file", 1, 2)


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("path", ["/similar", "/embeddings"])
def test_what_is_no_cutout_is_refused_by_what_is_wrong(
    client: TestClient, path: str, what: str
) -> None:
    data, status, name = REFUSED[what]
    assert_problem(client.post(path, files={"file": ("x", data)}), status, name)


def test_a_table_is_no_image(client: TestClient) -> None:
    column = fits.Column("a", "E", array=np.arange(3.0))
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])])
    file = io.BytesIO()
    hdus.writeto(file)
    body = assert_problem(upload(client, file.getvalue()), 422, "no-image-hdu")
    assert "BINTABLE" in body["detail"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("?ra=361&dec=0", "ra"),
        ("?ra=-1&dec=0", "ra"),
        ("?ra=nan&dec=0", "ra"),
        ("?ra=inf&dec=0", "ra"),
        ("?ra=1e999&dec=0", "ra"),
        ("?ra=1&dec=91", "dec"),
        ("?ra=1", "dec"),
        ("?ra=1&dec=1&radius_arcsec=-1", "radius_arcsec"),
        ("?ra=1&dec=1&radius_arcsec=nan", "radius_arcsec"),
        ("/T100%2B003?k=0", "k"),
        ("/T100%2B003?k=1001", "k"),
        ("/T100%2B003?k=nan", "k"),
        ("/T100%2B003?k=9223372036854775808", "k"),
        ("/T100%2B003?offset=-1", "offset"),
        ("/T100%2B003?offset=9223372036854775808", "offset"),
        ("/T100%2B003?min_similarity=nan", "min_similarity"),
        ("/T100%2B003?duplicates=perhaps", "duplicates"),
        ("/T100%2B003?order=worst", "order"),
        ("/T100%2B003?diversity=1.1", "diversity"),
        ("/T100%2B003?diversity=nan", "diversity"),
    ],
)
def test_a_parameter_out_of_bounds_is_named(
    client: TestClient, query: str, parameter: str
) -> None:
    body = assert_problem(client.get(f"/similar{query}"), 422, "invalid-parameter")
    assert body["parameter"] == parameter


@pytest.mark.parametrize(
    "name", ["nobody", "%00", "x" * 3000, "%FF%FE", "..%2F..%2Fetc"]
)
def test_an_unknown_source_is_a_404(client: TestClient, name: str) -> None:
    assert_problem(client.get(f"/similar/{name}"), 404, "unknown-source")


def test_a_bad_filter_tells_where_it_went_wrong(client: TestClient) -> None:
    answer = client.get("/similar/T100%2B003", params={"where": "redshift > > 3"})
    body = assert_problem(answer, 422, "invalid-filter")
    assert (body["position"], body["parameter"]) == (11, "where")
    assert "a number" in body["expected"]
    for path in ("/similar/T100%2B003", "/sources"):
        answer = client.get(path, params={"where": "redshfit > 3"})
        body = assert_problem(answer, 422, "invalid-filter")
        assert body["nearest"] == ["redshift"]
        assert {"ra", "tailed"} <= set(body["columns"])
        answer = client.get(path, params={"where": "redshift > 1 or " * 2000})
        body = assert_problem(answer, 422, "invalid-filter")
        assert (body["limit"], body["actual"]) == (20_000, 32_000)


def test_a_form_without_file_says_so(client: TestClient) -> None:
    answer = client.post("/similar", files={"picture": ("a", b"b")})
    assert_problem(answer, 422, "missing-file")


def test_a_body_that_is_no_form_is_refused(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/similar", content=b"garbage", headers=headers)
    assert_problem(answer, 400, "malformed-multipart")


def test_without_an_index_searches_are_503_and_say_what_to_do(
    empty_client: TestClient,
) -> None:
    body = assert_problem(empty_client.get("/similar/x"), 503, "index-unavailable")
    assert "twinjet index" in body["detail"]
    assert empty_client.get("/readyz").status_code == 503
    assert empty_client.get("/livez").status_code == 200


def test_another_encoder_answers_by_id_and_refuses_uploads(
    config: Config, sky: Path, tmp_path: Path
) -> None:
    small_encoder(seed=5).save(tmp_path)
    other = config.model_copy(update={"encoder": tmp_path / "small.json"})
    with TestClient(create_app(other)) as client:
        assert client.get("/similar/T100%2B003").status_code == 200
        data = (sky / "T003.fits").read_bytes()
        assert_problem(upload(client, data), 503, "model-mismatch")
        assert client.get("/readyz").json()["status"] == "degraded"


def test_headers_of_a_file_do_not_move_the_answer(
    client: TestClient, sky: Path
) -> None:
    data = fits_bytes(_GOOD, header_at(12.0, 5.0))
    named = upload(client, data, name='"><img src=x onerror=alert(1)>.fits')
    assert ids(named) == ids(upload(client, data))


@pytest.mark.parametrize("path", ["/embeddings", "/similar/batch", "/probe"])
def test_no_part_of_a_form_is_passed_over(client: TestClient, path: str) -> None:
    files = {"file": ("a.csv", b"source_id\nT100+003\n")}
    answer = client.post(path, files=files, data={"hdu": "7"})
    problem = assert_problem(answer, 422, "invalid-parameter")
    assert problem["parameter"] == "hdu"


def test_a_file_that_is_sent_as_text_is_said_to_be_so(client: TestClient) -> None:
    part = {"file": (None, b"SIMPLE = secret")}
    answer = client.post("/embeddings", files=part)
    assert_problem(answer, 422, "missing-file")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"},
        {"RADESYS": "GAPPT"},
        {"CRVAL1": 1e20},
        {"PV2_1": "NaN"},
    ],
    ids=str,
)
def test_a_position_that_is_none_is_said_to_be_none(
    client: TestClient, cards: dict[str, str | float]
) -> None:
    header = header_at(150, 2)
    header.update(cards)
    query = upload(
        client, fits_bytes(double_source(np.random.default_rng(3)), header)
    ).json()["query"]
    assert query["ra"] is None
    assert any("WCS" in note for note in query["notes"])
