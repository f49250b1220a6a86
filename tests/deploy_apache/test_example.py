"""The examples of FastCGI and of rewrite maps, as they are shipped: what people, programs and the log get."""

import re

import httpx
import pytest

from tests import servers
from tests.deploy.house import FILES, HTTP_HOST, OPEN, SECRET, TLS_HOST, body_of, exchange, status_of
from tests.deploy_apache.house import Running


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        ("/", {None, "alice", "bob", "carol"}),
        ("/public/hello.txt", {None, "alice", "bob", "carol"}),
        ("/public/pages/", {None, "alice", "bob", "carol"}),
        ("/staff/handbook.txt", {"alice", "carol"}),
        ("/reports/q3.csv", {"carol"}),
        ("/home/alice/notes.txt", {"alice"}),
        ("/denied/secret.txt", set()),
        ("/nothing", set()),
    ],
)
def test_file_is_for_those_it_is_for(through: Running, path: str, opens: set[str | None]) -> None:
    for user in (None, "alice", "bob", "carol"):
        answer = through.browser(user).get(path)

        assert (answer.status_code == 200) is (user in opens), user
        assert user in opens or SECRET not in answer.content
        assert answer.status_code in {200, 302, 403}


def test_password_is_asked_for_and_enough(fastcgi: Running) -> None:
    asked = fastcgi.get("/staff/handbook.txt")

    assert (asked.status_code, asked.headers["www-authenticate"]) == (401, 'Basic realm="files", charset="UTF-8"')
    assert asked.headers["cache-control"] == "no-store"
    assert fastcgi.get("/staff/handbook.txt", "alice").content == FILES["staff/handbook.txt"]
    assert fastcgi.get("/staff/handbook.txt", "bob").status_code == 403


def test_statuses_have_their_usual_words(through: Running) -> None:
    found = {through.raw(f"GET {path} HTTP/1.1").partition(b"\r\n")[0] for path in ("/staff/x", "/denied/x")}

    assert found == {b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 403 Forbidden"}


def test_answers_are_native(through: Running) -> None:
    whole = through.get("/public/letters.txt")
    etag = whole.headers["etag"]

    assert whole.content == FILES["public/letters.txt"]
    assert whole.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    part = through.get("/public/letters.txt", Range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"cde")
    assert through.get("/public/letters.txt", Range="bytes=100-").status_code == 416
    same = through.get("/public/letters.txt", If_None_Match=etag)
    assert (same.status_code, same.content, same.headers["cache-control"]) == (304, b"", "private, no-cache")
    assert through.get("/staff/handbook.txt", If_None_Match=etag).status_code == 401
    assert through.get("/staff/handbook.txt", Range="bytes=0-3").status_code == 401
    with through.client() as client:
        assert client.head("/public/letters.txt").headers["content-length"] == "26"
        assert client.head("/staff/handbook.txt").status_code == 401


def test_who_may_not_ask_cannot_tell_what_exists(through: Running) -> None:
    assert {through.get(f"/staff/{name}").status_code for name in ("handbook.txt", "nothing", "")} == {401}
    alice = through.browser("alice")
    assert [alice.get(f"/staff/{name}").status_code for name in ("handbook.txt", "nothing")] == [200, 404]


def test_answers_say_how_they_may_be_kept(through: Running) -> None:
    alice = through.browser("alice")

    def kept(path: str) -> list[str]:
        return alice.get(path).headers.get_list("cache-control")

    assert kept("/staff/handbook.txt") == ["private, no-cache"]
    assert kept("/public/cached.txt") == ["public, max-age=600"]
    assert kept("/denied/secret.txt") == ["no-store"]
    assert through.browser().get("/staff/handbook.txt").headers.get_list("cache-control") == ["no-store"]


def test_answer_on_allow_says_nothing_of_who_asked(through: Running) -> None:
    names = set(through.browser("alice").get("/staff/handbook.txt").headers)

    assert not {name for name in names if name.startswith(("variable", "remote", "auth", "x-authgate", "status"))}


def test_refusal_page_has_the_number_of_the_decision(through: Running) -> None:
    bob = through.browser("bob")
    for answer in (bob.get("/denied/secret.txt"), bob.get("/staff/handbook.txt")):
        (decision,) = answer.headers.get_list("x-authgate-decision")
        assert answer.status_code == 403
        assert "You may not open this" in answer.text
        assert decision in answer.text
        assert "<dd>bob</dd>" in answer.text


def test_refusal_page_shows_nothing_of_what_a_client_says(through: Running) -> None:
    forged = {
        "X-Authgate-Decision": "abcd-000000000000",
        "X-Authgate-Reason": "busy",
        "X-Authgate-Host": "evil.example",
    }
    with through.client() as client:
        for path in ("/denied/secret.txt", "/authgate/refused"):
            answer = client.get(path, headers=forged)

            assert answer.status_code == 403
            assert "abcd-000000000000" not in answer.text
            assert "evil.example" not in answer.text


def test_links_are_not_followed(through: Running) -> None:
    link = through.house.files / "public" / "link.txt"
    link.unlink(missing_ok=True)
    link.symlink_to("hello.txt")

    assert through.get("/public/link.txt").status_code == 403


def test_refused_upload_ends_with_the_page_or_before(through: Running) -> None:
    with through.client() as client:
        answer = client.post("/denied/secret.txt", content=b"x" * 300_000)

    assert answer.status_code in {403, 405}
    assert SECRET not in answer.content


def test_other_hosts_are_misdirected(through: Running) -> None:
    assert through.get("/public/hello.txt", host="evil.example").status_code == 421
    request = b"GET /public/hello.txt HTTP/1.0\r\n\r\n"
    assert status_of(exchange(through.house.http_port, request)) == 421


def test_https_site_and_its_port_80(fastcgi: Running) -> None:
    host = f"{TLS_HOST}:{fastcgi.house.tls_port}"
    with httpx.Client(verify=False, trust_env=False) as client:
        url = f"https://127.0.0.1:{fastcgi.house.tls_port}"
        extensions = {"sni_hostname": TLS_HOST}
        answer = client.get(f"{url}/public/hello.txt", headers={"Host": host}, extensions=extensions)
        login = client.get(
            f"{url}/staff/handbook.txt", headers={"Host": host, "Sec-Fetch-Mode": "navigate"}, extensions=extensions
        )
        page = client.get(f"{url}/authgate/login", headers={"Host": host}, extensions=extensions)
    moved = fastcgi.get("/staff/handbook.txt?a=b", host=TLS_HOST)

    assert answer.content == OPEN
    assert login.headers["location"] == f"{fastcgi.house.origin(TLS_HOST)}/authgate/login?next=/staff/handbook.txt"
    assert "__Host-authgate-form=" in page.headers["set-cookie"]
    assert (moved.status_code, moved.headers["location"]) == (301, f"https://{TLS_HOST}/staff/handbook.txt?a=b")


def test_certificates_are_renewed_without_login(fastcgi: Running) -> None:
    for host in (HTTP_HOST, TLS_HOST):
        answer = fastcgi.get("/.well-known/acme-challenge/token", host=host)
        assert answer.content == OPEN
    assert fastcgi.get("/.well-known/acme-challenge/../../staff/handbook.txt").status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        *("/public/../denied/secret.txt", "/public/%2e%2e/denied/secret.txt", "/public/..%2fdenied/secret.txt"),
        *("//denied/secret.txt", "/denied//secret.txt", "/./denied/secret.txt", "/%64enied/secret.txt"),
        *(
            "/denied%2fsecret.txt",
            "/denied/secret.txt/",
            "/denied/secret.txt/x",
            "/denied/secret.txt?/public/hello.txt",
        ),
        *("/public/hello.txt%0a/../../denied/secret.txt", "/public/x%0d%0aAG_PATH:%20/public/hello.txt"),
        *(
            "http://files.example.com/denied/secret.txt",
            f"http://{HTTP_HOST}/denied/secret.txt",
            "/denied;x/secret.txt",
        ),
        *("/authgate/../denied/secret.txt", "/authgate/refused/../../denied/secret.txt", "/denied/secret.txt%00"),
        *("/public/%2e%2e%2fdenied/secret.txt", "/.well-known/acme-challenge/../../denied/secret.txt"),
    ],
)
def test_no_way_of_writing_it_opens_a_denied_file(through: Running, target: str) -> None:
    answer = through.raw(f"GET {target} HTTP/1.1")

    assert status_of(answer) in {301, 400, 403, 404, 421}
    assert SECRET not in body_of(answer)


