"""The example of deploy/caddy as it is shipped: files, logins, refusals, hostile targets."""

import base64
import json
import subprocess

import pytest

from tests import servers
from tests.deploy.house import FILES, HTTP_HOST, OPEN, SECRET, TLS_HOST, password, status_of
from tests.deploy_caddy.house import Running


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        ("/", None, 200),
        ("/public/hello.txt", None, 200),
        ("/public/hello.txt", "bob", 200),
        ("/staff/handbook.txt", None, 401),
        ("/staff/handbook.txt", "alice", 200),
        ("/staff/handbook.txt", "bob", 403),
        ("/home/bob/notes.txt", "bob", 200),
        ("/home/alice/notes.txt", "bob", 403),
        ("/denied/secret.txt", "alice", 403),
        ("/nothing", "alice", 403),
        ("/public/nothing", None, 404),
    ],
)
def test_rules_decide(caddy_house: Running, path: str, user: str | None, status: int) -> None:
    answer = caddy_house.get(path, user)

    assert answer.status_code == status
    assert status == 200 or (SECRET not in answer.content and OPEN not in answer.content)
    assert not [name for name in answer.headers if name.startswith(("x-authgate", "remote-"))]


def test_a_file_keeps_its_range_and_its_etag(caddy_house: Running) -> None:
    first = caddy_house.get("/public/letters.txt")
    part = caddy_house.get("/public/letters.txt", Range="bytes=2-4")
    known = caddy_house.get("/public/letters.txt", If_None_Match=first.headers["etag"])
    with caddy_house.client() as client:
        head = client.head("/public/letters.txt")

    assert (part.status_code, part.content) == (206, b"cde")
    assert (known.status_code, known.content) == (304, b"")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "26", b"")
    assert first.headers["cache-control"] == "private, no-cache"
    assert caddy_house.get("/public/cached.txt").headers["cache-control"] == "public, max-age=600"


def test_a_refused_request_has_no_part_of_the_file(caddy_house: Running) -> None:
    for headers in ({"Range": "bytes=0-3"}, {"If-None-Match": "*"}, {"Accept-Encoding": "gzip"}):
        answer = caddy_house.get("/denied/secret.txt", "alice", **headers)

        assert answer.status_code == 403
        assert answer.headers["cache-control"] == "no-store"
        assert SECRET not in answer.content


def test_navigation_is_sent_to_the_login_and_back(caddy_house: Running) -> None:
    visitor = caddy_house.browser()
    sent = visitor.get("/staff/handbook.txt?x=%20y")
    origin = caddy_house.house.origin()

    assert (sent.status_code, sent.content) == (302, b"")
    assert sent.headers["location"] == f"{origin}/authgate/login?next=/staff/handbook.txt%3Fx%3D%2520y"
    back = visitor.login("alice", sent.headers["location"].removeprefix(origin))

    assert back.headers["location"] == "/staff/handbook.txt?x=%20y"
    assert visitor.get("/staff/handbook.txt?x=%20y").content == FILES["staff/handbook.txt"]
    visitor.logout()
    assert visitor.get("/staff/handbook.txt").status_code == 302


def test_a_program_is_told_how_to_log_in(caddy_house: Running) -> None:
    answer = caddy_house.get("/staff/handbook.txt")
    wrong = caddy_house.get("/staff/handbook.txt", Authorization=f"Basic {base64.b64encode(b'alice:no').decode()}")

    assert answer.headers["www-authenticate"] == 'Basic realm="files", charset="UTF-8"'
    assert "location" not in answer.headers
    assert wrong.status_code == 401


def test_the_page_of_a_refusal_says_why_and_to_whom(caddy_house: Running) -> None:
    visitor = caddy_house.browser("bob")
    page = visitor.get("/staff/handbook.txt")

    assert page.status_code == 403
    assert "You may not open this" in page.text
    assert "bob" in page.text
    # The page is asked for with GET whatever was refused, and without the body that was not read.
    post = caddy_house.raw("POST /denied/secret.txt HTTP/1.1", "Content-Length: 3", body=b"abc")
    assert status_of(post) == 403
    assert b"decision" in post


def test_nobody_can_ask_for_a_forged_refusal(caddy_house: Running) -> None:
    forged = ("X-Authgate-Decision: abcd-0123456789ab", "X-Authgate-Reason: store_unavailable")

    for target in ("/authgate/refused", "/authgate/refused?x", "/AUTHGATE/REFUSED", "/authgate/%72efused"):
        answer = caddy_house.raw(f"GET {target} HTTP/1.1", *forged)
        assert status_of(answer) == 404
        assert b"0123456789ab" not in answer
    answer = caddy_house.raw("GET /denied/secret.txt HTTP/1.1", *forged)
    assert status_of(answer) == 403
    assert b"0123456789ab" not in answer


