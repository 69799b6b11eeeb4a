"""`POST /similar/batch`, as a client sees it."""

import pytest
from fastapi.testclient import TestClient
from problems import assert_problem

URL = "/similar/batch"

VOTABLE = b"""<VOTABLE version="1.4"><RESOURCE><TABLE>
<FIELD name="id" datatype="char" arraysize="*"/>
<DATA><TABLEDATA><TR><TD>T100+001</TD></TR><TR><TD>nobody</TD></TR></TABLEDATA></DATA>
</TABLE></RESOURCE></VOTABLE>"""


def name(number: int) -> str:
    return f"T100+{number:03d}"


def test_ids_are_answered_each_as_alone(client: TestClient) -> None:
    names = [name(n) for n in range(0, 40, 3)]
    answer = client.post(f"{URL}?k=4", json={"ids": names}).json()
    assert answer["query"] == {"kind": "batch", "rows": 14, "radius_arcsec": 30.0}
    assert answer["failed"] == 0
    for row, (one, result) in enumerate(zip(names, answer["results"], strict=True), 1):
        alone = client.get(f"/similar/{one.replace('+', '%2B')}?k=4").json()
        assert (result["row"], result["source_id"]) == (row, one)
        assert result["source"] == alone["query"]["source"]
        assert result["links"] == alone["query"]["links"]
        for mine, theirs in zip(result["neighbours"], alone["neighbours"], strict=True):
            assert mine["source"] == theirs["source"]
            assert mine["similarity"] == theirs["similarity"]
        # Alone, what was asked for is not among those searched.
        assert answer["generation"] == alone["generation"] | {"searched": 40}


def test_a_row_with_a_problem_does_not_fail_the_others(client: TestClient) -> None:
    body = {"ids": [name(1), "nobody"], "positions": [[350.5, -19.7], [1, 91]]}
    answer = client.post(f"{URL}?k=2", json=body).json()
    assert answer["failed"] == 2
    one, unknown, near, off = answer["results"]
    assert one["problem"] is None
    assert unknown["problem"]["type"] == "/problems/unknown-source"
    assert unknown["problem"]["status"] == 404
    assert "'nobody'" in unknown["problem"]["detail"]
    assert unknown["neighbours"] == []
    assert near["source"]["source_id"] == name(1)
    assert (near["ra"], near["dec"]) == (350.5, -19.7)
    assert off["problem"]["type"] == "/problems/invalid-parameter"
    assert off["problem"]["parameter"] == "dec"


@pytest.mark.parametrize(
    ("file_name", "data"),
    [
        ("a.csv", b"source_id\nT100+001\nnobody\n"),
        ("a.csv", b"my_name,ra,dec\nx,350.5,-19.7\ny,1,1\n"),
        (
            "a.vot",
            VOTABLE,
        ),
    ],
)
def test_a_table_is_a_batch(client: TestClient, file_name: str, data: bytes) -> None:
    answer = client.post(f"{URL}?k=3", files={"file": (file_name, data)}).json()
    assert answer["failed"] == 1
    first, second = answer["results"]
    assert first["source"]["source_id"] == name(1)
    assert len(first["neighbours"]) == 3
    assert second["problem"]["status"] == 404


def test_the_same_batch_has_the_same_answer_to_the_byte(client: TestClient) -> None:
    body = {"ids": [name(n) for n in range(20)], "positions": [[350.5, -19.7]]}
    assert len({client.post(URL, json=body).content for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"] * 1001}, "ids"),
        ({"ids": ["x"] * 600, "positions": [[1, 2]] * 600}, "ids"),
        ({"ids": [7]}, "ids"),
        ({"ids": name(1)}, "ids"),
        ({"positions": [[1]]}, "positions"),
        ({"positions": [["a", "b"]]}, "positions"),
        ({"names": [name(1)]}, "names"),
    ],
)
def test_a_body_that_is_no_batch_is_refused(
    client: TestClient, body: dict[str, object], parameter: str
) -> None:
    found = assert_problem(client.post(URL, json=body), 422, "invalid-parameter")
    assert found["parameter"] == parameter


def test_too_many_neighbours_in_all_are_refused(client: TestClient) -> None:
    body = {"ids": ["x"] * 1000}
    found = assert_problem(
        client.post(f"{URL}?k=51", json=body), 422, "invalid-parameter"
    )
    assert (found["limit"], found["actual"]) == (50_000, 51_000)


@pytest.mark.parametrize("data", [b"", b"flux\n1\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_table_is_refused(client: TestClient, data: bytes) -> None:
    answer = client.post(URL, files={"file": ("a.csv", data)})
    assert_problem(answer, 422, "unusable-table")


def test_another_kind_of_body_is_refused(client: TestClient) -> None:
    headers = {"content-type": "text/plain"}
    answer = client.post(URL, content=b"x", headers=headers)
    assert_problem(answer, 415, "unsupported-media-type")


def test_without_an_index_a_batch_is_a_503(empty_client: TestClient) -> None:
    answer = empty_client.post(URL, json={"ids": ["x"]})
    assert_problem(answer, 503, "index-unavailable")
