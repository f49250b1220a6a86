"""Applications behind nginx: who is logged in reaches them, from authgate only; the session and a password do not."""

import json
from collections.abc import Mapping

import httpx
import pytest

from tests import servers
from tests.deploy.examples import Examples
from tests.deploy.house import SECRET, Visitor, exchange, hidden_fields, password, status_of

APP, PHP, WSGI = "app.example.com", "php.example.com", "wsgi.example.com"
HOSTS: Mapping[str, str] = {APP: "/anything", PHP: "/index.php", WSGI: "/anything"}
IDENTITY = ("REMOTE_USER", "REMOTE_GROUPS", "REMOTE_NAME", "REMOTE_EMAIL")

FORGED = {
    name: value
    for joint in "-_"
    for name, value in {
        f"Remote{joint}User": "carol",
        f"Remote{joint}Groups": "admin",
        f"Remote{joint}Name": "Carol",
        f"Remote{joint}Email": "carol@example.com",
    }.items()
}

COOKIES = {
    "authgate=AAAA": "",
    "authgate=AAAA; theme=dark": "theme=dark",
    "theme=dark; authgate=AAAA": "theme=dark",
    "theme=dark; authgate=AAAA; lang=de": "theme=dark; lang=de",
    "authgate=A; authgate=B; authgate-form=C": "",
    "authgate=A; a=1; authgate=B; b=2; authgate=C": "a=1; b=2",
    "__Host-authgate=A; a=1; __Secure-authgate=B; b=2; __Host-authgate-form=C; c=3; authgate-form=D": "a=1; b=2; c=3",
    "a=1;authgate=A;b=2": "a=1;b=2",
    "a=1 ;\t authgate \t=A ;b=2": "a=1 ;b=2",
    "authgate=": "",
    'a="1; authgate=A; b=2"': 'a="1; b=2"',
    # Not ours.
    "a=1;  b = 2 ;; c; =d; e=\xe9": "a=1;  b = 2 ;; c; =d; e=\xe9",
    "myauthgate=1; authgates=2; Authgate=3; x=authgate=4; authgate": (
        "myauthgate=1; authgates=2; Authgate=3; x=authgate=4; authgate"
    ),
    "; ".join(f"n{number}=v" for number in range(500)): "; ".join(f"n{number}=v" for number in range(500)),
    # More than anybody has by accident: none at all.
    "; ".join(f"a{number}=1; authgate=A" for number in range(6)): "",
    "; ".join(["authgate=A"] * 400) + "; a=1": "a=1",
}

# Each is /admin/x to an application that unescapes or tidies the target itself; nginx sees something below /pub.
AMBIGUOUS = [
    "/admin%2f..%2fpub/x",
    "/pub/..%2fadmin/x",
    "/pub/%2e%2e/admin/x",
    "/pub/../admin/x",
    "/pub//../../admin/x",
    "//admin/../pub/x",
    "/pub/x;/../../admin/x",
    "/pub/..;/admin/x",
    "/pub/%2e%2e%2fadmin/x",
    "/pub/..%5cadmin/x",
    "/pub/..\\admin/x",
    "/pub/%252e%252e/admin/x",
    "/pub/%252e%252e%252fadmin/x",
    "/pub/x#/../../admin/x",
]


def seen(answer: httpx.Response) -> list[tuple[str, str]]:
    """Return what reached the application, by CGI's names (RFC 3875 section 4.1.18), doubled ones included."""
    assert answer.status_code == 200, answer.text
    described = answer.json()
    if "environment" in described:
        return [(name.removeprefix("HTTP_"), value) for name, value in described["environment"]]
    return [(name.upper().replace("-", "_"), value) for name, value in described["headers"]]


def last(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in seen(answer) if value}


@pytest.mark.parametrize("host", HOSTS)
def test_application_hears_who_is_logged_in(examples: Examples, host: str) -> None:
    with examples.client(host, "carol") as client:
        heard = last(client.get(HOSTS[host]))

    assert heard["REMOTE_USER"] == "carol"
    # Groups that no rule names are nobody's business.
    assert set(heard["REMOTE_GROUPS"].split(",")) == {"admin", "staff"}


def test_public_page_is_told_who_is_logged_in_too(examples: Examples) -> None:
    with examples.client(APP, "alice") as alice, examples.client(APP) as stranger:
        answers = [client.get("/pub/x") for client in (alice, stranger)]

    assert [last(answer).get("REMOTE_USER") for answer in answers] == ["alice", None]


