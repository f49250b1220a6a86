"""What comes instead of a file: the login for people, a challenge for programs, a page or a line."""

import re

import pytest

from tests.deploy.house import HTTP_HOST, SECRET, Running, Visitor


def test_navigation_leads_to_the_login_and_back_to_the_file(site: Running) -> None:
    visitor = site.browser()

    refused = visitor.get("/staff/handbook.txt")
    origin = site.house.origin()
    assert refused.status_code == 302
    assert refused.headers["location"] == f"{origin}/authgate/login?next=/staff/handbook.txt"
    assert refused.headers["cache-control"] == "no-store"

    back = visitor.login("alice", refused.headers["location"].removeprefix(origin))
    assert back.headers["location"] == "/staff/handbook.txt"
    assert SECRET in visitor.get("/staff/handbook.txt").content


def test_navigation_of_an_old_browser_is_known_by_accept(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/staff/handbook.txt", headers={"Accept": "text/html"})

    assert answer.status_code == 302


def test_program_gets_a_basic_challenge(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/staff/handbook.txt")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Basic realm="files"')
    assert answer.headers["cache-control"] == "no-store"
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"},
        {"X-Requested-With": "XMLHttpRequest", "Accept": "text/html"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    ],
    ids=["fetch", "xhr", "image"],
)
def test_script_gets_a_challenge_that_opens_no_password_window(site: Running, headers: dict[str, str]) -> None:
    with site.client() as client:
        answer = client.get("/staff/handbook.txt", headers=headers)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Authgate")
    assert "location" not in answer.headers


def test_post_is_never_redirected(site: Running) -> None:
    with site.client() as client:
        answer = client.post("/staff/handbook.txt", headers=Visitor.NAVIGATION, content=b"a body")

    assert answer.status_code == 401
    assert "location" not in answer.headers


def test_chunked_post_is_decided_without_waiting_for_its_body(site: Running) -> None:
    with site.client(user="bob") as bob, site.client(user="carol") as carol:
        answers = [client.post("/reports/q3.csv", content=iter([b"a", b"b"])) for client in (bob, carol)]

    # 405: authgate allows, and nginx does not take a POST for a file.
    assert [answer.status_code for answer in answers] == [403, 405]


def test_person_sees_a_page_with_the_decision(site: Running) -> None:
    visitor = site.browser("bob")
    page = ""

    def ask() -> None:
        nonlocal page
        answer = visitor.get("/reports/q3.csv")
        assert answer.status_code == 403
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-store"
        page = answer.text

    line = site.logged(ask)

    assert f"<code>{line['decision']}</code>" in page
    assert "bob" in page
    # Names of rules would tell a stranger what to try next.
    assert "finance" not in page


def test_program_gets_one_line_with_the_decision(site: Running) -> None:
    with site.client(user="bob") as client:
        answer = client.get("/reports/q3.csv")

    assert answer.status_code == 403
    assert re.fullmatch(r"403 .*\(decision [a-z0-9]{1,16}-[0-9a-f]{12}\)\s*", answer.text)


def test_refused_post_gets_the_page_too(site: Running) -> None:
    visitor = site.browser("bob")

    answer = visitor.post("/reports/q3.csv", {"some": "form"})

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (403, "text/html")


def test_bad_basic_credential_is_401_on_a_protected_path(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/staff/handbook.txt", auth=("alice", "wrong"))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_long_return_address_is_dropped_and_the_login_still_reached(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/staff/handbook.txt?" + "x=%20&" * 900, headers=Visitor.NAVIGATION)

    assert answer.status_code == 302
    assert answer.headers["location"] == f"{site.house.origin()}/authgate/login"


def test_longest_return_address_fits_into_the_answer(site: Running) -> None:
    target = "/staff/handbook.txt?" + "&" * 1000
    with site.client() as client:
        answer = client.get(target, headers=Visitor.NAVIGATION)

    assert answer.status_code == 302
    assert len(answer.headers["location"]) > 3000


def test_login_in_the_site_of_another_host_leads_nowhere_else(site: Running) -> None:
    request = "GET /staff/handbook.txt HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"

    answer = site.raw(request.format(f"{HTTP_HOST}:666").encode())

    assert f"\r\nLocation: {site.house.origin()}/authgate/login".encode() in answer
