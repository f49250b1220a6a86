"""deploy/nginx/examples/single-page.conf and folder.conf: files that stand for other addresses."""

import base64

import pytest

from tests.deploy.examples import Examples
from tests.deploy.house import OPEN, SECRET, Visitor, exchange, password, status_of

SPA, MANUAL = "spa.example.com", "manual.example.com"


def test_every_address_of_a_single_page_application_shows_its_page(examples: Examples) -> None:
    with examples.client(SPA, "bob") as client:
        answers = [client.get(path) for path in ("/", "/orders/12", "/orders/12/items")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert all(OPEN in answer.content for answer in answers)


def test_page_opens_no_address_that_is_refused(examples: Examples) -> None:
    with examples.client(SPA, "bob") as bob, examples.client(SPA) as stranger:
        refused = [bob.get(path) for path in ("/staff/plan.txt", "/staff/nothing", "/staff/")]
        page = stranger.get("/orders/12", headers=Visitor.NAVIGATION)
        asset = stranger.get("/assets/app.js")

    assert [answer.status_code for answer in refused] == [403, 403, 403]
    assert page.headers["location"] == f"{examples.origin(SPA)}/authgate/login?next=/orders/12"
    assert asset.content == OPEN


def test_existing_file_is_served_and_not_the_page(examples: Examples) -> None:
    with examples.client(SPA, "alice") as client:
        answers = [client.get(path) for path in ("/staff/plan.txt", "/staff/nothing")]

    assert SECRET in answers[0].content
    assert OPEN in answers[1].content


def test_scripts_of_a_single_page_application_get_401_and_no_page(examples: Examples) -> None:
    with examples.client(SPA) as client:
        answer = client.get("/api/orders", headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"})
    with examples.client(SPA, "bob") as client:
        allowed, refused = (
            client.get("/api/orders"),
            client.get("/api/staff/list", headers={"Accept": "application/json"}),
        )

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Authgate")
    assert allowed.json()["target"] == "/api/orders"
    assert (refused.status_code, refused.json()["reason"]) == (403, "not_admitted")


@pytest.mark.parametrize("target", ["/assets/..%2fstaff/plan.txt", "/assets/%2e%2e/staff/plan.txt", "//staff/plan.txt"])
def test_target_of_a_single_page_application_is_what_nginx_opens(examples: Examples, target: str) -> None:
    host = examples.origin(SPA).partition("://")[2]
    login = base64.b64encode(f"bob:{password('bob')}".encode()).decode()
    request = f"GET {target} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Basic {login}\r\n\r\n"

    answer = exchange(examples.house.http_port, request.encode())

    assert status_of(answer) == 403
    assert SECRET not in answer


def test_folder_shows_its_index_page(examples: Examples) -> None:
    with examples.client(MANUAL) as client:
        page, without_slash = client.get("/manual/"), client.get("/manual")

    assert OPEN in page.content
    assert (without_slash.status_code, without_slash.headers["location"]) == (301, f"{examples.origin(MANUAL)}/manual/")


def test_index_page_that_is_refused_is_not_shown_for_its_folder(examples: Examples) -> None:
    with examples.client(MANUAL) as stranger, examples.client(MANUAL, "bob") as bob:
        answers = [client.get(path) for client in (stranger, bob) for path in ("/manual/drafts/", "/manual/drafts")]

    assert [answer.status_code for answer in answers] == [401, 401, 403, 403]
    assert not any(SECRET in answer.content for answer in answers)


def test_folder_without_an_index_page_names_no_file(examples: Examples) -> None:
    with examples.client(MANUAL) as client:
        answer = client.get("/manual/bare/")

    assert answer.status_code == 403
    assert b"names-a-file" not in answer.content
