"""One region, by every way that a client may send it."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from mocpy import MOC
from problems import assert_problem

# The test's sources lie on a line from RA 350, Dec -20 over RA 0 to RA 9.5, Dec -8.3.
FORMS = [
    "RANGE 355 5 -90 90",
    "BOX 0 -14 8 8",
    "CIRCLE 0 -14 4",
    "POLYGON 356 -30 5 -30 5 10 356 10",
    "MOC 4/1062 1073-1075",
]


def places(client: TestClient) -> dict[str, tuple[float, float]]:
    sources = client.get("/sources?limit=1000").json()["sources"]
    return {
        s["source"]["source_id"]: (s["source"]["ra"], s["source"]["dec"])
        for s in sources
    }


def listed(client: TestClient, region: str) -> set[str]:
    """By the listing, over all of its pages."""
    answer = client.get("/sources", params={"region": region, "limit": 3}).json()
    found = [s["source"]["source_id"] for s in answer["sources"]]
    while answer["next"]:
        answer = client.get(answer["next"]).json()
        found += [s["source"]["source_id"] for s in answer["sources"]]
    assert len(found) == len(set(found))
    return set(found)


def near(answer: dict[str, object]) -> set[str]:
    neighbours = answer["neighbours"]
    assert isinstance(neighbours, list)
    return {n["source"]["source_id"] for n in neighbours}


@pytest.mark.parametrize("region", FORMS)
def test_a_region_means_the_same_on_every_route(
    client: TestClient, sky: Path, region: str
) -> None:
    everyone = set(places(client))
    inside = listed(client, region)
    assert 0 < len(inside) < len(everyone)
    asked: dict[str, str | float] = {"region": region, "k": 1000, "duplicates": "keep"}
    name = "T100+003"
    others = inside - {name}

    def get(url: str, **more: float) -> dict[str, object]:
        answer = client.get(url, params={**asked, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def post(url: str, **body: object) -> dict[str, object]:
        query: dict[str, str | int] = {
            "k": 1000 if url == "/similar" else 50,
            "duplicates": "keep",
        }
        answer = client.post(url, params=query, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    assert near(get("/similar/T100%2B003")) == others
    ra, dec = places(client)[name]
    assert near(get("/similar", ra=ra, dec=dec, radius_arcsec=30)) == others
    assert near(post("/similar", like=[name], region=region)) == others
    batch = post("/similar/batch", ids=[name], region=region)
    results = batch["results"]
    assert isinstance(results, list)
    assert near(results[0]) == others
    upload = client.post(
        "/similar", params=asked, files={"file": (sky / "T003.fits").read_bytes()}
    )
    assert near(upload.json()) == inside


@pytest.mark.parametrize("form", ["fits", "ascii", "json"])
def test_a_moc_may_be_uploaded(
    client: TestClient, sky: Path, tmp_path: Path, form: str
) -> None:
    text = FORMS[-1].removeprefix("MOC ")
    inside = listed(client, FORMS[-1])
    moc = MOC.from_string(text, format="ascii")
    if form == "fits":
        moc.save(tmp_path / "m.fits", format="fits")
        data = (tmp_path / "m.fits").read_bytes()
    else:
        data = moc.to_string(format=form).encode()
    query: dict[str, str | int] = {"k": 50, "duplicates": "keep"}
    file = (sky / "T003.fits").read_bytes()
    answer = client.post("/similar", params=query, files={"file": file, "moc": data})
    assert near(answer.json()) == inside
    table = b"source_id\nT100+003\n"
    files = {"file": ("ids.csv", table), "moc": ("m", data)}
    answer = client.post("/similar/batch", params=query, files=files)
    assert near(answer.json()["results"][0]) == inside - {"T100+003"}


def test_a_moc_may_be_an_object_of_the_body(client: TestClient) -> None:
    text = FORMS[-1].removeprefix("MOC ")
    cells = json.loads(MOC.from_string(text, format="ascii").to_string(format="json"))
    body = {"like": ["T100+003"], "region": cells}
    answer = client.post("/similar?k=1000&duplicates=keep", json=body)
    assert near(answer.json()) == listed(client, FORMS[-1]) - {"T100+003"}


@pytest.mark.parametrize(
    ("region", "limit"),
    [
        ("CIRCLE 0 91 1", "-90 to 90"),
        ("CIRCLE 0 0 181", "0 to 180"),
        ("CIRCLE nan 0 1", None),
        ("TRIANGLE 1 2 3", "CIRCLE, RANGE, BOX, POLYGON or MOC"),
        ("POLYGON 0 0 120 0 240 1", 80.0),
        ("POLYGON 0 0 10 10 10 0 0 10", None),
        ("POLYGON " + "1 2 " * 1001, 1000),
        ("MOC 30/1", 29),
        ("MOC ", None),
    ],
)
def test_a_region_that_is_none_is_a_problem_on_every_route(
    client: TestClient, sky: Path, region: str, limit: object
) -> None:
    file = {"file": (sky / "T003.fits").read_bytes()}
    answers = [
        client.get("/sources", params={"region": region}),
        client.get("/similar/T100%2B003", params={"region": region}),
        client.post("/similar", params={"region": region}, files=file),
        client.post("/similar", json={"like": ["T100+003"], "region": region}),
        client.post("/similar/batch", json={"ids": ["T100+003"], "region": region}),
    ]
    for answer in answers:
        body = assert_problem(answer, 422, "invalid-region")
        assert (body["parameter"], body.get("limit")) == ("region", limit)


@pytest.mark.parametrize(
    "moc", [b"", b"nonsense", b"\xff\xfe", b"SIMPLE  =", b"\x1f\x8b\x08", b"{}", b"{"]
)
def test_a_file_that_is_no_moc_is_a_problem(
    client: TestClient, sky: Path, moc: bytes
) -> None:
    file = BytesIO((sky / "T003.fits").read_bytes())
    answer = client.post("/similar", files={"file": file, "moc": ("m.fits", moc)})
    assert assert_problem(answer, 422, "invalid-region")["parameter"] == "region"


def test_two_regions_are_refused(client: TestClient) -> None:
    body = {"like": ["T100+003"], "region": FORMS[0]}
    answer = client.post("/similar", params={"region": FORMS[1]}, json=body)
    assert "leave one out" in assert_problem(answer, 422, "invalid-region")["detail"]


def test_a_listing_by_separation_takes_no_region(client: TestClient) -> None:
    cone: dict[str, str | float] = {"ra": 0, "dec": -14, "radius_arcsec": 600}
    cone["region"] = FORMS[0]
    body = assert_problem(client.get("/sources", params=cone), 422, "invalid-parameter")
    assert body["parameter"] == "region"
    assert "is a region itself" in body["detail"]


def test_the_description_has_regions_and_filters(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, method in [
        ("/similar/{source_id}", "get"),
        ("/similar", "get"),
        ("/similar", "post"),
        ("/similar/batch", "post"),
        ("/sources", "get"),
    ]:
        known = {p["name"]: p for p in document["paths"][path][method]["parameters"]}
        assert "POLYGON" in known["region"]["description"]
        assert "is null" in known["where"]["description"]
        if method == "post":
            content = document["paths"][path][method]["requestBody"]["content"]
            assert "region" in content["application/json"]["schema"]["properties"]
