"""`GET /outliers` and the isolation of a source, as a client sees them."""

import pytest
from fastapi.testclient import TestClient
from problems import assert_problem


def ids(body: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [one["source"]["source_id"] for one in body["outliers"]]


def test_the_most_isolated_come_first(client: TestClient) -> None:
    answer = client.get("/outliers?k=40")
    assert answer.status_code == 200
    body = answer.json()
    assert len(set(ids(body))) == 40
    distances = [one["isolation"]["distance"] for one in body["outliers"]]
    assert distances == sorted(distances, reverse=True)
    assert body["outliers"][0]["isolation"]["rank"] == 1
    assert body["outliers"][-1]["isolation"]["percentile"] == 0
    assert body["generation"]["exact"] is True
    assert body["generation"]["searched"] == 40
    assert body["calibration"] == {
        "neighbours": 10,
        "references": 40,
        "object_radius_arcsec": 10.0,
    }
    least = client.get("/outliers?k=40&order=least").json()
    assert ids(least) == ids(body)[::-1]


def test_a_source_shows_the_isolation_that_the_list_has(client: TestClient) -> None:
    for one in client.get("/outliers?k=3").json()["outliers"]:
        assert client.get(one["links"]["self"]).json()["isolation"] == one["isolation"]


def test_pages_join_and_are_the_same_to_the_byte(client: TestClient) -> None:
    whole = client.get("/outliers?k=12")
    assert whole.content == client.get("/outliers?k=12").content
    first = client.get("/outliers?k=6").json()
    assert "generation=1" in first["next"]
    assert ids(first) + ids(client.get(first["next"]).json()) == ids(whole.json())
    assert client.get("/outliers?k=40").json()["next"] is None


def test_filters_and_regions_choose(client: TestClient) -> None:
    body = client.get("/outliers?k=40&where=fr_class = 'FRI'").json()
    assert {one["source"]["fr_class"] for one in body["outliers"]} == {"FRI"}
    assert body["generation"]["searched"] == 20
    region = "region_ra=350&region_dec=-20&region_radius_deg=1.5"
    near = client.get(f"/outliers?{region}").json()
    assert set(ids(near)) == {"T100+000", "T100+001", "T100+002"}
    without = client.get(f"/outliers?{region}&exclude=T100%2B001").json()
    assert set(ids(without)) == {"T100+000", "T100+002"}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("k=0", "k"),
        ("k=1001", "k"),
        ("offset=-1", "offset"),
        ("order=both", "order"),
        ("duplicates=maybe", "duplicates"),
        ("region_ra=1", "region_dec"),
    ],
)
def test_what_is_out_of_bounds_is_named(
    client: TestClient, query: str, parameter: str
) -> None:
    body = assert_problem(client.get(f"/outliers?{query}"), 422, "invalid-parameter")
    assert body["parameter"] == parameter


def test_neighbours_say_how_many_there_would_be_by_chance(client: TestClient) -> None:
    found = client.get("/similar/T100%2B003?k=39").json()["neighbours"]
    expected = [n["expected_by_chance"] for n in found]
    assert expected == sorted(expected)
    assert all(0 < value <= 39 for value in expected)


def test_without_an_index_outliers_are_a_503(empty_client: TestClient) -> None:
    assert_problem(empty_client.get("/outliers"), 503, "index-unavailable")