@pytest.mark.parametrize("host", HOSTS)
def test_client_names_nobody_to_the_application(examples: Examples, host: str) -> None:
    with examples.client(host, "bob", **FORGED) as client:
        heard = [(name, value) for name, value in seen(client.get(HOSTS[host])) if name in IDENTITY and value]

    assert {value for name, value in heard if name == "REMOTE_USER"} == {"bob"}
    assert {name for name, _ in heard} == {"REMOTE_USER"}


def test_stranger_on_a_public_page_stays_one_whatever_is_sent(examples: Examples) -> None:
    with examples.client(APP, **FORGED) as client:
        heard = last(client.get("/pub/x"))

    assert not heard.keys() & set(IDENTITY)


@pytest.mark.parametrize("sent", COOKIES)
@pytest.mark.parametrize("host", [APP, PHP])
def test_application_gets_every_cookie_but_ours(examples: Examples, host: str, sent: str) -> None:
    fields = (
        f"Host: {examples.origin(host).partition('://')[2]}\r\nCookie: {sent}\r\nAuthorization: Basic Ym9iOmJvYi1kZW1v"
    )
    path = HOSTS[host].encode()

    answer = exchange(examples.house.http_port, b"GET %s HTTP/1.0\r\n%s\r\n\r\n" % (path, fields.encode("latin-1")))

    assert status_of(answer) == 200, answer
    described = json.loads(answer.partition(b"\r\n\r\n")[2])
    pairs = described.get("environment") or described["headers"]
    got = [value for name, value in pairs if name.upper().removeprefix("HTTP_") == "COOKIE"]
    assert [value for value in got if value] == [COOKIES[sent]] * bool(COOKIES[sent])


def test_two_cookie_fields_are_one_to_the_application(examples: Examples) -> None:
    with examples.client(APP) as client:
        answer = client.get("/pub/x", headers=[("Cookie", "a=1; authgate=A"), ("Cookie", "authgate=B; b=2")])

    assert [value for name, value in seen(answer) if name == "COOKIE"] == ["a=1; b=2"]


def test_password_that_authgate_found_right_stays_with_it(examples: Examples) -> None:
    with examples.client(APP, "alice") as alice, examples.client(APP) as client:
        own = last(client.get("/pub/x", headers={"Authorization": "Bearer of-the-application"}))
        for path in ("/pub/x", "/anything"):
            assert "AUTHORIZATION" not in last(alice.get(path))

    assert own["AUTHORIZATION"] == "Bearer of-the-application"


def test_application_hears_address_scheme_and_host_from_nginx(examples: Examples) -> None:
    forged = {
        "X-Forwarded-For": "10.0.0.1",
        "X-Real-IP": "10.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "for=10.0.0.1",
        "X-Original-URL": "/admin/x",
        "X-Rewrite-URL": "/admin/x",
        "X-HTTP-Method-Override": "DELETE",
        "X-HTTP-Method": "DELETE",
        "X-Method-Override": "DELETE",
    }
    for host, path in HOSTS.items():
        with examples.client(host, "alice", **forged) as client:
            heard = last(client.get(path))

        name = examples.origin(host).partition("://")[2]
        assert heard["HOST"] == heard["X_FORWARDED_HOST"] == name
        assert (heard["X_FORWARDED_FOR"], heard["X_REAL_IP"], heard["X_FORWARDED_PROTO"]) == ("127.0.0.1",) * 2 + (
            "http",
        )
        gone = {field.upper().replace("-", "_") for field in list(forged)[4:]}
        assert not heard.keys() & gone


