"""deploy/nginx/examples/server-login.conf: whom nginx's own auth_basic has let in, and nobody else."""

import base64

import httpx
import pytest

from tests.deploy.examples import Examples
from tests.deploy.house import SECRET, exchange, password, status_of

HOST = "basic.example.com"


def get(examples: Examples, path: str, auth: tuple[str, str] | None = None, **headers: str) -> httpx.Response:
    with examples.client(HOST, **headers) as client:
        return client.get(path, auth=auth)


def own(user: str) -> tuple[str, str]:
    return user, password(user)


def test_right_password_is_who_nginx_says(examples: Examples) -> None:
    alice, bob = (get(examples, "/staff/plan.txt", own(user)) for user in ("alice", "bob"))

    assert SECRET in alice.content
    assert bob.status_code == 403
    assert SECRET in get(examples, "/page.txt", own("bob")).content


def test_log_names_user_and_credential(examples: Examples) -> None:
    lines = [
        examples.running.logged(lambda: get(examples, "/staff/plan.txt", own(user)))  # noqa: B023 - called at once
        for user in ("alice", "bob")
    ]

    assert [(line["user"], line["credential"], line["status"]) for line in lines] == [
        ("alice", "server", 200),
        ("bob", "server", 403),
    ]


@pytest.mark.parametrize("auth", [None, ("alice", "wrong"), ("root", "wrong"), ("alice", ""), ("", ""), ("", "x")])
def test_wrong_or_no_password_is_401_and_authgate_is_not_asked(
    examples: Examples, auth: tuple[str, str] | None
) -> None:
    line = examples.running.logged(lambda: get(examples, "/page.txt", auth))
    answer = get(examples, "/page.txt", auth)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="files"')
    assert (line["decision"], line["user"]) == ("", "")
    assert SECRET not in answer.content


def test_person_of_authgates_file_alone_is_nobody_to_nginx(examples: Examples) -> None:
    # carol is in users.htpasswd of authgate, not in nginx's.
    assert get(examples, "/page.txt", own("carol")).status_code == 401


@pytest.mark.parametrize("path", ["/ordinary/plan.txt", "/staff/plan.txt"])
def test_name_without_password_proves_nothing(examples: Examples, path: str) -> None:
    for joint in "-_":
        answers = [
            get(examples, path, auth, **{f"X-Authgate{joint}User": "alice", f"Remote{joint}User": "alice"})
            for auth in (None, ("alice", "wrong"), ("root", "wrong"))
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 401]
        assert not any(SECRET in answer.content for answer in answers)


def test_ordinary_location_beside_it_has_the_login_of_authgate(examples: Examples) -> None:
    line = examples.running.logged(lambda: get(examples, "/ordinary/plan.txt", own("carol")))

    assert (line["status"], line["user"], line["credential"]) == (200, "carol", "basic")


@pytest.mark.parametrize(
    "name", [b"alice\r\nX-Authgate-Path: /x", b"alice\nX: y", b"al\x00ice", b"alice\x7f", b"\r\nalice"]
)
def test_control_bytes_in_the_name_reach_nobody(examples: Examples, name: bytes) -> None:
    sent = base64.b64encode(name + b":" + password("alice").encode()).decode()
    for path in ("/page.txt", "/ordinary/plan.txt"):
        host = examples.origin(HOST).partition("://")[2]
        answer = exchange(
            examples.house.http_port,
            f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Basic {sent}\r\n\r\n".encode(),
        )
        assert status_of(answer) == 401, answer


def test_refused_person_sees_the_page_of_the_refusal(examples: Examples) -> None:
    answer = get(examples, "/staff/plan.txt", own("bob"), Accept="text/html")

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (403, "text/html")