def test_a_line_end_in_the_path_is_part_of_what_is_asked(through: Running) -> None:
    # Were it cut off, authgate would be asked about hello.txt, and Apache look for another file: 404.
    for target in ("/public/hello.txt%0a", "/public/%0ahello.txt"):
        assert status_of(through.raw(f"GET {target} HTTP/1.1")) == 403


@pytest.mark.parametrize(
    "name",
    [
        *("AG_PATH", "AG-PATH", "AG_SECRET", "AUTH_USER", "AUTHGATE_DECISION", "Remote-User", "X-Authgate-User"),
        *("REDIRECT_STATUS", "AG_OK", "X-Authgate-Path", "X-Authgate-Client", "X-Forwarded-For", "X-Original-URL"),
    ],
)
def test_what_a_client_writes_opens_nothing(through: Running, name: str) -> None:
    with through.client() as client:
        for value in ("alice", "/public/hello.txt", "1"):
            assert client.get("/staff/handbook.txt", headers={name: value}).status_code == 401
            assert client.get("/denied/secret.txt", headers={name: value}).status_code == 403


def test_the_log_names_who_asked_and_the_decision(fastcgi: Running) -> None:
    fastcgi.get("/staff/handbook.txt?secret-link=1", "alice")
    refused = fastcgi.get("/reports/q3.csv", "bob").headers["x-authgate-decision"]
    log = fastcgi.house.log

    servers.eventually(lambda: refused in log.read_text(), "the refusal is in the log")
    text = log.read_text()
    number = r"[0-9a-f]{4}-[0-9a-f]{12}"
    assert re.search(
        rf'alice \[.*\] "GET {HTTP_HOST} /staff/handbook.txt" 200 21 "-" \d+ {number} -$', text, re.MULTILINE
    )
    assert re.search(rf'\[.*\] "GET {HTTP_HOST} /reports/q3.csv" 403 \d+ "-" \d+ - {refused}$', text, re.MULTILINE)
    assert "secret-link" not in text
