"""deploy/nginx/example.conf as an operator would run it: what is served, to whom, and what is said about it."""

import re
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.deploy.house import HTTP_HOST, OPEN, SECRET, TLS_HOST, Running, body_of, status_of
from tests.servers import require


def test_open_file_needs_no_login(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/public/hello.txt")

    assert (answer.status_code, answer.content) == (200, OPEN)


def test_member_gets_the_file_and_others_do_not(site: Running) -> None:
    with site.client(user="carol") as carol, site.client(user="bob") as bob, site.client() as stranger:
        answers = [client.get("/reports/q3.csv") for client in (carol, bob, stranger)]

    assert [answer.status_code for answer in answers] == [200, 403, 401]
    assert [SECRET in answer.content for answer in answers] == [True, False, False]


def test_home_is_its_owners_only(site: Running) -> None:
    with site.client(user="alice") as alice:
        own, foreign = alice.get("/home/alice/notes.txt"), alice.get("/home/bob/notes.txt")

    assert (own.status_code, foreign.status_code) == (200, 403)
    assert SECRET not in foreign.content


def test_what_no_rule_covers_is_closed(site: Running) -> None:
    with site.client(user="carol") as client:
        answer = client.get("/elsewhere/x")

    assert answer.status_code == 403


def test_who_may_not_ask_cannot_tell_what_exists(site: Running) -> None:
    with site.client(user="bob") as client:
        answers = [client.get(f"/reports/{name}") for name in ("q3.csv", "nothing.csv")]

    assert [answer.status_code for answer in answers] == [403, 403]


def test_folder_without_index_is_refused_without_names(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/public/", headers={"Accept": "text/html"})

    assert answer.status_code == 403
    assert b"hello.txt" not in answer.content
    assert b"web server itself" in answer.content


def test_index_page_of_an_allowed_folder_is_served(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/public/pages/")

    assert (answer.status_code, answer.content) == (200, OPEN)


def test_part_of_a_file_is_206(site: Running) -> None:
    with site.client() as client:
        answer = client.get("/public/letters.txt", headers={"Range": "bytes=2-5"})

    assert (answer.status_code, answer.content) == (206, b"cdef")
    assert answer.headers["content-range"] == "bytes 2-5/26"


def test_interrupted_download_of_a_protected_file_goes_on(site: Running) -> None:
    with site.client(user="carol") as client:
        whole = client.get("/reports/q3.csv")
        rest = client.get("/reports/q3.csv", headers={"Range": "bytes=4-", "If-Range": whole.headers["etag"]})

    assert (rest.status_code, whole.content[:4] + rest.content) == (206, whole.content)


def test_refused_range_gives_no_byte(site: Running) -> None:
    with site.client(user="bob") as client:
        answer = client.get("/reports/q3.csv", headers={"Range": "bytes=0-3", "Accept": "text/plain"})

    assert answer.status_code == 403
    assert "content-range" not in answer.headers


def test_unchanged_file_is_304_but_not_for_strangers(site: Running) -> None:
    with site.client(user="carol") as carol, site.client() as stranger:
        etag = carol.get("/reports/q3.csv").headers["etag"]
        again = carol.get("/reports/q3.csv", headers={"If-None-Match": etag})
        guess = stranger.get("/reports/q3.csv", headers={"If-None-Match": etag})

    assert (again.status_code, guess.status_code) == (304, 401)
    assert again.headers["cache-control"] == "private, no-cache"


def test_head_is_decided_as_get(site: Running) -> None:
    with site.client(user="carol") as carol, site.client(user="bob") as bob:
        answers = [client.head("/reports/q3.csv") for client in (carol, bob)]

    assert [answer.status_code for answer in answers] == [200, 403]


def test_served_files_are_private_unless_a_rule_says_otherwise(site: Running) -> None:
    with site.client(user="carol") as client:
        headers = {
            path: client.get(path).headers.get_list("cache-control")
            for path in ("/public/hello.txt", "/reports/q3.csv", "/public/nothing.txt", "/public/cached.txt")
        }

    assert headers == {
        "/public/hello.txt": ["private, no-cache"],
        "/reports/q3.csv": ["private, no-cache"],
        "/public/nothing.txt": ["private, no-cache"],
        "/public/cached.txt": ["public, max-age=600"],
    }


def test_check_and_refusal_page_cannot_be_asked_for(site: Running) -> None:
    forged = {"X-Authgate-Path": "/public/hello.txt", "X-Authgate-Reason": "busy", "X-Authgate-Decision": "forged"}
    with site.client() as client:
        answers = [client.get(path, headers=forged) for path in ("/_authgate", "/authgate/refused")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not any(b"forged" in answer.content for answer in answers)


def test_host_of_no_site_is_misdirected(site: Running) -> None:
    for host in ("unknown.example.com", "127.0.0.1", "", f"{HTTP_HOST}.evil.example"):
        answer = site.raw(f"GET /public/hello.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert status_of(answer) in {400, 421}
        assert OPEN not in answer


def test_host_in_the_target_counts_not_the_field(site: Running) -> None:
    request = b"GET http://unknown.example.com/public/hello.txt HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"

    answer = site.raw(request % HTTP_HOST.encode())

    assert status_of(answer) == 421


def test_http_1_0_without_host_is_misdirected(site: Running) -> None:
    assert status_of(site.raw(b"GET /public/hello.txt HTTP/1.0\r\n\r\n")) == 421


def test_site_is_known_in_capitals_with_port_and_final_dot(site: Running) -> None:
    for host in (HTTP_HOST.upper(), f"{HTTP_HOST}:80", f"{HTTP_HOST}."):
        answer = site.raw(f"GET /public/hello.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert (status_of(answer), body_of(answer)) == (200, OPEN)


def test_certificates_are_renewed_without_login(site: Running) -> None:
    for host in (HTTP_HOST, TLS_HOST):
        with site.client(host) as client:
            assert client.get("/.well-known/acme-challenge/token").content == OPEN


def test_http_leads_to_https_where_the_site_has_it(site: Running) -> None:
    with site.client(TLS_HOST) as client:
        answer = client.get("/reports/q3.csv?page=2")

    assert answer.status_code == 301
    assert answer.headers["location"] == f"https://{TLS_HOST}/reports/q3.csv?page=2"


def test_https_site_logs_in_with_a_host_cookie(site: Running) -> None:
    context = ssl.create_default_context(cafile=str(site.house.folder / "cert.pem"))
    host = f"{TLS_HOST}:{site.house.tls_port}"
    with httpx.Client(verify=context, trust_env=False, headers={"Host": host, "Accept": "text/html"}) as client:
        url = f"https://127.0.0.1:{site.house.tls_port}"
        extensions = {"sni_hostname": TLS_HOST}
        refused = client.get(f"{url}/staff/handbook.txt", extensions=extensions)
        form = client.get(f"{url}/authgate/login", extensions=extensions)

    assert refused.status_code == 302
    assert refused.headers["location"] == f"https://{host}/authgate/login?next=/staff/handbook.txt"
    assert form.status_code == 200
    assert form.headers["set-cookie"].startswith("__Host-authgate-form=")


def test_file_comes_over_http_2(site: Running) -> None:
    # A subrequest is told by having read no bytes; an HTTP/2 request must not look like one.
    command = [
        *(require("curl"), "-sS", "--http2", "--cacert", str(site.house.folder / "cert.pem"), "-w", " %{http_version}"),
        *(
            "--resolve",
            f"{TLS_HOST}:{site.house.tls_port}:127.0.0.1",
            f"{site.house.origin(TLS_HOST)}/public/hello.txt",
        ),
    ]

    assert subprocess.run(command, check=True, capture_output=True).stdout == OPEN + b" 2"


def test_tls_without_a_site_name_is_rejected(site: Running) -> None:
    with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized.name"):
        httpx.get(f"https://127.0.0.1:{site.house.tls_port}/", verify=False, trust_env=False)


def test_log_line_names_user_rule_and_decision(site: Running) -> None:
    with site.client(user="carol") as client:
        line = site.logged(lambda: client.get("/reports/q3.csv?ag=secret-link", headers={"Range": "bytes=0-1"}))

    decision = line.pop("decision")
    assert isinstance(decision, str)
    assert re.fullmatch(r"[a-z0-9]{1,16}-[0-9a-f]{12}", decision)
    assert {name: line[name] for name in ("user", "credential", "rule", "reason", "path", "status", "bytes")} == {
        "user": "carol",
        "credential": "basic",
        "rule": "reports",
        "reason": "allowed",
        "path": "/reports/q3.csv",
        "status": 206,
        "bytes": 2,
    }
    assert (line["range"], line["method"], line["host"]) == ("bytes=0-1", "GET", HTTP_HOST)
    assert "secret-link" not in str(line)


def test_log_line_of_a_refusal_names_what_was_asked_for(site: Running) -> None:
    with site.client(user="bob") as client:
        line = site.logged(lambda: client.get("/reports/q3.csv"))

    assert (line["path"], line["status"], line["rule"], line["reason"], line["user"]) == (
        "/reports/q3.csv",
        403,
        "reports",
        "not_admitted",
        "bob",
    )


def test_log_line_stays_json_whatever_is_asked_for(site: Running) -> None:
    for target in (b'/public/"},{"user":"root', b"/public/a%0d%0ab", b"/public/%e9%ff\\", b"/authgate/%22%01"):
        request = b'GET %s HTTP/1.1\r\nHost: %s\r\nRange: "x\\\r\nConnection: close\r\n\r\n'
        line = site.logged(lambda: site.raw(request % (target, HTTP_HOST.encode())))  # noqa: B023 - called at once
        assert line["user"] == ""


def test_nothing_is_said_about_uninitialized_variables(site: Running) -> None:
    with site.client() as client:
        client.get("/authgate/whoami")
        client.get("/.well-known/acme-challenge/token")
    site.raw(b"GET / HTTP/1.1\r\nHost: unknown\r\nConnection: close\r\n\r\n")

    assert "uninitialized" not in Path(site.nginx.output).read_text()
