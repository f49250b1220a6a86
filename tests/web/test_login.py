"""Logging in and out."""

import asyncio
import html
import re
import sqlite3
import threading
from contextlib import closing
from urllib.parse import urlencode

import pytest

from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import SessionData, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.stores.cache import CachedRecords
from authgate.web import create_web
from tests.web.visitor import PLAIN, SECURE, SHARED, SHARED_TOO, Visitor, build, parse_settings


def test_login_page_names_the_place_and_holds_a_form(visitor: Visitor) -> None:
    response = visitor.get("/authgate/login?next=/reports/q3.csv")

    assert response.status_code == 200
    assert "files.example.com" in response.text
    assert "the archive" in response.text
    assert 'name="next" value="/reports/q3.csv"' in response.text
    assert 'autocomplete="current-password"' in response.text


def test_login_page_answers_head(visitor: Visitor) -> None:
    assert visitor.request("HEAD", "/authgate/login").status_code == 200


@pytest.mark.parametrize(
    ("site", "cookie"),
    [
        (SECURE, r"__Host-authgate=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (SHARED, r"__Secure-authgate=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax; Domain=shared\.example; Secure"),
        (PLAIN, r"authgate=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_login_sets_the_sites_session_cookie_and_goes_where_next_says(visitor: Visitor, site: str, cookie: str) -> None:
    visitor.site = site

    response = visitor.log_in("alice", next="/reports/?a=b&c=%26")

    assert response.status_code == 303
    assert response.headers["location"] == "/reports/?a=b&c=%26"
    (line,) = response.headers.get_list("set-cookie")
    assert re.fullmatch(cookie, line)
    assert visitor.whoami()["user"] == "alice"


@pytest.mark.parametrize(
    ("site", "cookie"),
    [
        (SECURE, r"__Host-authgate-form=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure"),
        (SHARED, r"__Host-authgate-form=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure"),
        (PLAIN, r"authgate-form=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict"),
    ],
)
def test_login_page_sets_the_form_cookie(visitor: Visitor, site: str, cookie: str) -> None:
    visitor.site = site

    (line,) = visitor.get("/authgate/login").headers.get_list("set-cookie")

    assert re.fullmatch(cookie, line)


def test_sites_of_one_cookie_domain_share_a_login(visitor: Visitor) -> None:
    visitor.site = SHARED
    visitor.log_in("alice")
    jar = visitor.cookies[SHARED]

    visitor.site = SHARED_TOO
    visitor.cookies[SHARED_TOO] = dict(jar)

    assert visitor.whoami()["user"] == "alice"


@pytest.mark.parametrize(
    "hostile",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "/%5cevil", "/a\r\nX: y", "/authgate/login"],
)
def test_hostile_next_is_dropped_from_page_and_redirect(visitor: Visitor, hostile: str) -> None:
    page = visitor.get("/authgate/login?" + urlencode({"next": hostile}))

    assert 'name="next" value=""' in page.text
    assert visitor.log_in("alice", next=hostile).headers["location"] == "/"


def test_next_given_twice_is_none(visitor: Visitor) -> None:
    assert 'name="next" value=""' in visitor.get("/authgate/login?next=/a&next=/b").text


def test_login_without_next_goes_to_the_front_page(visitor: Visitor) -> None:
    assert visitor.log_in("alice").headers["location"] == "/"


@pytest.mark.parametrize("markup", ['"><script>alert(1)</script>', "'\"><img src=x onerror=alert(1)>"])
def test_name_and_next_cannot_bring_markup_into_the_page(visitor: Visitor, markup: str) -> None:
    failed = visitor.log_in("alice", username=markup, next="/" + markup.replace(" ", "%20"))
    shown = visitor.get("/authgate/login?" + urlencode({"next": "/" + markup.replace(" ", "%20")}))

    assert html.escape(markup, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in failed.text
    for page in (failed, shown):
        assert "<script" not in page.text
        assert "<img" not in page.text


def test_failed_login_shows_the_form_again_with_the_name_and_the_goal(visitor: Visitor) -> None:
    response = visitor.log_in("alice", password="wrong", next="/reports/")

    assert response.status_code == 200
    assert 'role="alert"' in response.text
    assert 'name="username" type="text" value="alice"' in response.text
    assert 'name="next" value="/reports/"' in response.text
    assert "wrong" not in response.text
    assert not any("__Host-authgate=" in line for line in response.headers.get_list("set-cookie"))
    assert visitor.whoami()["user"] is None


def test_unknown_user_and_wrong_password_answer_byte_for_byte_alike(visitor: Visitor) -> None:
    token = visitor.token()
    answers = [
        visitor.post("/authgate/login", {"token": token, "username": name, "password": "wrong"})
        for name in ("alice", "nobod")
    ]

    bodies = [
        answer.content.replace(name, b"NAME!") for answer, name in zip(answers, (b"alice", b"nobod"), strict=True)
    ]
    assert bodies[0] == bodies[1]
    assert answers[0].headers.raw == answers[1].headers.raw
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("name", ["", " ", "al\x00ice", "a" * 5000, "\U0001f600", "alice\n", "al:ice"])
def test_odd_name_fails_like_any_other(visitor: Visitor, name: str) -> None:
    response = visitor.log_in("alice", username=name)

    assert response.status_code == 200
    assert 'role="alert"' in response.text
    assert len(response.content) < 4000


def test_each_login_has_a_new_id_and_ends_the_one_before(visitor: Visitor) -> None:
    visitor.log_in("alice")
    first = visitor.cookies[SECURE]["__Host-authgate"]

    visitor.log_in("bob")

    assert visitor.cookies[SECURE]["__Host-authgate"] != first
    assert visitor.whoami()["user"] == "bob"
    assert visitor.whoami({"cookie": f"__Host-authgate={first}"})["user"] is None


def test_planted_session_cookie_is_not_taken_over(visitor: Visitor) -> None:
    visitor.get("/authgate/login")
    visitor.cookies[SECURE]["__Host-authgate"] = "p" * 43

    visitor.log_in("alice")

    assert visitor.cookies[SECURE]["__Host-authgate"] != "p" * 43
    assert visitor.whoami({"cookie": f"__Host-authgate={'p' * 43}"})["user"] is None


def test_somebody_who_is_logged_in_is_told_so_and_may_go_on_or_switch(visitor: Visitor) -> None:
    visitor.log_in("alice")

    page = visitor.get("/authgate/login?next=/reports/%3Fa=b")
    switch = visitor.get("/authgate/login?again=1")

    assert "<strong>alice</strong>" in page.text
    assert 'href="/reports/?a=b"' in page.text
    assert 'href="/authgate/login?again=1&amp;next=/reports/%3Fa%3Db"' in page.text
    assert 'name="password"' not in page.text
    assert 'name="password"' in switch.text


def test_expired_session_is_told_so_on_the_login_page(visitor: Visitor) -> None:
    visitor.log_in("alice")
    visitor.clock.advance(13 * 3600)

    assert "Your login has expired" in visitor.get("/authgate/login").text


def test_login_page_costs_no_hash_for_a_password_in_authorization(visitor: Visitor) -> None:
    page = visitor.get("/authgate/login", {"authorization": "Basic YWxpY2U6YWxpY2Utc2VjcmV0"})

    assert 'name="password"' in page.text


def test_form_token_is_kept_so_that_several_tabs_work(visitor: Visitor) -> None:
    first = visitor.token()
    visitor.get("/authgate/login")

    response = visitor.post("/authgate/login", {"token": first, "username": "alice", "password": "alice-secret"})

    assert response.status_code == 303


@pytest.mark.parametrize("cookie", ["short", "a" * 44, "a" * 42 + "!", "", "é" * 43])
def test_malformed_form_cookie_is_replaced(visitor: Visitor, cookie: str) -> None:
    headers = [(b"cookie", f"__Host-authgate-form={cookie}".encode("latin-1"))]

    (line,) = visitor.request("GET", "/authgate/login", headers).headers.get_list("set-cookie")  # type: ignore[arg-type] # raw bytes

    assert re.match(r"__Host-authgate-form=[\w-]{43};", line)
    assert f"={cookie};" not in line


def test_logout_ends_the_session_and_clears_the_cookie(visitor: Visitor) -> None:
    visitor.log_in("alice")
    value = visitor.cookies[SECURE]["__Host-authgate"]

    response = visitor.post("/authgate/logout", {"token": visitor.token("/authgate/whoami")})

    assert response.status_code == 303
    assert response.headers.get_list("set-cookie") == [
        "__Host-authgate=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
    ]
    assert "You are logged out." in visitor.get(response.headers["location"]).text
    assert visitor.whoami({"cookie": f"__Host-authgate={value}"})["user"] is None


def test_logout_by_get_is_refused_and_changes_nothing(visitor: Visitor) -> None:
    visitor.log_in("alice")

    response = visitor.get("/authgate/logout")

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert visitor.whoami()["user"] == "alice"


def test_second_logout_is_harmless_and_clears_nothing(visitor: Visitor) -> None:
    response = visitor.post("/authgate/logout", {"token": "whatever"})

    assert response.status_code == 303
    assert "set-cookie" not in response.headers


def test_logout_works_beside_a_planted_cookie_of_the_same_name(visitor: Visitor) -> None:
    visitor.log_in("alice")
    value = visitor.cookies[SECURE]["__Host-authgate"]
    token = visitor.token("/authgate/whoami")
    doubled = {"cookie": f"__Host-authgate={'p' * 43}; __Host-authgate={value}"}

    assert visitor.whoami(doubled)["user"] is None
    assert visitor.post("/authgate/logout", {"token": token}, doubled).status_code == 303
    assert visitor.whoami({"cookie": f"__Host-authgate={value}"})["user"] is None


def test_store_that_cannot_be_written_stops_login_and_logout_and_keeps_the_cookie(visitor: Visitor) -> None:
    visitor.log_in("alice")
    token, login_token = visitor.token("/authgate/whoami"), visitor.token()

    with closing(sqlite3.connect(visitor.folder / "web.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        logout = visitor.post("/authgate/logout", {"token": token})
        login = visitor.post(
            "/authgate/login",
            {"token": login_token, "username": "bob", "password": "bob-secret"},
            {"cookie": form_cookie(visitor)},
        )

    for response in (logout, login):
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "set-cookie" not in response.headers
    assert visitor.whoami()["user"] == "alice"


def form_cookie(visitor: Visitor) -> str:
    return f"__Host-authgate-form={visitor.cookies[SECURE]['__Host-authgate-form']}"


def test_more_logins_than_can_be_hashed_are_told_to_come_again(visitor: Visitor) -> None:
    first_refused = threading.Event()
    visitor.app, passwords = build(
        parse_settings(visitor.folder), visitor.store, visitor.clock, lambda *_: first_refused.wait(60)
    )
    body = urlencode({"token": visitor.token(), "username": "alice", "password": "alice-secret"}).encode()

    async def log_in() -> tuple[int, str | None]:
        answer = await visitor.send("POST", "/authgate/login", visitor.form_headers(), content=body)
        if answer.status_code == 503:
            first_refused.set()
        return answer.status_code, answer.headers.get("retry-after")

    async def many() -> list[tuple[int, str | None]]:
        return await asyncio.gather(*(log_in() for _ in range(40)))

    answers = visitor.run(many())
    passwords.close()

    assert set(answers) == {(303, None), (503, "1")}


def test_user_removed_while_the_password_is_hashed_is_not_logged_in(visitor: Visitor) -> None:
    settings = parse_settings(visitor.folder)
    before, after = LocalUsers(settings.htpasswd, settings.groups), LocalUsers(None, None)
    before.load()
    after.load()
    records: CachedRecords[SessionData] = CachedRecords(visitor.store, "session", decode, 10)
    sessions = Sessions(records, visitor.store, after, 60, 60, visitor.clock)
    passwords = Passwords(before)
    credentials = Credentials(sessions, BasicVerifier(before, passwords))
    visitor.app = create_web(settings, credentials, sessions, passwords, visitor.clock)

    response = visitor.log_in("alice")
    passwords.close()

    assert response.status_code == 200
    assert 'role="alert"' in response.text
