"""docs/traefik.md with a real Traefik."""

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.deploy.applications import Applications, applications
from tests.deploy.house import HTTP_HOST, NO_TLS, House, Visitor, body_of, exchange, password, status_of
from tests.deploy_caddy.conftest import RULES

DOCUMENT = servers.PACKAGE_ROOT / "docs" / "traefik.md"


@dataclass(frozen=True, slots=True)
class Behind:
    """An application behind Traefik."""

    house: House
    applications: Applications
    authgate: servers.Server
    check_port: int

    def get(self, path: str, user: str | None = None, **headers: str) -> httpx.Response:
        """Ask once, as a program does."""
        url = f"http://127.0.0.1:{self.house.http_port}{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        auth = (user, password(user)) if user else None
        host = {"Host": f"{HTTP_HOST}:{self.house.http_port}"}
        return httpx.get(url, headers={**host, **sent}, auth=auth, verify=NO_TLS, trust_env=False)

    def raw(self, request: str, *headers: str) -> bytes:
        """Send a request line and its headers as they are."""
        lines = [request, f"Host: {HTTP_HOST}:{self.house.http_port}", *headers, "Connection: close", "", ""]
        return exchange(self.house.http_port, "\r\n".join(lines).encode("latin-1"))


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    with servers.open_folder() as folder, applications(folder) as running:
        yield from _run(folder, running)


def _run(folder: Path, running: Applications) -> Iterator[Behind]:
    check, web = servers.free_port(), servers.free_port()
    house = House(folder, rules=RULES)
    house.build()
    listen = f'[listen]\ncheck = "127.0.0.1:{check}"\nweb = "127.0.0.1:{web}"\n'
    config = house.config.read_text().replace("[listen]\n", listen)
    house.config.write_text(f'trusted_proxies = ["127.0.0.1"]\n{config}')
    dynamic = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    for written, real in (
        ("app.example.com", HTTP_HOST),
        ("websecure", "web"),
        ("127.0.0.1:9091", f"127.0.0.1:{check}"),
        ("127.0.0.1:9092", f"127.0.0.1:{web}"),
        ("127.0.0.1:8000", f"127.0.0.1:{running.http}"),
    ):
        assert written in dynamic
        dynamic = dynamic.replace(written, real)
    (folder / "dynamic.yaml").write_text(dynamic)
    (folder / "traefik.yaml").write_text(
        "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
        f'entryPoints: {{web: {{address: "127.0.0.1:{house.http_port}"}}}}\n'
        f"providers: {{file: {{filename: {folder}/dynamic.yaml, watch: false}}}}\n"
    )
    # pip puts it beside the interpreter.
    beside = shutil.which("traefik", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = [beside or servers.require("traefik"), f"--configFile={folder}/traefik.yaml"]
    with servers.authgate(house.config) as authgate, servers.child(command, folder / "traefik.log", folder) as traefik:
        found = Behind(house, running, authgate, check)
        servers.eventually(lambda: servers.listens(house.http_port), "Traefik listens", traefik)
        servers.eventually(lambda: found.get("/open/x").status_code == 200, "Traefik has its routers", traefik)
        yield found


def test_rules_decide(behind: Behind) -> None:
    for path, user, status in (
        ("/open/x", None, 200),
        ("/app/x", None, 401),
        ("/app/x", "alice", 200),
        ("/app/x", "bob", 403),
        ("/named/x", "bob", 403),
        ("/here/x", None, 200),
        ("/nothing", "alice", 403),
    ):
        answer = behind.get(path, user)

        assert answer.status_code == status, path
        assert status == 200 or answer.content == b""
        assert not [name for name in answer.headers if name in {"x-authgate-rule", "x-authgate-policy"}]


def test_navigation_is_sent_to_the_login_and_back(behind: Behind) -> None:
    visitor = Visitor(behind.house)
    sent = visitor.get("/app/x?y=1")
    origin = behind.house.origin()

    assert (sent.status_code, sent.content) == (302, b"")
    assert sent.headers["location"] == f"{origin}/authgate/login?next=/app/x%3Fy%3D1"
    visitor.login("alice", sent.headers["location"].removeprefix(origin))
    assert ["Remote-User", "alice"] in visitor.get("/app/x?y=1").json()["headers"]
    visitor.logout()
    servers.eventually(lambda: visitor.get("/app/x").status_code == 302, "the session has ended")


def test_the_application_hears_what_authgate_says_and_nothing_of_a_client(behind: Behind) -> None:
    forged = ("Remote-User: root", "Remote_User: root", "REMOTE_GROUPS: root", "X-Forwarded-Prefix: root")
    for connection in ("close", "Remote-User"):
        answer = behind.raw("GET /open/x HTTP/1.1", *forged, f"Connection: {connection}", "X-Original-URL: /root")

        assert status_of(answer) == 200
        fields = {name.lower(): value for name, value in json.loads(body_of(answer))["headers"]}
        assert fields.get("remote-user", "") == ""
        assert "root" not in str(fields)


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-Uri: /open/x",
        "X-Forwarded-Method: OPTIONS",
        "X-Forwarded-Host: other.example.com",
        "X-Authgate-Path: /open/x",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Original-Uri: /open/x",
        "Connection: X-Forwarded-Uri",
    ],
)
def test_no_field_of_a_client_names_another_request(behind: Behind, field: str) -> None:
    before = behind.applications.counted.requests

    assert status_of(behind.raw("GET /app/x HTTP/1.1", field)) in {401, 403}
    assert behind.applications.counted.requests == before


@pytest.mark.parametrize(
    "target",
    ["/open/../app/x", "/open/%2e%2e/app/x", "/open/..%2fapp/x", "/open//../app/x", "/open/%252e%252e/app/x", "//app/x",
     "/open;/../app/x", "/open\\..\\app\\x", "/authgate/../app/x", "/authgate/..%2fapp/x", "/app/x?/open/x",
     "/app%2fx"],
)  # fmt: skip
def test_no_target_reaches_what_is_closed(behind: Behind, target: str) -> None:
    before = behind.applications.counted.requests

    assert status_of(behind.raw(f"GET {target} HTTP/1.1")) in {400, 401, 403, 404}
    assert behind.applications.counted.requests == before


def test_nobody_else_is_heard_on_the_ports(behind: Behind) -> None:
    asked = {"X-Forwarded-Uri": "/open/x", "X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http"}
    lines = [f"{name}: {value}" for name, value in {**asked, "X-Forwarded-Host": HTTP_HOST}.items()]
    answers = []
    for source in ("127.0.0.1", "127.0.0.2"):
        for path in ("/forward", "/check"):
            with closing(
                socket.create_connection(("127.0.0.1", behind.check_port), servers.DEADLINE, (source, 0))
            ) as connection:
                question = [f"GET {path} HTTP/1.1", "Host: authgate", *lines, "Connection: close", "", ""]
                connection.sendall("\r\n".join(question).encode())
                received = b""
                while part := connection.recv(65536):
                    received += part
            answers.append((status_of(received), b"untrusted_peer" in received))

    assert answers == [(200, False), (403, True), (403, True), (403, True)]


def test_without_authgate_nothing_reaches_the_application(behind: Behind) -> None:
    behind.authgate.stop()
    before = behind.applications.counted.requests

    assert behind.get("/open/x").status_code == 500
    assert behind.applications.counted.requests == before
