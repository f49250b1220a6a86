"""Cookies and Authorization as attackers and broken programs send them."""

import base64
from collections.abc import Mapping

import pytest

from tests.deploy.house import HTTP_HOST, OPEN, SECRET, Running, body_of, password, status_of

OPEN_PATH, STAFF_PATH = "/public/hello.txt", "/staff/handbook.txt"

UNKNOWN_ID = "A" * 43

BAD_COOKIES: Mapping[str, bytes] = {
    "empty": b"authgate=",
    "only a name": b"authgate",
    "unknown id": b"authgate=" + UNKNOWN_ID.encode(),
    "too short": b"authgate=AAAA",
    "8 KiB": b"authgate=" + b"x" * 8100,
    "not ASCII": b"authgate=\xe9\xff" + b"A" * 41,
    "twice": b"authgate=%s; authgate=%s" % (UNKNOWN_ID.encode(), UNKNOWN_ID.encode()),
    "quoted": b'authgate="%s"' % UNKNOWN_ID.encode(),
    "of another site": b"__Host-authgate=" + UNKNOWN_ID.encode(),
}

BAD_AUTHORIZATIONS: Mapping[str, bytes] = {
    "scheme only": b"Basic",
    "not base64": b"Basic !!!!",
    "no colon": b"Basic " + base64.b64encode(b"alice"),
    "not UTF-8": b"Basic " + base64.b64encode(b"\xff\xfe:x"),
    "unknown user": b"Basic " + base64.b64encode(b"mallory:x"),
    "wrong password": b"Basic " + base64.b64encode(b"alice:x"),
    "long": b"Basic " + base64.b64encode(b"alice:" + b"x" * 5000),
    "NUL": b"Basic " + base64.b64encode(b"alice:alice-demo\0"),
    "another scheme": b"Digest x",
    "raw bytes": b"Basic \xe9\xff",
    "a comma": b"Basic x, Basic y",
}


def get(site: Running, path: str, *fields: bytes) -> bytes:
    head = [b"GET %s HTTP/1.1" % path.encode(), b"Host: " + HTTP_HOST.encode(), b"Connection: close", *fields]
    return site.raw(b"\r\n".join(head) + b"\r\n\r\n")


@pytest.mark.parametrize("cookie", BAD_COOKIES.values(), ids=BAD_COOKIES)
def test_bad_cookie_admits_nobody_and_leaves_open_paths_open(site: Running, cookie: bytes) -> None:
    open_answer, staff_answer = (get(site, path, b"Cookie: " + cookie) for path in (OPEN_PATH, STAFF_PATH))

    assert (status_of(open_answer), body_of(open_answer)) == (200, OPEN)
    assert status_of(staff_answer) == 401
    assert SECRET not in staff_answer


@pytest.mark.parametrize("value", BAD_AUTHORIZATIONS.values(), ids=BAD_AUTHORIZATIONS)
def test_bad_authorization_is_401_where_it_counts_and_not_looked_at_elsewhere(site: Running, value: bytes) -> None:
    answers: list[bytes] = []
    lines = [
        site.logged(lambda: answers.append(get(site, path, b"Authorization: " + value)))  # noqa: B023 - called at once
        for path in (OPEN_PATH, STAFF_PATH)
    ]

    assert [status_of(answer) for answer in answers] == [200, 401]
    # "none": no rule of the open path asks who it is, so the password is not hashed there.
    assert [line["credential"] for line in lines] == ["none", "basic"]
    assert lines[1]["reason"] == "bad_credential"


def test_valid_session_sent_twice_is_bad(site: Running) -> None:
    visitor = site.browser("alice")
    cookie = f"authgate={visitor.cookies['authgate']}".encode()

    once, in_one_field, in_two_fields = (
        get(site, STAFF_PATH, b"Cookie: " + cookie),
        get(site, STAFF_PATH, b"Cookie: " + cookie + b"; " + cookie),
        get(site, STAFF_PATH, b"Cookie: " + cookie, b"Cookie: " + cookie),
    )

    assert [status_of(answer) for answer in (once, in_one_field, in_two_fields)] == [200, 401, 401]


def test_session_in_the_second_cookie_field_counts(site: Running) -> None:
    visitor = site.browser("alice")
    cookie = f"authgate={visitor.cookies['authgate']}".encode()

    assert status_of(get(site, STAFF_PATH, b"Cookie: theme=dark", b"Cookie: " + cookie)) == 200


def test_bad_authorization_is_not_healed_by_a_good_session(site: Running) -> None:
    visitor = site.browser("alice")
    cookie = f"Cookie: authgate={visitor.cookies['authgate']}".encode()

    assert status_of(get(site, STAFF_PATH, cookie, b"Authorization: Basic !!!!")) == 401


def test_session_of_one_site_is_bad_at_another(site: Running) -> None:
    visitor = site.browser("alice")
    value = visitor.cookies["authgate"]

    line = site.logged(lambda: get(site, STAFF_PATH, f"Cookie: __Host-authgate={value}".encode()))

    assert (line["status"], line["user"]) == (401, "")


def test_two_authorization_fields_are_refused_by_nginx(site: Running) -> None:
    good = b"Authorization: Basic " + base64.b64encode(f"alice:{password('alice')}".encode())

    assert status_of(get(site, STAFF_PATH, good)) == 200
    assert status_of(get(site, STAFF_PATH, good, b"Authorization: Basic !!!!")) == 400


def test_two_host_fields_are_refused_by_nginx(site: Running) -> None:
    assert status_of(get(site, OPEN_PATH, b"Host: other.example.com")) == 400


def test_cookie_that_nginx_cannot_hold_is_refused(site: Running) -> None:
    assert status_of(get(site, OPEN_PATH, b"Cookie: authgate=" + b"x" * 9000)) == 400
