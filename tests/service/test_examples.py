"""`POST /similar` with examples, as a client sees it."""

from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from problems import assert_problem


def post(client: TestClient, query: str = "", **body: object) -> httpx.Response:
    return client.post(f"/similar{query}", json=body)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [n["source"]["source_id"] for n in answer.json()["neighbours"]]


def name(number: int) -> str:
    return f"T100+{number:03d}"


def test_one_like_gets_what_its_source_gets(client: TestClient) -> None:
    by_id = client.get("/similar/T100%2B003?k=9").json()
    for example in (name(3), "t100 003", {"id": name(3)}):
        answer = post(client, "?k=9", like=[example]).json()
        assert answer["neighbours"] == by_id["neighbours"]
        assert answer["generation"] == by_id["generation"]
        assert answer["query"]["kind"] == "examples"
        assert answer["query"]["examples"]["like"] == 1


def test_an_embedding_is_an_example(client: TestClient, sky: Any) -> None:
    data = (sky / "T007.fits").read_bytes()
    made = client.post("/embeddings", files={"file": ("a", data)}).json()["embedding"]
    answer = post(client, "?k=1", like=[made])
    assert ids(answer) == [name(7)]


def test_what_embeddings_answers_is_an_example(client: TestClient, sky: Any) -> None:
    data = (sky / "T007.fits").read_bytes()
    made = client.post("/embeddings", files={"file": ("a", data)}).json()
    assert ids(post(client, "?k=1", like=[made])) == [name(7)]
    answer = post(client, unlike=[name(1), made | {"encoder": "another"}])
    problem = assert_problem(answer, 422, "invalid-parameter")
    assert problem["parameter"] == "unlike[1]"
    assert problem["actual"] == "another"
    assert problem["limit"] == made["encoder"]


_INVALID = (422, "invalid-parameter")


def form(client: TestClient, *parts: tuple[str, object]) -> httpx.Response:
    """A text is a field, bytes are a file."""
    files: list[Any] = [
        (part, (None, value) if isinstance(value, str) else ("a.fits", value))
        for part, value in parts
    ]
    return client.post("/similar?k=9", files=files)


@pytest.mark.parametrize("strategy", ["mean", "best"])
def test_files_and_ids_are_examples_together(
    client: TestClient, sky: Any, strategy: str
) -> None:
    files = {n: (sky / f"T{n:03d}.fits").read_bytes() for n in (7, 9, 11)}
    made = {
        n: client.post("/embeddings", files={"file": ("a", data)}).json()["embedding"]
        for n, data in files.items()
    }
    answer = form(
        client,
        ("like", files[7]),
        ("like", name(3)),
        ("like", files[9]),
        ("unlike", files[11]),
        ("strategy", strategy),
    )
    same = post(
        client,
        "?k=9",
        like=[made[7], name(3), made[9]],
        unlike=[made[11]],
        strategy=strategy,
    )
    assert ids(answer) == ids(same)
    assert answer.json()["neighbours"] == same.json()["neighbours"]
    assert answer.json()["query"]["examples"] == same.json()["query"]["examples"]


def test_a_file_alone_as_example_is_that_file(client: TestClient, sky: Any) -> None:
    data = (sky / "T007.fits").read_bytes()
    one = client.post("/similar?k=9", files={"file": ("a", data)})
    assert ids(form(client, ("like", data))) == ids(one)


@pytest.mark.parametrize(
    ("parts", "status", "problem", "parameter"),
    [
        ([("like", name(1)), ("like", b"SIMPLE")], 422, "malformed-fits", "like[1]"),
        ([("unlike", b"")], 422, "empty-upload", "unlike[0]"),
        ([("like", b"x"), ("file", b"x")], 422, "invalid-parameter", "like"),
        ([("strategy", "best"), ("file", b"x")], 422, "invalid-parameter", "strategy"),
        ([("like", b"x")] * 17, 422, "invalid-parameter", "like"),
        ([("like", b"x")] * 8 + [("unlike", b"x")] * 9, *_INVALID, "unlike"),
        ([("like", name(1)), ("pairs", "x")], 422, "invalid-parameter", "pairs"),
        ([("like", name(1)), ("region", "x")], 422, "invalid-parameter", "region"),
        ([("like", name(1)), *[("strategy", "best")] * 2], *_INVALID, "strategy"),
        ([("like", name(1)), ("unlike", "x" * 1001)], *_INVALID, "unlike[0]"),
        ([("like", b"x"), ("unlike", "nobody")], 404, "unknown-source", "unlike"),
        ([("like", name(1))] * 1001, 400, "malformed-multipart", None),
        ([("like", name(1)), ("strategy", "x")], 422, "invalid-parameter", "strategy"),
        ([("strategy", "mean")], 422, "missing-file", "file"),
        ([("like", "nobody")], 404, "unknown-source", "like"),
        ([("like", "")], 404, "unknown-source", "like"),
    ],
)
def test_forms_of_examples_that_cannot_be_used_are_named(
    client: TestClient,
    parts: list[tuple[str, object]],
    status: int,
    problem: str,
    parameter: str | None,
) -> None:
    found = assert_problem(form(client, *parts), status, problem)
    assert found.get("parameter") == parameter


