"""Logging in and out."""

import asyncio
import html
import json
import re
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlencode

import httpx
import pytest

from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.brakes import Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.logins import Logins
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import SessionData, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy
from authgate.model import Subject, user
from authgate.observe.audit import Audit
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
    logins = Logins(before, passwords, Directory(), Brakes(visitor.store, visitor.clock))
    credentials = Credentials(sessions, BasicVerifier(before, logins, visitor.clock))
    visitor.app = create_web(settings, credentials, sessions, logins, visitor.clock)

    response = visitor.log_in("alice")
    passwords.close()

    assert response.status_code == 200
    assert 'role="alert"' in response.text


def _fail(visitor: Visitor, name: str = "alice", times: int = 1) -> httpx.Response:
    for _ in range(times):
        response = visitor.post(
            "/authgate/login",
            {"token": visitor.token(), "username": name, "password": "wrong", "next": "/reports/"},
        )
    return response


def test_too_many_wrong_passwords_have_to_wait_and_are_told_how_long(visitor: Visitor) -> None:
    assert _fail(visitor, times=10).status_code == 200
    visitor.clock.advance(115)

    response = visitor.log_in("alice", next="/reports/")

    assert response.status_code == 429
    assert response.headers["retry-after"] == "485"
    assert "too many wrong passwords from your network address. Try again in about 8 minutes." in response.text
    assert 'role="alert"' in response.text
    assert 'name="username" type="text" value="alice"' in response.text
    assert 'name="next" value="/reports/"' in response.text
    assert "aria-invalid" not in response.text
    assert not any("__Host-authgate=" in line for line in response.headers.get_list("set-cookie"))
    visitor.clock.advance(485)
    assert visitor.log_in("alice").status_code == 303


def test_nobody_has_to_wait_for_what_others_did(visitor: Visitor) -> None:
    _fail(visitor, times=11)

    assert visitor.log_in("bob").status_code == 303
    visitor.client = "198.51.100.1"
    assert visitor.log_in("alice").status_code == 303


@pytest.mark.parametrize("client", ["", "unix:", "192.0.2.7, 198.51.100.1", "192.0.2.07", "fe80::1%eth0"])
def test_clients_without_a_readable_address_wait_together(visitor: Visitor, client: str) -> None:
    visitor.client = "unknown"
    _fail(visitor, times=11)

    visitor.client = client
    assert visitor.log_in("alice").status_code == 429


def test_sessions_go_on_while_their_client_has_to_wait(visitor: Visitor) -> None:
    visitor.log_in("alice")
    assert _fail(visitor, times=11).status_code == 429

    assert visitor.whoami()["user"] == "alice"


def test_unknown_names_have_to_wait_like_known_ones(visitor: Visitor) -> None:
    answers = [_fail(visitor, name, times=11) for name in ("alice", "nobod")]

    assert answers[0].content.replace(b"alice", b"NAME!") == answers[1].content.replace(b"nobod", b"NAME!")
    assert answers[0].headers.raw == answers[1].headers.raw


def test_busy_keeps_the_form_and_what_was_typed(visitor: Visitor) -> None:
    visitor.app, passwords = build(parse_settings(visitor.folder), visitor.store, visitor.clock, directory=_busy())

    response = visitor.log_in("carla", next="/reports/")
    passwords.close()

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "Too many logins are being checked at this moment." in response.text
    assert 'name="username" type="text" value="carla"' in response.text


def _busy() -> Directory:
    class Busily(Directory):
        async def verify(self, name: str, password: str) -> Subject | None:
            raise Busy

    return Busily(lambda *_: None)


def test_person_of_the_site_logs_in_with_the_sites_groups(visitor: Visitor) -> None:
    directory = Directory(lambda username, password: user(username.lower(), ["directory"]))
    visitor.app, passwords = build(parse_settings(visitor.folder), visitor.store, visitor.clock, directory=directory)

    assert visitor.log_in("Carla").status_code == 303
    assert visitor.whoami() == {"user": "carla", "source": "", "groups": ["directory"], "credential": "session"}
    passwords.close()
    directory.close()


def test_check_of_the_site_that_fails_is_said_to_be_our_trouble(
    visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    directory = Directory(lambda *_: 1 / 0)
    visitor.app, passwords = build(parse_settings(visitor.folder), visitor.store, visitor.clock, directory=directory)

    response = visitor.log_in("carla")
    passwords.close()
    directory.close()

    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "Names and passwords cannot be checked at this moment." in response.text
    assert "ZeroDivisionError" not in response.text


def test_logins_and_logouts_are_written_down_and_what_is_no_name_is_not(
    visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(parse_settings(visitor.folder), audit_file=visitor.folder / "audit.log")

    def verify(username: str, password: str) -> Subject | None:
        return user(username) if username == "carla" else 1 / 0 if username == "broken" else None  # type: ignore[return-value] # it raises

    directory = Directory(verify)
    audit = Audit(settings, visitor.clock)
    visitor.app, passwords = build(settings, visitor.store, visitor.clock, directory=directory, audit=audit)
    visitor.log_in("alice")
    visitor.post("/authgate/logout", {"token": visitor.token("/authgate/whoami")})
    visitor.post("/authgate/logout", {"token": "x"})
    visitor.log_in("carla")
    visitor.log_in("broken")
    visitor.log_in("alice", username="my password")
    _fail(visitor, "bob", 11)
    passwords.close()
    directory.close()
    audit.close()

    lines = [json.loads(line) for line in (visitor.folder / "audit.log").read_text().splitlines()]
    said = [(line["event"], line.get("reason"), line.get("user") or "") for line in lines]
    assert said[:5] == [
        ("login", "allowed", "alice"),
        ("logout", None, "alice"),
        ("login", "allowed", "carla"),
        ("login", "handler_error", ""),
        ("login", "bad_credential", ""),
    ]
    assert said[5:] == [("login", "bad_credential", "bob")] * 10 + [("login", "too_many_attempts", "bob")]
    assert {(line["host"], line["address"]) for line in lines} == {("files.example.com", "192.0.2.7")}
    text = (visitor.folder / "audit.log").read_text()
    assert "my password" not in text
    assert "secret" not in text
