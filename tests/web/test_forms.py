"""Forms that cannot be read or believed."""

from urllib.parse import urlencode

import pytest

from authgate.web.forms import MAX_BYTES, MAX_FIELDS
from tests.web.visitor import PLAIN, SECURE, Visitor

URLENCODED = "application/x-www-form-urlencoded"


def _filled(visitor: Visitor, **changes: str) -> bytes:
    fields = {"token": visitor.token(), "username": "alice", "password": "alice-secret"} | changes
    return urlencode(fields).encode()


def test_token_has_to_be_in_the_form(visitor: Visitor) -> None:
    visitor.token()

    response = visitor.post("/authgate/login", {"username": "alice", "password": "alice-secret"})

    assert response.status_code == 403
    assert "Form out of date" in response.text
    assert "__Host-authgate" not in visitor.cookies[SECURE]


@pytest.mark.parametrize("token", ["", "A" * 43, "é", "\x00", "A" * 10_000])
def test_wrong_token_is_refused(visitor: Visitor, token: str) -> None:
    assert visitor.log_in("alice", token=token).status_code == 403


def test_token_without_its_cookie_is_refused(visitor: Visitor) -> None:
    body = _filled(visitor)
    visitor.cookies[SECURE].clear()

    assert visitor.request("POST", "/authgate/login", visitor.form_headers(), content=body).status_code == 403


def test_token_of_another_browser_is_refused(visitor: Visitor) -> None:
    body = _filled(visitor)
    headers = [*visitor.form_headers(), ("cookie", f"__Host-authgate-form={'A' * 43}")]

    assert visitor.request("POST", "/authgate/login", headers, content=body).status_code == 403


def test_empty_cookie_and_empty_token_do_not_match(visitor: Visitor) -> None:
    headers = [*visitor.form_headers(), ("cookie", "__Host-authgate-form=")]

    response = visitor.request(
        "POST", "/authgate/login", headers, content=b"token=&username=alice&password=alice-secret"
    )

    assert response.status_code == 403


def test_form_cookie_sent_twice_is_refused(visitor: Visitor) -> None:
    body = _filled(visitor)
    token = visitor.cookies[SECURE]["__Host-authgate-form"]
    headers = [*visitor.form_headers(), ("cookie", f"__Host-authgate-form={token}; __Host-authgate-form={token}")]

    assert visitor.request("POST", "/authgate/login", headers, content=body).status_code == 403


def test_logout_needs_the_token_of_this_session(visitor: Visitor) -> None:
    visitor.log_in("bob")
    foreign = visitor.token("/authgate/whoami")
    visitor.cookies.clear()
    visitor.log_in("alice")

    for token in ("", foreign, visitor.cookies[SECURE]["__Host-authgate"]):
        response = visitor.post("/authgate/logout", {"token": token})

        assert response.status_code == 403
        assert "set-cookie" not in response.headers
    assert visitor.whoami()["user"] == "alice"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://files.example.com",
        "https://files.example.com:8443",
        "https://files.example.com.evil.example",
        "https://files.example.com/",
        "HTTPS://FILES.EXAMPLE.COM",
        "https://a.shared.example",
    ],
)
@pytest.mark.parametrize("target", ["/authgate/login", "/authgate/logout"])
def test_form_from_another_origin_is_refused(visitor: Visitor, origin: str, target: str) -> None:
    visitor.log_in("alice")
    token = visitor.token("/authgate/whoami" if target.endswith("logout") else "/authgate/login?again=1")
    headers = [("content-type", URLENCODED), ("accept", "text/html"), ("origin", origin)]
    form = {"token": token, "username": "bob", "password": "bob-secret"}

    response = visitor.request("POST", target, headers, content=urlencode(form).encode())

    assert response.status_code == 403
    assert "another site" in response.text
    assert visitor.whoami()["user"] == "alice"


def test_origin_sent_twice_is_refused(visitor: Visitor) -> None:
    headers = [*visitor.form_headers(), ("origin", SECURE)]

    assert visitor.request("POST", "/authgate/login", headers, content=_filled(visitor)).status_code == 403


@pytest.mark.parametrize("relation", ["cross-site", "same-site", "none", "", "same-origin, same-origin"])
def test_form_that_the_browser_calls_foreign_is_refused(visitor: Visitor, relation: str) -> None:
    headers = [("content-type", URLENCODED), ("sec-fetch-site", relation)]

    assert visitor.request("POST", "/authgate/login", headers, content=_filled(visitor)).status_code == 403


def test_origin_includes_the_port(visitor: Visitor) -> None:
    visitor.site = PLAIN

    assert visitor.log_in("alice").status_code == 303
    headers = [("content-type", URLENCODED), ("origin", "http://127.0.0.1")]
    assert visitor.request("POST", "/authgate/login", headers, content=_filled(visitor)).status_code == 403


def test_program_that_sends_neither_sign_is_held_to_the_token_alone(visitor: Visitor) -> None:
    headers = [("content-type", URLENCODED)]

    assert visitor.request("POST", "/authgate/login", headers, content=_filled(visitor)).status_code == 303


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/json",
        "application/x-www-form-urlencodedx",
        "",
    ],
)
def test_other_content_types_are_refused(visitor: Visitor, kind: str) -> None:
    response = visitor.request("POST", "/authgate/login", [("content-type", kind)], content=_filled(visitor))

    assert response.status_code == 415


def test_missing_doubled_or_compressed_content_is_refused(visitor: Visitor) -> None:
    body = _filled(visitor)
    typed = ("content-type", URLENCODED)
    for headers in ([], [typed, typed], [typed, ("content-encoding", "gzip")]):
        assert visitor.request("POST", "/authgate/login", headers, content=body).status_code == 415


def test_content_type_may_name_a_charset(visitor: Visitor) -> None:
    headers = [("content-type", f"{URLENCODED.upper()}; charset=UTF-8")]

    assert visitor.request("POST", "/authgate/login", headers, content=_filled(visitor)).status_code == 303


def test_body_is_bounded_to_the_byte(visitor: Visitor) -> None:
    body = _filled(visitor) + b"&filler="
    full = body + b"x" * (MAX_BYTES - len(body))

    assert visitor.request("POST", "/authgate/login", visitor.form_headers(), content=full).status_code == 303
    assert visitor.request("POST", "/authgate/login", visitor.form_headers(), content=full + b"x").status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"token",
        b"token=a&&username=b",
        b"token=a&token=b",
        b"username=alice&username=alice",
        b"username=%ff",
        b"username=%ed%a0%80",
        b"username=\xff",
        "username=é".encode(),
        b"&".join(b"f%d=x" % number for number in range(MAX_FIELDS + 1)),
    ],
)
def test_malformed_form_is_refused(visitor: Visitor, body: bytes) -> None:
    response = visitor.request("POST", "/authgate/login", visitor.form_headers(), content=body)

    assert response.status_code == 400
    assert "Form not understood" in response.text


def test_refused_form_is_explained_in_the_form_the_client_reads(visitor: Visitor) -> None:
    for accept, start in [("application/json", "application/json"), ("*/*", "text/plain"), ("text/html", "text/html")]:
        response = visitor.request("POST", "/authgate/login", {"accept": accept}, content=b"")

        assert response.status_code == 415
        assert response.headers["content-type"].startswith(start)
        assert "x-www-form-urlencoded" in response.text
