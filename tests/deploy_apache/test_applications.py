"""Applications behind Apache: who asks is in REMOTE_USER and beside it, and nothing that a client says is."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests import servers
from tests.deploy.house import status_of
from tests.deploy_apache.house import Running, house_of

# Prints its environment.
SCRIPT = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
env
"""
FAILING = "#!/bin/sh\nexit 3\n"

RULES = """
[[rules]]
name = "applications"
paths = ["/cgi/**", "/app/**"]
deny = ["user:bob"]
allow = ["authenticated"]

[[rules]]
name = "open applications"
paths = ["/open/**", "/opencgi/**"]
allow = ["anyone"]

[[rules]]
name = "named"
paths = ["/named/**"]
allow = ["group:staff", "group:finance"]
"""

FORGED = {
    **dict.fromkeys(("Remote-User", "Remote_User", "REMOTE_USER", "Remote-Groups", "Remote_Groups"), "root"),
    "Remote-Name": "root",
    "Remote-Email": "root@example.com",
    "Auth-User": "root",
    "X-Authgate-User": "root",
}


class Application(BaseHTTPRequestHandler):
    """Says what it was asked."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if "private" in self.path:
            self.send_header("Cache-Control", "private, max-age=60")
        elif "public" in self.path:
            self.send_header("Cache-Control", "public, max-age=60")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def application() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Application)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Running]:
    with servers.open_folder() as folder, application() as port:
        for name, text in (("env", SCRIPT), ("fail", FAILING)):
            servers.make_file(os.fsencode(folder / "cgi" / name), text.encode())
            (folder / "cgi" / name).chmod(0o755)
        protected = "    Include authgate/authgate-protect-app.conf\n"
        inside = (
            f"ScriptAlias /cgi {folder}/cgi\nScriptAlias /opencgi {folder}/cgi\n"
            f"ProxyPass /app/ http://127.0.0.1:{port}/\nProxyPass /open/ http://127.0.0.1:{port}/\n"
            f"<Location /app/>\n{protected}</Location>\n<Location /open/>\n{protected}</Location>\n"
        )
        below = f"<Directory {folder}/cgi>\n{protected}</Directory>"
        with house_of(
            folder, rules=RULES, inside=inside, below=below, modules=("cgid",), above=f"ScriptSock {folder}/cgid"
        ) as it:
            yield it


def environment(site: Running, path: str, user: str | None = None, **headers: str) -> dict[str, str]:
    answer = site.get(path, user, **headers)
    assert answer.status_code == 200, answer.text
    return dict(line.partition("=")[::2] for line in answer.text.splitlines())


def asked(site: Running, path: str, user: str | None = None, headers: dict[str, str] | None = None) -> dict[str, str]:
    """Return the fields that the application got, their names in lower case."""
    with site.client(user) as client:
        answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    pairs: list[Any] = answer.json()["headers"]
    names = [name.lower() for name, _ in pairs]
    assert len(names) == len(set(names)), names
    return {name.lower(): value for name, value in pairs}


def test_scripts_are_told_who_asks(site: Running) -> None:
    found = environment(site, "/cgi/env", "carol", **FORGED)

    assert found["REMOTE_USER"] == found["AUTH_USER"] == "carol"
    assert set(found["REMOTE_GROUPS"].split(",")) == {"staff", "finance"}
    assert found["AUTHGATE_CREDENTIAL"] == "basic"


def test_scripts_get_neither_the_secret_nor_password_nor_session(site: Running) -> None:
    with_password = environment(site, "/cgi/env", "alice")
    visitor = site.browser("alice")
    with_session = visitor.get("/cgi/env", {**visitor.NAVIGATION, "X": "y"}).text

    for text in (str(with_password), with_session):
        assert "x9x9" not in text
        assert "HTTP_AUTHORIZATION" not in text
        assert visitor.cookies["authgate"] not in text
    assert "REMOTE_USER=alice" in with_session


def test_scripts_that_nobody_protects_do_not_get_the_secret() -> None:
    with servers.open_folder() as folder:
        servers.make_file(os.fsencode(folder / "cgi" / "env"), SCRIPT.encode())
        (folder / "cgi" / "env").chmod(0o755)
        inside = f"ScriptAlias /cgi {folder}/cgi\nErrorDocument 404 /cgi/env"
        below = f"<Directory {folder}/cgi>\nRequire all granted\n</Directory>"
        with house_of(
            folder, inside=inside, below=below, modules=("cgid",), above=f"ScriptSock {folder}/cgid"
        ) as running:
            plain, error = running.get("/cgi/env").text, running.get("/public/nothing").text

    assert "AG_PATH=/cgi/env" in plain
    assert "REDIRECT_STATUS=404" in error
    assert "x9x9" not in plain + error


@pytest.mark.parametrize("path", ["/opencgi/env"])
def test_on_open_pages_nobody_is_nobody(site: Running, path: str) -> None:
    found = environment(site, path, **FORGED)

    assert found["REMOTE_USER"] == "-"
    assert not {"AUTH_USER", "REMOTE_GROUPS", "HTTP_REMOTE_USER", "HTTP_REMOTE_GROUPS"} & found.keys()
    assert environment(site, path, "alice")["REMOTE_USER"] == "alice"


def test_applications_are_told_who_asks(site: Running) -> None:
    found = asked(site, "/app/x", "carol", FORGED)

    assert found["remote-user"] == "carol"
    assert set(found["remote-groups"].split(",")) == {"staff", "finance"}
    assert "root" not in {found.get(name) for name in ("remote-name", "remote-email", "remote_user", "remote_groups")}
    assert "authorization" not in found


def test_applications_hear_nothing_of_nobody(site: Running) -> None:
    found = asked(site, "/open/x", None, FORGED)

    assert not {name for name in found if name.startswith(("remote-", "remote_"))}


@pytest.mark.parametrize("name", ["Remote-User", "remote-groups"])
def test_a_client_cannot_take_away_who_it_is(site: Running, name: str) -> None:
    assert asked(site, "/app/x", "carol", {"Connection": f"close, {name}"})["remote-user"] == "carol"
    assert "remote-groups" in asked(site, "/app/x", "carol", {"Connection": f"close, {name}"})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a=1; SESSION; b=2", {"a=1", "b=2"}),
        ("SESSION", set()),
        ("SESSION; a=1", {"a=1"}),
        ("a=1;SESSION", {"a=1"}),
        ("a=1;  SESSION;authgate-form=x", {"a=1"}),
        ("authgate-form=x; SESSION; __Host-authgate=y; a=1", {"a=1"}),
        ("notauthgate=1; SESSION; authgate2=2", {"notauthgate=1", "authgate2=2"}),
    ],
)
def test_applications_do_not_get_the_session(site: Running, sent: str, kept: set[str]) -> None:
    session = f"authgate={site.browser('alice').cookies['authgate']}"

    found = asked(site, "/app/x", None, {"Cookie": sent.replace("SESSION", session)})

    assert found["remote-user"] == "alice"
    assert {part.strip() for part in found.get("cookie", "").split(";")} - {""} == kept


def test_application_gets_the_path_that_was_decided_about(site: Running) -> None:
    with site.client("alice") as client:
        assert client.get("/app/a%20b/%3f?x=%20").json()["path"] == "/a%20b/%3F?x=%20"
        answer = site.raw("GET /app/%2e%2e/denied/x HTTP/1.1")
    assert b" 403 " in answer.partition(b"\r\n")[0]
    assert site.get("/app/a%2f..%2fb", "alice").status_code == 404


@pytest.mark.parametrize("place", ["open", "opencgi"])
@pytest.mark.parametrize("tail", ["x/..;/env", "%252e%252e/env", "..%5cenv", ";a=b/env", "x/../env"])
def test_target_that_could_be_read_otherwise_does_not_reach_the_application(
    site: Running, place: str, tail: str
) -> None:
    assert status_of(site.raw(f"GET /{place}/{tail} HTTP/1.1")) == 403
    assert status_of(site.raw(f"GET /{place}/env HTTP/1.1")) == 200


@pytest.mark.parametrize(
    "name",
    [
        *("X_Forwarded_For", "X-Forwarded_For", "X.Forwarded.For", "x_original_url", "X_Rewrite-URL"),
        *("X_HTTP_Method_Override", "X.Real.IP", "X_Authgate-User"),
    ],
)
def test_field_that_passes_for_another_does_not_reach_the_application(site: Running, name: str) -> None:
    with site.client() as client:
        assert client.get("/open/x", headers={name: "10.0.0.1"}).status_code == 403
        assert client.get("/open/x", headers={"X_Api_Key": "1", "X-Forwarded-For": "10.0.0.1"}).status_code == 200


def test_refused_users_do_not_reach_the_application(site: Running) -> None:
    for path in ("/app/x", "/cgi/env"):
        assert site.get(path).status_code == 401
        assert site.get(path, "bob").status_code == 403


def test_caching_is_the_applications_if_it_is_private(site: Running) -> None:
    def kept(path: str) -> list[str]:
        return site.get(path, "alice").headers.get_list("cache-control")

    assert kept("/app/x") == ["private, no-cache"]
    assert kept("/app/public") == ["private, no-cache"]
    assert kept("/app/private") == ["private, max-age=60"]
