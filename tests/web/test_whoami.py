"""Who am I here."""

from base64 import b64encode

import pytest

from tests.web.visitor import Visitor

BASIC = {"authorization": "Basic " + b64encode(b"bob:bob-secret").decode()}


def test_programs_get_a_small_document(visitor: Visitor) -> None:
    assert visitor.whoami() == {"user": None, "source": "", "groups": [], "credential": "none"}

    visitor.log_in("alice")

    assert visitor.whoami() == {
        "user": "alice",
        "source": "",
        "groups": ["finance", "staff"],
        "credential": "session",
    }


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/html;q=0.5"])
def test_document_is_chosen_by_accept(visitor: Visitor, accept: str) -> None:
    response = visitor.request("GET", "/authgate/whoami", {"accept": accept})

    assert response.headers["content-type"] == "application/json"


def test_page_names_user_and_groups_and_offers_the_way_out(visitor: Visitor) -> None:
    visitor.log_in("alice")

    page = visitor.get("/authgate/whoami")

    assert "<dd>alice</dd>" in page.text
    assert "<li>finance</li>" in page.text
    assert 'action="/authgate/logout"' in page.text


def test_page_for_a_stranger_offers_the_login(visitor: Visitor) -> None:
    page = visitor.get("/authgate/whoami")

    assert "You are not logged in" in page.text
    assert 'href="/authgate/login"' in page.text


def test_password_in_each_request_is_named_and_has_no_logout(visitor: Visitor) -> None:
    page = visitor.get("/authgate/whoami", BASIC)

    assert "<dd>bob</dd>" in page.text
    assert "a password sent with each request" in page.text
    assert "/authgate/logout" not in page.text
    assert visitor.whoami(BASIC)["credential"] == "basic"


def test_two_authorization_fields_prove_nothing(visitor: Visitor) -> None:
    response = visitor.request("GET", "/authgate/whoami?format=json", [*BASIC.items(), *BASIC.items()])

    assert response.json()["user"] is None


def test_page_says_when_a_login_has_ended(visitor: Visitor) -> None:
    visitor.log_in("alice")
    visitor.clock.advance(13 * 3600)

    assert "Your login has expired" in visitor.get("/authgate/whoami").text


def test_name_with_markup_is_shown_as_text(visitor: Visitor) -> None:
    visitor.log_in("<i>eve")

    page = visitor.get("/authgate/whoami")

    assert "<dd>&lt;i&gt;eve</dd>" in page.text
    assert "<i>" not in page.text


def test_whoami_by_post_is_refused(visitor: Visitor) -> None:
    assert visitor.post("/authgate/whoami", {}).status_code == 405


@pytest.mark.parametrize("target", ["/authgate/whoami", "/authgate/login"])
@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
def test_login_that_cannot_be_looked_up_is_temporary_and_nobody_is_anonymous(
    visitor: Visitor, accept: str, target: str
) -> None:
    visitor.run(visitor.store.get("session", "none"))
    (visitor.folder / "web.db").unlink()
    (visitor.folder / "web.db").touch(mode=0o600)
    (visitor.folder / "web.db").write_bytes(b"not a database" * 1000)

    response = visitor.request("GET", target, {"accept": accept, "cookie": f"__Host-authgate={'a' * 43}"})

    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "not logged in" not in response.text


def test_client_that_has_to_wait_is_told_so(visitor: Visitor) -> None:
    for number in range(11):
        wrong = b64encode(f"alice:{number}".encode()).decode()
        response = visitor.get("/authgate/whoami", {"authorization": f"Basic {wrong}"})

    assert (response.status_code, response.headers["retry-after"]) == (429, "60")
    assert "There were too many failed attempts." in response.text
