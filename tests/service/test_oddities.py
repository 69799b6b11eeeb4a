"""Odd and hostile files as uploads: no fault of the service, the same neighbours."""

from fastapi.testclient import TestClient
from odd_uploads import faults_of
from oddities import oddities


def test_uploads_are_answered_or_refused_by_what_is_wrong(client: TestClient) -> None:
    files = [odd for odd in oddities() if not odd.heavy]
    assert not faults_of(client.post, files[::4])


def test_a_refusal_names_limit_and_value_and_candidates(client: TestClient) -> None:
    files = {odd.name: odd for odd in oddities()}

    def refused(name: str) -> dict[str, object]:
        answer = client.post("/similar", files={"file": ("a", files[name].make())})
        body: dict[str, object] = answer.json()
        return body

    many = refused("seventeen")
    assert (many["limit"], many["actual"]) == (16, 17)
    two = refused("two_images")
    assert two["parameter"] == "hdu"
    assert two["candidates"] == ["1 (A): IMAGE, 100 x 100", "2 (B): IMAGE, 100 x 100"]
    claims = refused("claims_30000")
    assert (claims["limit"], claims["actual"]) == (2**24, 30000**2)
    noise = refused("only_noise")
    assert "times the noise" in str(noise["detail"])
    assert noise["limit"] == 3
