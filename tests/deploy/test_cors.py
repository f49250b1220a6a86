"""deploy/nginx/examples/cors.conf: the preflight of a browser passes, and only that."""

import pytest

from tests.deploy.examples import Examples

HOST = "api.example.com"
PREFLIGHT = {"Origin": "http://app.example.com", "Access-Control-Request-Method": "PUT"}


def test_preflight_reaches_the_application_without_login(examples: Examples) -> None:
    before = examples.applications.counted.requests
    with examples.client(HOST) as client:
        answer = client.options("/v1/x", headers=PREFLIGHT)

    assert (answer.status_code, answer.headers["access-control-allow-methods"]) == (204, "GET, PUT")
    assert examples.applications.counted.requests == before + 1


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {}),
        ("OPTIONS", {"Origin": PREFLIGHT["Origin"]}),
        ("OPTIONS", {"Access-Control-Request-Method": "PUT"}),
        ("OPTIONS", {**PREFLIGHT, "Access-Control-Request-Method": ""}),
        ("GET", PREFLIGHT),
        ("PUT", PREFLIGHT),
        ("POST", PREFLIGHT),
    ],
)
def test_nothing_else_passes_as_a_preflight(examples: Examples, method: str, headers: dict[str, str]) -> None:
    before = examples.applications.counted.requests
    with examples.client(HOST) as client:
        answer = client.request(method, "/v1/x", headers=headers)

    assert answer.status_code in {401, 403}
    assert examples.applications.counted.requests == before


def test_preflight_of_another_path_is_refused(examples: Examples) -> None:
    with examples.client(HOST) as client:
        answers = [client.options(path, headers=PREFLIGHT) for path in ("/v2/x", "/", "/v1/..%2fv2/x")]

    assert [answer.status_code for answer in answers] == [403, 403, 403]


def test_real_request_is_decided_as_ever(examples: Examples) -> None:
    origin = {"Origin": PREFLIGHT["Origin"]}
    with examples.client(HOST, "alice") as alice, examples.client(HOST, "bob") as bob:
        member, other, wrong_method = (
            alice.put("/v1/x", headers=origin),
            bob.put("/v1/x", headers=origin),
            alice.delete("/v1/x"),
        )

    assert (member.status_code, member.headers["access-control-allow-origin"]) == (200, PREFLIGHT["Origin"])
    assert (other.status_code, wrong_method.status_code) == (403, 403)
    assert "access-control-allow-origin" not in other.headers
