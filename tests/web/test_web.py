"""The application as a whole: header fields, unknown addresses, methods, errors."""

import logging

import pytest

from tests.web.visitor import Visitor, build, parse_settings

EXPECTED = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/authgate/login", 200),
        ("GET", "/authgate/whoami", 200),
        ("GET", "/authgate/refused", 403),
        ("GET", "/authgate/style.css", 200),
        ("POST", "/authgate/login", 415),
        ("GET", "/authgate/logout", 405),
        ("PUT", "/authgate/login", 405),
        ("GET", "/", 404),
        ("GET", "/authgate", 404),
        ("GET", "/authgate/", 404),
        ("GET", "/authgate/login/", 404),
        ("GET", "/authgate/loginx", 404),
        ("GET", "/authgate/templates/login.html", 404),
        ("GET", "/authgate/../style.css", 404),
        ("GET", "/authgate/%ff", 404),
    ],
)
def test_every_answer_is_hardened(visitor: Visitor, method: str, target: str, status: int) -> None:
    response = visitor.request(method, target)

    assert response.status_code == status
    for name, value in EXPECTED.items():
        assert response.headers.get_list(name) == [value]


def test_wrong_method_is_told_the_right_ones(visitor: Visitor) -> None:
    allowed = visitor.request("DELETE", "/authgate/login").headers["allow"]

    assert set(allowed.split(", ")) == {"GET", "HEAD", "POST"}


def test_pages_hold_no_script_and_nothing_from_elsewhere(visitor: Visitor) -> None:
    visitor.log_in("alice")
    for target in ("/authgate/login", "/authgate/login?again=1", "/authgate/whoami", "/authgate/refused"):
        page = visitor.get(target).text

        assert '<html lang="en">' in page
        assert page.count("<h1>") == 1
        assert page.count("<main>") == 1
        assert "<script" not in page
        assert "http:" not in page
        assert "https:" not in page
        assert " style=" not in page


def test_style_sheet_is_served(visitor: Visitor) -> None:
    response = visitor.request("GET", "/authgate/style.css")

    assert response.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in response.text
    assert "url(" not in response.text


def test_failure_inside_is_a_plain_500_without_a_traceback(visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    settings = parse_settings(visitor.folder)
    # A time that cannot be written down: nothing a client sends does this.
    visitor.app, passwords = build(settings, visitor.store, lambda: float("nan"))

    with caplog.at_level(logging.ERROR, logger="authgate"):
        response = visitor.get("/authgate/refused")
    passwords.close()

    assert response.status_code == 500
    assert response.headers["content-type"].startswith("text/plain")
    assert "Traceback" not in response.text
    assert "ValueError" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert [record.message for record in caplog.records] == ["GET /authgate/refused failed"]
