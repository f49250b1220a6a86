"""What reaches authgate through the includes: the facts nginx knows, a few named fields, and nothing else."""

import http.client
import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests import servers
from tests.deploy.house import HTTP_HOST, SECRET, House, Running, exchange, status_of
from tests.deploy.recorder import Arrived, Recorder, recording

# Each also with "_" and "." for "-", see `forged`.
FORGED = [
    *("X-Authgate-Path: /public/hello.txt", "X-Authgate-Self: /x", "X-Authgate-Method: GET", "X-Authgate-Host: evil"),
    *("X-Authgate-Scheme: https", "X-Authgate-Client: 10.0.0.1", "X-Authgate-Uri: /x", "X-Authgate-Query: x=y"),
    *("X-Authgate-User: carol", "X-Authgate-Reason: busy", "X-Authgate-Decision: x", "X-Authgate-Rule: x"),
    *(
        "X-Authgate-Target: /x",
        "X-Authgate-Groups: staff",
        "X-Authgate-Cache: public",
        "X-Authgate-Credential: session",
    ),
    *("Remote-User: carol", "Remote-Groups: staff,finance,admin", "Remote-Name: Carol", "Remote-Email: c@example.com"),
    *("X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Forwarded-Method: GET"),
    *("X-Forwarded-Uri: /public/hello.txt", "X-Forwarded-User: carol", "X-Forwarded-Server: evil", "Forwarded: for=x"),
    *("X-Original-URI: /public/hello.txt", "X-Original-URL: /public/hello.txt", "X-Original-Method: GET"),
    *("X-Rewrite-URL: /public/hello.txt", "X-HTTP-Method-Override: GET", "X-Real-IP: 10.0.0.1", "Client-IP: 10.0.0.1"),
    *("X-Remote-User: carol", "X-Auth-Request-User: carol", "X-Accel-Redirect: /staff/handbook.txt", "Proxy: evil"),
    *("Remote-Addr: 10.0.0.1", "Auth-User: carol", "Via: 1.1 evil", "X-Sendfile: /etc/passwd", "TE: trailers"),
]

PATH, REFUSED_PATH = "/files/a%20b", "/authgate/refused"


def forged() -> list[bytes]:
    """Return the fields above in every spelling that some server takes for the same name."""
    fields = []
    for line, joint in itertools.product(FORGED, "-_."):
        name, _, value = line.partition(":")
        fields.append(f"{name.replace('-', joint)}:{value}".encode())
    return fields