# What names another file to Caddy than to authgate, or to an application behind it, is not looked at any further.
HOSTILE = [
    "/public/../denied/secret.txt", "/public/%2e%2e/denied/secret.txt", "/public/.%2e/denied/secret.txt",
    "/public/..%2fdenied/secret.txt", "/public/%252e%252e/denied/secret.txt", "//denied/secret.txt",
    "/public//../denied/secret.txt", "/denied%2fsecret.txt", "/denied/secret.txt/", "/denied/secret.txt%00",
    "/public/hello.txt/../../denied/secret.txt", "/public\\..\\denied\\secret.txt", "/public/%5c../denied/secret.txt",
    "/public;/../denied/secret.txt", "/Denied/secret.txt", "/DENIED/secret.txt", "/denied/secret.txt?/public/hello.txt",
    "/public/?/../../denied/secret.txt", "/denied/secret.txt#/public/hello.txt", "/denied/./secret.txt",
    "/denied/secret.txt;.css", "/denied/secret.txt%20", "/denied/secret.txt.", "/./denied/secret.txt",
    "/authgate/../denied/secret.txt", "/authgate/..%2fdenied/secret.txt", "/denied", "/denied/", "denied/secret.txt",
    "/.well-known/acme-challenge/../../denied/secret.txt", "/.well-known/acme-challenge/..%2f..%2fdenied/secret.txt",
    "/public/%c0%ae%c0%ae/denied/secret.txt", f"http://{HTTP_HOST}/denied/secret.txt", "*", "/%zz",
    "http://127.0.0.1/public/../denied/secret.txt",
]  # fmt: skip


@pytest.mark.parametrize("target", HOSTILE)
def test_no_target_reaches_a_denied_file(caddy_house: Running, target: str) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        answer = caddy_house.raw(f"{method} {target} HTTP/1.1")

        assert SECRET not in answer
        assert status_of(answer) in {400, 401, 403, 404, 405, 421} or (method, target) == ("OPTIONS", "*")


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Forwarded-Uri: /public/hello.txt",),
        ("X-Forwarded-Uri: /public/hello.txt", "Connection: X-Forwarded-Uri"),
        ("Connection: X-Forwarded-Original-Uri, X-Forwarded-Method",),
        ("X-Forwarded-Original-Uri: /public/hello.txt",),
        ("X-Authgate-Path: /public/hello.txt", "X-Authgate-Method: GET"),
        ("X_Forwarded_Uri: /public/hello.txt",),
        ("X-Original-URL: /public/hello.txt", "X-Rewrite-URL: /public/hello.txt"),
        ("X-Forwarded-Method: OPTIONS", "Origin: null", "Access-Control-Request-Method: GET"),
        ("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https"),
        ("X-Authgate-User: alice", "Remote-User: alice"),
    ],
)
def test_no_field_of_a_client_names_another_request(caddy_house: Running, headers: tuple[str, ...]) -> None:
    denied = caddy_house.raw("GET /denied/secret.txt HTTP/1.1", *headers)
    allowed = caddy_house.raw("GET /public/hello.txt HTTP/1.1", *headers)

    assert status_of(denied) == 403
    assert SECRET not in denied
    assert OPEN in allowed


def test_a_client_cannot_choose_its_address(caddy_house: Running) -> None:
    for headers in ((), ("X-Forwarded-For: 192.0.2.1",), ("X-Forwarded-For: 192.0.2.1", "Connection: X-Forwarded-For")):
        assert status_of(caddy_house.raw("GET /here/x HTTP/1.1", *headers)) == 200


def test_an_unknown_host_gets_nothing(caddy_house: Running) -> None:
    answer = caddy_house.get("/public/hello.txt", host="other.example.com")

    assert (answer.status_code, answer.content) == (421, b"")


def test_certificates_are_renewed_without_logging_in(caddy_house: Running) -> None:
    assert caddy_house.get("/.well-known/acme-challenge/token").content == OPEN


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_https_and_http_2(caddy_house: Running, version: str) -> None:
    house = caddy_house.house

    def ask(path: str, *more: str) -> list[str]:
        command = [
            *(
                servers.require("curl"),
                "-sS",
                f"--http{version}",
                "--path-as-is",
                "--cacert",
                str(house.folder / "cert.pem"),
            ),
            *("--resolve", f"{TLS_HOST}:{house.tls_port}:127.0.0.1", "-w", "\n%{http_version} %{http_code}", *more),
            f"https://{TLS_HOST}:{house.tls_port}{path}",
        ]
        return subprocess.run(command, check=True, capture_output=True, timeout=30, text=True).stdout.split("\n")[-2:]

    cookies = ("-H", "Cookie: a=1", "-H", "Cookie: b=2", "-u", f"alice:{password('alice')}")
    assert ask("/staff/handbook.txt") == ["", f"{version} 401"]
    assert ask("/staff/handbook.txt", "-u", f"alice:{password('alice')}")[-1] == f"{version} 200"
    assert ask("/denied/secret.txt", "-u", f"alice:{password('alice')}")[-1] == f"{version} 403"
    assert ask("/public/../denied/secret.txt", *cookies)[-1] == f"{version} 403"
    assert json.dumps(ask("/public/hello.txt")) == json.dumps([OPEN.decode(), f"{version} 200"])
