"""Applications behind Caddy: what they hear of who asks is what authgate says, and nothing of what a client says."""

import base64
import json
import socket
from contextlib import closing

import pytest

from tests import servers
from tests.deploy.applications import frame, read_exactly
from tests.deploy.house import HTTP_HOST, body_of, password, status_of
from tests.deploy_caddy.conftest import Inhabited
from tests.deploy_caddy.house import Running

NAMES = ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email")


def basic(user: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password(user)}'.encode()).decode()}"


def heard(running: Running, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> dict[str, list[str]]:
    """Return the fields that reached an application, by lower-case name."""
    answer = running.raw(f"{method} {target} HTTP/1.1", *headers, body=body)
    assert status_of(answer) == 200, answer
    found: dict[str, list[str]] = {}
    for name, value in json.loads(body_of(answer))["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


def test_the_application_hears_who_asks(caddy_house: Running) -> None:
    fields = heard(caddy_house, "/named/x", basic("carol"))

    assert [fields[name.lower()] for name in NAMES] == [["carol"], ["finance,staff"], [""], [""]]


FORGED = [
    (*(f"{name}: root" for name in NAMES), "Remote-Host: root"),
    ("remote-user: root", "REMOTE-GROUPS: admin"),
    ("Remote_User: root", "REMOTE_GROUPS: admin", "remote_name: root", "Remote_Email: root"),
    ("Remote.User: root", "Remote.Groups: admin"),
    ("Remote~User: root", "Remote'User: root", "RemoteUser: root"),
    ("X-Authgate-User: root", "X_Authgate_User: root"),
    ("Connection: Remote-User, Remote-Groups", "Remote-User: root"),
    ("Connection: close, remote-user",),
    ("Upgrade: websocket2", "Connection: Upgrade, Remote-User"),
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("user", [None, "alice"])
def test_nothing_that_a_client_says_of_itself_arrives(
    caddy_house: Running, forged: tuple[str, ...], user: str | None
) -> None:
    fields = heard(caddy_house, "/open/x", *forged, *([basic(user)] if user else []))

    assert fields["remote-user"] == [user or ""]
    assert fields["remote-groups"] == ["staff" if user else ""]
    assert not [name for name, values in fields.items() if "root" in values or "admin" in values]
    assert not [name for name in fields if "authgate" in name]


def test_our_cookies_and_our_password_stay_here(caddy_house: Running) -> None:
    cookie = "Cookie: a=1; authgate=A; authgate-form=F; __Host-authgate=H;__Secure-authgate=S; myauthgate=2; b=3"

    fields = heard(caddy_house, "/app/x", cookie, basic("alice"))

    assert [part.strip() for part in fields["cookie"][0].split(";") if part.strip()] == ["a=1", "myauthgate=2", "b=3"]
    assert "authorization" not in fields


def test_an_authorization_that_is_none_of_ours_arrives(caddy_house: Running) -> None:
    assert heard(caddy_house, "/open/x", "Authorization: Bearer abc")["authorization"] == ["Bearer abc"]


def test_where_the_client_is_comes_from_caddy(caddy_house: Running) -> None:
    forged = (
        "X-Forwarded-For: 192.0.2.1",
        "X_Forwarded_For: 192.0.2.1",
        "X-Real-IP: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
    )
    paths = ("X-Original-URL: /admin", "X-HTTP-Method-Override: DELETE", "X-Forwarded-Prefix: /admin")

    fields = heard(caddy_house, "/open/x", *forged, *paths, "X-Forwarded-Host: evil.example")

    assert fields["x-forwarded-for"] == ["127.0.0.1"]
    assert fields["x-forwarded-host"] == [f"{HTTP_HOST}:{caddy_house.house.http_port}"]
    assert "192.0.2.1" not in str(fields)
    assert not fields.keys() & {"x-original-url", "x-http-method-override", "x-forwarded-prefix", "x-forwarded-uri"}


def test_an_upload_arrives_whole_and_a_refused_one_not_at_all(inhabited_house: Inhabited) -> None:
    running, counted = inhabited_house.running, inhabited_house.applications.counted
    content = b"x" * (3 << 20)
    with running.client("alice") as client:
        taken = client.put("/upload/a", content=content)
    before = counted.requests
    for user in ("bob", None):
        with running.client(user) as client:
            assert client.put("/upload/a", content=content).status_code == (403 if user else 401)

    assert (taken.status_code, taken.json()["bytes"]) == (200, len(content))
    assert counted.requests == before


def test_an_application_cannot_open_what_the_rule_keeps_to_the_visitor(caddy_house: Running) -> None:
    public = caddy_house.get("/app/x", "alice", X_Want_Cache_Control="public, max-age=600")
    own = caddy_house.get("/app/x", "alice", X_Want_Cache_Control="no-store")

    assert "private" in public.headers["cache-control"]
    assert "no-store" in own.headers["cache-control"]


@pytest.mark.parametrize(
    "target", ["/open/../app/x", "/open/%2e%2e/app/x", "/open//x", "/open/x;y", "/open/%252e%252e/admin"]
)
def test_no_target_that_an_application_could_read_otherwise_arrives(inhabited_house: Inhabited, target: str) -> None:
    before = inhabited_house.applications.counted.requests

    assert status_of(inhabited_house.running.raw(f"GET {target} HTTP/1.1")) == 403
    assert inhabited_house.applications.counted.requests == before


def test_an_application_over_fastcgi_hears_who_asks(caddy_house: Running) -> None:
    answer = caddy_house.raw("GET /php/x.php?y HTTP/1.1", basic("alice"), "Remote_User: root", "Remote-User: root")
    stranger = caddy_house.raw("GET /php/x.php HTTP/1.1", "Remote_User: alice")

    assert status_of(answer) == 200
    assert ["HTTP_REMOTE_USER", "alice"] in json.loads(body_of(answer))["environment"]
    assert b"root" not in answer
    assert status_of(stranger) == 401


def opening(upgrade: str, *more: str) -> bytes:
    """Return a request for a WebSocket (RFC 6455 section 4.1)."""
    head = [
        "GET /app/socket HTTP/1.1",
        f"Host: {HTTP_HOST}",
        f"Upgrade: {upgrade}",
        "Connection: Upgrade, HTTP2-Settings",
    ]
    head += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Remote-User: carol"]
    return "\r\n".join([*head, *more, "", ""]).encode()


def head_of(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
        received += byte
    return received


def connected(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.house.http_port), servers.DEADLINE)


def test_websocket_of_a_member_carries_both_ways_and_a_strangers_is_not_opened(caddy_house: Running) -> None:
    with closing(connected(caddy_house)) as connection:
        connection.sendall(opening("websocket", basic("alice")))
        head = head_of(connection)
        who = read_exactly(connection, 7)
        connection.sendall(frame(b"hello"))
        echo = read_exactly(connection, 7)
    with closing(connected(caddy_house)) as connection:
        connection.sendall(opening("websocket"))
        stranger = head_of(connection)

    assert status_of(head) == 101
    assert (who, echo) == (b"\x81\x05alice", b"\x81\x05hello")
    assert status_of(stranger) == 401


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "h2c\r\nUpgrade: websocket"])
def test_no_other_protocol_is_spoken_with_an_application(caddy_house: Running, upgrade: str) -> None:
    with closing(connected(caddy_house)) as connection:
        connection.sendall(opening(upgrade, basic("alice")))
        head = head_of(connection)

    assert b"h2c" not in head
    assert status_of(head) == 200 or b"Sec-Websocket-Accept" in head