@pytest.mark.parametrize("target", AMBIGUOUS)
def test_target_with_two_readings_is_refused(examples: Examples, target: str) -> None:
    before = examples.applications.counted.requests
    for host in (APP, WSGI):
        name = examples.origin(host).partition("://")[2]
        answer = exchange(examples.house.http_port, f"GET {target} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())

        assert status_of(answer) in {400, 403}, target
        assert SECRET not in answer
    assert examples.applications.counted.requests == before


def test_application_gets_the_path_that_was_decided(examples: Examples) -> None:
    with examples.client(APP, "alice") as client:
        targets = {target: client.get(target).json()["target"] for target in ("/%61/b%20c?x=%2f;..", "/a%3fb/%23")}

    assert targets == {"/%61/b%20c?x=%2f;..": "/a/b%20c?x=%2f;..", "/a%3fb/%23": "/a%3Fb/%23"}


def test_longest_target_is_decided(examples: Examples) -> None:
    # Path, query, raw target and return address go to authgate each in a header of their own.
    with examples.client(APP) as client:
        answers = [client.get(f"/pub/{'%61' * 1000}?{'b' * 4000}"), client.get(f"/pub/{'a' * 7900}")]

    assert [answer.status_code for answer in answers] == [200, 200]


def test_refusals_look_as_for_files(examples: Examples) -> None:
    with examples.client(APP) as stranger, examples.client(APP, "bob") as bob:
        program, script = stranger.get("/x"), stranger.get("/x", headers={"X-Requested-With": "XMLHttpRequest"})
        page = stranger.get("/x?a=b", headers=Visitor.NAVIGATION)
        post, form = (stranger.post("/x", content=b"x", headers=more) for more in ({}, Visitor.NAVIGATION))
        refused = bob.post("/admin/x", content=b"x", headers={"Accept": "application/json"})

    assert [answer.status_code for answer in (program, script, page, post, form, refused)] == [
        401,
        401,
        302,
        401,
        401,
        403,
    ]
    assert page.headers["location"] == f"{examples.origin(APP)}/authgate/login?next=/x%3Fa%3Db"
    assert script.headers["www-authenticate"] == "Authgate"
    assert refused.json()["reason"] == "not_admitted"
    assert not any("location" in answer.headers for answer in (program, script, post, form))


def test_login_by_form_leads_back_to_the_application(examples: Examples) -> None:
    with examples.client(APP, **Visitor.NAVIGATION) as client:
        login = client.get("/x").headers["location"].partition(examples.origin(APP))[2]
        form = hidden_fields(client.get(login).text)
        sent = {**form, "username": "alice", "password": password("alice")}
        origin = {"Origin": examples.origin(APP), "Sec-Fetch-Site": "same-origin"}
        answer = client.post("/authgate/login", data=sent, headers=origin)
        back = client.get(answer.headers["location"])

    assert answer.status_code == 303
    assert last(back)["REMOTE_USER"] == "alice"
    assert "COOKIE" not in last(back)


def test_statuses_of_the_application_are_its_own(examples: Examples) -> None:
    with examples.client(APP) as client:
        answer = client.get("/pub/x", headers={"X-Want-Status": "403"})

    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/json")


def test_pages_are_private_unless_the_application_is_stricter(examples: Examples) -> None:
    said = {
        "": "private, no-cache",
        "public, max-age=60": "private, no-cache",
        "max-age=60": "private, no-cache",
        'private="set-cookie", max-age=60': "private, no-cache",
        "no-store": "no-store",
        "max-age=60, Private": "max-age=60, Private",
    }
    with examples.client(APP) as client:
        for value, expected in said.items():
            answer = client.get("/pub/x", headers={"X-Want-Cache-Control": value} if value else {})
            assert answer.headers.get_list("cache-control") == [expected], value


def test_php_script_is_asked_about_like_any_path(examples: Examples) -> None:
    with examples.client(PHP, "alice") as alice, examples.client(PHP, "carol") as carol:
        statuses = [client.get("/admin.php").status_code for client in (alice, carol)]
        picture = alice.get("/picture.jpg/x.php")

    assert statuses == [403, 200]
    assert picture.status_code == 404


def test_log_names_who_used_the_application_and_who_was_refused(examples: Examples) -> None:
    with examples.client(APP, "bob") as client:
        lines = [examples.running.logged(lambda: client.get(path)) for path in ("/pub/x", "/admin/x")]  # noqa: B023 - called at once

    assert [(line["user"], line["status"], line["path"]) for line in lines] == [
        ("bob", 200, "/pub/x"),
        ("bob", 403, "/admin/x"),
    ]


def test_application_that_is_away_is_502_and_not_an_outage_of_authgate(examples: Examples) -> None:
    port = servers.free_port()
    with servers.open_folder() as folder:
        http = f"""
        include {examples.house.folder}/authgate/authgate-http.conf;
        server {{
            include {examples.house.folder}/authgate/authgate-server.conf;
            listen 127.0.0.1:{port};
            server_name {APP};
            location ^~ / {{
                proxy_pass http://127.0.0.1:{servers.free_port()}/;
                include {examples.house.folder}/authgate/authgate-protect-app.conf;
            }}
        }}
        """
        with servers.nginx(folder, http, port):
            answer = httpx.get(f"http://127.0.0.1:{port}/pub/x", headers={"Host": APP}, trust_env=False)

    assert answer.status_code == 502