def ask(port: int, target: str, *fields: bytes, method: str = "GET", host: str = HTTP_HOST) -> bytes:
    head = [f"{method} {target} HTTP/1.1".encode(), f"Host: {host}".encode(), b"Connection: close", *fields]
    return exchange(port, b"\r\n".join(head) + b"\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Watched:
    """A site whose authgate is two recorders."""

    house: House
    check: Recorder
    web: Recorder


@pytest.fixture(scope="module")
def recorders() -> Iterator[Watched]:
    with servers.open_folder() as folder:
        house = House(folder)
        house.build()
        redirects = f"""
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{house.http_port};
            server_name redirects.example.com;
            location ^~ / {{ include authgate/authgate-protect.conf; try_files $uri /second?q=2; }}
            location = /second {{ include authgate/authgate-protect.conf; }}
        }}
        server {{
            include authgate/authgate-server.conf;
            listen 127.0.0.1:{house.http_port};
            server_name includes.example.com;
            root {house.files};
            location ^~ /app/ {{
                include authgate/authgate-protect-app.conf;
                try_files /nothing /files{PATH.partition("/files")[2]};
            }}
            location ^~ /server/ {{
                set $ag_user_file {house.folder}/nginx.htpasswd;
                include authgate/authgate-protect-server.conf;
                try_files /nothing /files{PATH.partition("/files")[2]};
            }}
            location ^~ /files/ {{ include authgate/authgate-protect.conf; }}
        }}
        """
        (folder / "nginx.htpasswd").write_text("alice:{PLAIN}alice-demo\n")
        with (
            recording(house.socket) as check,
            recording(house.web_socket) as web,
            servers.nginx(folder, house.http_block(redirects), house.http_port),
        ):
            yield Watched(house, check, web)


@pytest.fixture
def watched(recorders: Watched) -> Watched:
    recorders.check.take()
    recorders.web.take()
    return recorders


def only(arrived: list[Arrived]) -> Arrived:
    assert len(arrived) == 1, arrived
    return arrived[0]


def facts(method: str = "GET", uri: str = PATH, path: str = "/files/a b") -> dict[str, str]:
    return {
        "host": "authgate",
        "x-authgate-path": path,
        "x-authgate-self": "/_authgate",
        "x-authgate-method": method,
        "x-authgate-host": HTTP_HOST,
        "x-authgate-scheme": "http",
        "x-authgate-client": "127.0.0.1",
        "x-authgate-uri": uri,
    }


def test_check_hears_the_facts_once_each_and_no_more(watched: Watched) -> None:
    ask(watched.house.http_port, PATH)

    arrived = only(watched.check.take())
    assert arrived.line == "GET /check HTTP/1.1"
    assert arrived.headers == tuple(facts().items())


def test_nothing_forged_reaches_the_check(watched: Watched) -> None:
    ask(watched.house.http_port, PATH, *forged())

    assert only(watched.check.take()).headers == tuple(facts().items())


def test_check_gets_the_fields_that_decide_how_to_answer(watched: Watched) -> None:
    sent = {
        "Cookie": "authgate=x",
        "Authorization": "Basic x",
        "Accept": "text/html",
        "Sec-Fetch-Site": "none",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "X-Requested-With": "XMLHttpRequest",
        "Origin": "https://x.example",
        "Access-Control-Request-Method": "PUT",
        "User-Agent": "a",
        "Referer": "https://y.example/",
    }

    ask(watched.house.http_port, PATH, *(f"{name}: {value}".encode() for name, value in sent.items()))

    given = {name.lower(): value for name, value in sent.items()}
    assert dict(only(watched.check.take()).headers) == facts() | given


def test_check_hears_the_query_and_the_raw_target_apart(watched: Watched) -> None:
    target = "/a/../files//%61%20b?q=%0d%0a"

    ask(watched.house.http_port, target)

    expected = facts(uri=target, path="/files/a b") | {"x-authgate-query": "q=%0d%0a"}
    assert dict(only(watched.check.take()).headers) == expected


def test_check_hears_path_and_query_of_each_internal_redirect(watched: Watched) -> None:
    ask(watched.house.http_port, "/first?q=1", host="redirects.example.com")

    heard = [dict(arrived.headers) for arrived in watched.check.take()]
    assert [(given["x-authgate-path"], given["x-authgate-query"]) for given in heard] == [
        ("/first", "q=1"),
        ("/second", "q=2"),
    ]


def test_raw_target_is_sent_from_the_include_for_applications_only(watched: Watched) -> None:
    target = "/app/%61?x=%2f"
    ask(watched.house.http_port, target, *forged(), host="includes.example.com")

    application, files = (dict(arrived.headers) for arrived in watched.check.take())
    assert (application["x-authgate-target"], application["x-authgate-path"]) == (target, "/app/a")
    assert (files["x-authgate-path"], "x-authgate-target" in files) == ("/files/a%20b", False)


def test_name_of_the_servers_own_login_is_sent_from_its_include_only(watched: Watched) -> None:
    right, wrong = b"Authorization: Basic YWxpY2U6YWxpY2UtZGVtbw==", b"Authorization: Basic YWxpY2U6eA=="
    for field in (right, wrong):
        ask(watched.house.http_port, "/server/a", field, *forged(), host="includes.example.com")
        ask(watched.house.http_port, "/app/a", field, *forged(), host="includes.example.com")

    heard = [dict(arrived.headers) for arrived in watched.check.take()]
    assert [(given["x-authgate-path"], given.get("x-authgate-user")) for given in heard] == [
        ("/server/a", "alice"),
        # The internal redirect into an ordinary location.
        ("/files/a%20b", None),
        *[("/app/a", None), ("/files/a%20b", None)] * 2,
    ]


def test_file_is_private_when_the_check_says_nothing_about_caching(watched: Watched) -> None:
    answer = ask(watched.house.http_port, "/public/hello.txt")

    assert (status_of(answer), b"\r\nCache-Control: private, no-cache\r\n" in answer) == (200, True)


def test_check_hears_the_clients_method_and_gets_no_body(watched: Watched) -> None:
    for length in (b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0"):
        ask(watched.house.http_port, PATH, length, method="DELETE")

        arrived = only(watched.check.take())
        assert (arrived.body, dict(arrived.headers)) == (b"", facts("DELETE"))


@pytest.mark.parametrize(
    "target",
    [
        "/x%0d%0aX-Authgate-User:%20carol",
        "/x%0aX-Authgate-User:%20carol",
        "/x%0d%0a%0d%0aGET%20/check%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0a",
        "/x%7f",
        "/x%01",
        "/x%09y",
        "/authgate/login%0d%0aX-Authgate-User:%20carol",
        "/authgate/%0d%0a%0d%0aPOST%20/authgate/logout%20HTTP/1.1%0d%0a%0d%0a",
    ],
)
def test_control_bytes_in_the_path_are_400_and_reach_nobody(watched: Watched, target: str) -> None:
    assert status_of(ask(watched.house.http_port, target)) == 400
    assert watched.check.take() == watched.web.take() == []


def test_pages_hear_host_scheme_and_client_from_nginx_only(watched: Watched) -> None:
    ask(watched.house.http_port, "/authgate/whoami?format=json", *forged(), b"Cookie: a=b", b"Range: bytes=0-1")

    arrived = only(watched.web.take())
    assert arrived.line == "GET /authgate/whoami?format=json HTTP/1.1"
    assert arrived.headers == (
        ("host", "authgate"),
        ("x-authgate-host", HTTP_HOST),
        ("x-authgate-scheme", "http"),
        ("x-authgate-client", "127.0.0.1"),
        ("cookie", "a=b"),
    )


def test_pages_get_the_form_with_what_shows_where_it_comes_from(watched: Watched) -> None:
    sent = {
        "authorization": "Basic x",
        "accept": "text/html",
        "content-type": "application/x-www-form-urlencoded",
        "origin": "https://x.example",
        "sec-fetch-site": "same-origin",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
        "user-agent": "a",
    }
    fields = [f"{name}: {value}".encode() for name, value in sent.items()]

    ask(watched.house.http_port, "/authgate/login", *fields, b"Content-Length: 7\r\n\r\nname=me", method="POST")

    arrived = only(watched.web.take())
    assert arrived.body == b"name=me"
    given = dict(arrived.headers)
    assert {name: given[name] for name in sent} == sent
    assert given["content-length"] == "7"


def test_pages_get_the_path_normalised(watched: Watched) -> None:
    ask(watched.house.http_port, "/x/..//authgate/%6cogin/./a%3fb%23?next=/x%3fy")

    assert only(watched.web.take()).line == "GET /authgate/login/a%3Fb%23?next=/x%3fy HTTP/1.1"


def test_body_over_64_kib_is_refused_before_it_is_read(watched: Watched) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", watched.house.http_port, timeout=servers.DEADLINE)
    with closing(connection):
        connection.request("POST", "/authgate/login", headers={"Host": HTTP_HOST, "Content-Length": "65537"})

        assert connection.getresponse().status == 413
    assert watched.web.take() == []


def test_refusal_page_hears_the_decision_and_no_query_or_body(watched: Watched) -> None:
    watched.check.status = 403
    try:
        fields = [*forged(), b"Accept: text/html", b"Content-Length: 4\r\n\r\nbody"]
        ask(watched.house.http_port, "/files/x?query=1", *fields, method="POST")
    finally:
        watched.check.status = 200

    arrived = only(watched.web.take())
    assert arrived.line == f"GET {REFUSED_PATH} HTTP/1.1"
    assert arrived.headers == (
        ("host", "authgate"),
        ("x-authgate-host", HTTP_HOST),
        ("x-authgate-scheme", "http"),
        ("x-authgate-client", "127.0.0.1"),
        ("accept", "text/html"),
    )


def test_connections_to_authgate_are_kept(watched: Watched) -> None:
    # "Connection: close" in what nginx sends would cost a connection for each file.
    ask(watched.house.http_port, PATH)

    assert "connection" not in dict(only(watched.check.take()).headers)


def test_forged_fields_change_no_decision(site: Running) -> None:
    stranger, denied, open_file = (
        ask(site.house.http_port, path, *forged())
        for path in ("/staff/handbook.txt", "/denied/secret.txt", "/public/hello.txt")
    )

    assert [status_of(answer) for answer in (stranger, denied, open_file)] == [401, 403, 200]
    assert SECRET not in stranger + denied


def test_forged_fields_name_nobody_to_the_pages(site: Running) -> None:
    answer = ask(site.house.http_port, "/authgate/whoami?format=json", *forged())

    assert (status_of(answer), b'"user":null' in answer.replace(b" ", b"")) == (200, True)
