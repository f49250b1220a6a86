"""Tokens of another's through nginx, two workers behind it."""

import time
from collections.abc import Iterator

import httpx
import pytest
from click.testing import CliRunner

from authgate.cli.cookie import cookie
from tests.credentials.tokens import ISSUER, ONE, OTHER, claims, key_set
from tests.deploy.house import House, Running, inhabited
from tests.deploy.recorder import Recorder, recording
from tests.servers import open_folder

APP = "app.example.com"
APPLICATIONS: dict[int, Recorder] = {}

CONFIG = f"""
[[issuers]]
source = "partner"
issuer = "{ISSUER}"
audience = "files"
groups = "groups"
cookie = "partner_token"
keys = [{{ jwks = "partner.jwks.json" }}]

[[rules]]
name = "partners"
paths = ["/reports/**"]
allow = ["group:partner/staff & via:jwt"]
"""


@pytest.fixture(scope="module")
def partner() -> Iterator[Running]:
    with open_folder() as folder:
        house = House(folder, sites=(APP,), rules=CONFIG, workers=2)
        house.build()
        (folder / "partner.jwks.json").write_bytes(key_set(ONE))
        application = f"""
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{house.http_port};
            server_name {APP};
            location ^~ / {{
                proxy_pass http://unix:{folder}/run/app.sock:/;
                include authgate/authgate-protect-app.conf;
            }}
        }}
        """
        with recording(folder / "run" / "app.sock") as recorder, inhabited(house, application) as running:
            APPLICATIONS[running.house.http_port] = recorder
            yield running


def test_an_application_is_told_who_it_is(partner: Running) -> None:
    recorder = APPLICATIONS[partner.house.http_port]
    good = token(sub="sales/alice", groups=["staff", "others"], name="Alice", email="alice@example.com")
    with partner.client(APP) as client:
        assert client.get("/reports/x", headers={"Authorization": f"Bearer {good}"}).status_code == 200
    (arrived,) = recorder.take()
    told = {name: value for name, value in arrived.headers if name.startswith("remote-")}
    # Of the groups only those that rules name.
    assert told == {
        "remote-user": "partner/sales/alice",
        "remote-groups": "partner/staff",
        "remote-name": "Alice",
        "remote-email": "alice@example.com",
    }


def token(**more: object) -> str:
    return ONE.sign(claims(time.time(), **{"groups": ["staff"], **more}))


def get(site: Running, path: str = "/reports/q3.csv", **headers: str) -> httpx.Response:
    with site.client() as client:
        return client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_a_bearer_token_lets_in_who_it_says(partner: Running) -> None:
    good = token(name="Alice", email="alice@example.com")
    line = partner.logged(lambda: get(partner, Authorization=f"Bearer {good}"))
    assert line["status"] == 200
    assert line["user"] == "partner/alice"
    assert line["credential"] == "jwt"
    assert get(partner, Authorization=f"bEARER {good}").status_code == 200
    assert get(partner, Authorization=f"Bearer {token(groups=['other'])}").status_code == 403


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda: "x.y.z", "bad_credential"),
        (lambda: OTHER.sign(claims(time.time(), groups=["staff"])), "bad_credential"),
        (lambda: token(exp=int(time.time()) - 60), "expired"),
    ],
)
def test_a_bad_bearer_token_is_refused_and_public_pages_stay_public(
    partner: Running, value: object, reason: str
) -> None:
    header = f"Bearer {value() if callable(value) else value}"
    line = partner.logged(lambda: get(partner, Authorization=header))
    assert (line["status"], line["reason"]) == (401, reason)
    assert get(partner, "/public/hello.txt", Authorization=header).status_code == 200


def test_a_token_in_a_cookie_lets_in_too(partner: Running) -> None:
    assert get(partner, Cookie=f"partner_token={token()}").status_code == 200
    assert get(partner, Cookie=f"other={token()}").status_code == 401
    assert get(partner, Cookie=f"partner_token={token()}; partner_token={token()}").status_code == 401


def test_a_stale_cookie_logs_nobody_out_and_the_login_page_works(partner: Running) -> None:
    stale = token(exp=int(time.time()) - 3600)
    browser = partner.browser()
    browser.cookies["partner_token"] = stale
    assert browser.get("/public/hello.txt").status_code == 200
    assert browser.get("/authgate/login").status_code == 200
    browser.login("alice")
    assert browser.get("/staff/handbook.txt").status_code == 200
    whoami = browser.get("/authgate/whoami").text
    assert "alice" in whoami


def test_bearer_counts_before_a_session(partner: Running) -> None:
    browser = partner.browser("alice")
    session = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    assert get(partner, "/staff/handbook.txt", Cookie=session).status_code == 200
    assert get(partner, "/staff/handbook.txt", Cookie=session, Authorization=f"Bearer {token()}").status_code == 403
    assert get(partner, Cookie=session, Authorization=f"Bearer {token()}").status_code == 200
    # And the session before a cookie.
    assert get(partner, Cookie=f"{session}; partner_token={token()}").status_code == 403


def test_a_revoked_token_is_refused_by_both_workers_within_100_ms(partner: Running) -> None:
    def revoke(jti: str) -> float:
        arguments = ["revoke", "--issuer", "partner", "--jti", jti, "--config", str(partner.house.config)]
        result = CliRunner().invoke(cookie, arguments)
        assert result.exit_code == 0, result.output
        return time.monotonic()

    took = []
    for number in range(3):
        good = token(jti=f"t{number}")
        clients = [partner.client() for _ in range(8)]
        for client in clients:
            assert client.get("/reports/q3.csv", headers={"Authorization": f"Bearer {good}"}).status_code == 200
        began = revoke(f"t{number}")
        waiting = list(clients)
        while waiting:
            assert time.monotonic() < began + 5
            # Connections reach both workers; one is done when it was refused twice in a row.
            waiting = [
                client
                for client in waiting
                if any(
                    client.get("/reports/q3.csv", headers={"Authorization": f"Bearer {good}"}).status_code != 401
                    for _ in range(2)
                )
            ]
        took.append(time.monotonic() - began)
        line = partner.logged(lambda: get(partner, Authorization=f"Bearer {good}"))  # noqa: B023 - asked at once
        assert line["reason"] == "revoked"
        # In the cookie it is bad, not absent.
        assert get(partner, Cookie=f"partner_token={good}").status_code == 401
        for client in clients:
            client.close()
    # The questions themselves take a part of it.
    assert min(took) < 0.2
    assert get(partner, Authorization=f"Bearer {token(jti='t9')}").status_code == 200


def test_somebody_is_revoked_until_a_newer_token_comes(partner: Running) -> None:
    arguments = ["revoke", "--issuer", "partner", "--subject", "bob", "--config", str(partner.house.config)]
    old = token(sub="bob")
    assert get(partner, Authorization=f"Bearer {old}").status_code == 200
    assert CliRunner().invoke(cookie, arguments).exit_code == 0
    end = time.monotonic() + 5
    while get(partner, Authorization=f"Bearer {old}").status_code == 200:
        assert time.monotonic() < end
    assert get(partner, Authorization=f"Bearer {token(sub='alice')}").status_code == 200