def test_half_a_character_in_a_form_is_refused(client: TestClient) -> None:
    text = (
        b'--X\r\nContent-Disposition: form-data; name="like"\r\n\r\n+2AA-\r\n--X--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=X; charset=utf-7"}
    answer = client.post("/similar", content=text, headers=headers)
    assert assert_problem(answer, *_INVALID)["parameter"] == "like[0]"


@pytest.mark.parametrize("strategy", ["mean", "best", "ranker"])
def test_no_example_is_in_its_own_answer(client: TestClient, strategy: str) -> None:
    like = [name(n) for n in range(0, 12, 2)]
    unlike = [{"id": name(n)} for n in range(1, 12, 2)]
    answer = post(client, "?k=100", like=like, unlike=unlike, strategy=strategy)
    assert not {name(n) for n in range(12)} & set(ids(answer))
    body = answer.json()
    assert body["generation"]["exact"] is True
    assert all(-1 <= n["similarity"] <= 1 for n in body["neighbours"])
    scores = [n["score"] for n in body["neighbours"]]
    if strategy == "best":
        assert set(scores) == {None}
        scores = [n["similarity"] for n in body["neighbours"]]
    assert scores == sorted(scores, reverse=True)


def test_unlike_alone_is_the_least_similar_first(client: TestClient) -> None:
    least = client.get("/similar/T100%2B003?k=39&order=least")
    assert ids(post(client, "?k=39", unlike=[name(3)])) == ids(least)
    most = client.get("/similar/T100%2B003?k=39")
    assert ids(least) == ids(most)[::-1]


def test_pairs_are_answered(client: TestClient) -> None:
    answer = post(client, pairs=[[name(1), name(2)], [{"id": name(3)}, name(4)]])
    assert len(ids(answer)) == 10
    assert answer.json()["query"]["examples"]["strategy"] == "pairs"


def test_pages_of_examples_join(client: TestClient) -> None:
    body = {"like": [name(1), name(2)], "unlike": [name(5)]}
    whole = ids(post(client, "?k=12", **body))
    first = post(client, "?k=6", **body)
    second = client.post(first.json()["next"], json=body)
    assert ids(first) + ids(second) == whole


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "like"),
        ({"like": []}, "like"),
        ({"like": name(3)}, "like"),
        ({"like": [7]}, "like"),
        ({"like": [None]}, "like"),
        ({"like": [{}]}, "like"),
        ({"like": [{"name": "x"}]}, "like"),
        ({"like": [["a"]]}, "like"),
        ({"like": [[1.0, 2.0]]}, "like[0]"),
        ({"like": [[]]}, "like[0]"),
        ({"like": ["x"] * 1001}, "like"),
        ({"like": [name(1)], "unlike": [name(1)]}, "unlike"),
        ({"like": [name(1)], "strategy": "worst"}, "strategy"),
        ({"like": [name(1)], "strategy": "ranker"}, "like"),
        ({"like": [name(1)], "dislike": [name(2)]}, "dislike"),
        ({"pairs": [[name(1)]]}, "pairs"),
        ({"pairs": [[name(1), name(1)]]}, "pairs"),
    ],
)
def test_examples_that_cannot_be_used_are_named(
    client: TestClient, body: dict[str, object], parameter: str
) -> None:
    answer = client.post("/similar", json=body)
    found = assert_problem(answer, 422, "invalid-parameter")
    assert found["parameter"] == parameter


def test_unknown_examples_are_a_404_that_names_them(client: TestClient) -> None:
    answer = post(client, like=[name(1), "nobody", "no one"])
    body = assert_problem(answer, 404, "unknown-source")
    assert body["parameter"] == "like"
    assert "'nobody', 'no one'" in body["detail"]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"like": [', b"\xff\xfe", b"[" * 100_000, b'{"like": "\xc3"}'],
)
def test_what_is_no_json_is_refused(client: TestClient, text: bytes) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = client.post("/similar", content=text, headers=headers)
    assert answer.status_code in {400, 422}
    name = answer.json()["type"].removeprefix("/problems/")
    assert name in {"malformed-json", "invalid-parameter"}
    assert_problem(answer, answer.status_code, name)


@pytest.mark.parametrize("text", [b"[1]", b"7", b'"x"', b"null"])
def test_json_that_is_no_object_is_refused(client: TestClient, text: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/similar", content=text, headers=headers)
    assert_problem(answer, 422, "invalid-parameter")


def test_numbers_that_are_none_are_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for number, name in (
        ("NaN", "malformed-json"),
        ("Infinity", "malformed-json"),
        ("1e999", "invalid-parameter"),
    ):
        text = f'{{"like": [[{number}, 1]]}}'
        answer = client.post("/similar", content=text, headers=headers)
        assert_problem(answer, 422, name)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "image/png", None])
def test_another_kind_of_body_is_a_415_that_names_both(
    client: TestClient, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post("/similar", content=b"{}", headers=headers)
    body = assert_problem(answer, 415, "unsupported-media-type")
    assert "multipart/form-data or application/json" in body["detail"]


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/similar", content=b" " * (17 << 20), headers=headers)
    assert_problem(answer, 413, "payload-too-large")


def test_the_description_knows_both_bodies(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/similar"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    schema = content["application/json"]["schema"]
    assert set(schema["properties"]) == {
        "like",
        "unlike",
        "pairs",
        "strategy",
        "region",
    }
    assert "$ref" not in str(schema)


def test_without_an_index_examples_are_a_503(empty_client: TestClient) -> None:
    assert_problem(post(empty_client, like=["x"]), 503, "index-unavailable")


@pytest.mark.parametrize("one", [{"id": "a", "x": "b"}, {"x": "b"}, {}])
def test_an_object_that_is_no_example_is_told_what_one_is(
    client: TestClient, one: dict[str, str]
) -> None:
    found = assert_problem(post(client, like=[one]), 422, "invalid-parameter")
    assert found["parameter"] == "like"
    assert '{"id": ID}' in found["detail"]
    assert "; its members were: " in found["detail"]
    assert "constrained" not in found["detail"]
