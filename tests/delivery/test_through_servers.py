"""What nginx and Apache have in common: who gets which file, how it is sent, and what opens nothing."""

from urllib.parse import quote

import pytest

from tests.delivery.site import BIG, LETTERS, ODD_NAMES, SECRET, Running

Q3 = b"q3: " + SECRET


@pytest.mark.parametrize(
    ("target", "user", "status"),
    [
        ("/public/letters.txt", None, 200),
        ("/reports/q3.csv", None, 401),
        ("/reports/q3.csv", "alice", 200),
        ("/reports/q3.csv", "bob", 403),
        ("/home/alice.txt", None, 401),
        ("/home/alice.txt", "bob", 200),
        ("/home/nothing.txt", "bob", 404),
        ("/home/nothing.txt", None, 401),
        ("/denied/secret.txt", "alice", 403),
        ("/denied/nothing.txt", "alice", 403),
        ("/office/plan.txt", "alice", 403),
        ("/undelivered/x", None, 403),
    ],
)
def test_people_get_what_the_rules_say(through: Running, target: str, user: str | None, status: int) -> None:
    answer = through.ask(target, user)

    assert answer.status_code == status
    assert status == 200 or SECRET not in answer.content


def test_a_browser_logs_in_and_gets_its_file(through: Running) -> None:
    refused = through.browse("/reports/q3.csv?x=1")
    assert refused.status_code == 302
    assert refused.headers["location"] == f"{through.site.origin}/authgate/login?next=/reports/q3.csv%3Fx%3D1"

    cookies, back = through.log_in("alice", refused.headers["location"].removeprefix(through.site.origin))

    assert back.removeprefix(through.site.origin) == "/reports/q3.csv?x=1"
    assert through.browse("/reports/q3.csv?x=1", cookies).content == Q3
    assert through.browse("/denied/secret.txt", cookies).status_code == 403


def test_a_refusal_is_a_page_with_the_decision_and_its_style(through: Running) -> None:
    answer = through.browse("/denied/secret.txt")

    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-store"
    assert "You may not open this" in answer.text
    assert answer.headers["x-authgate-decision"] in answer.text
    assert through.browse("/authgate/style.css").status_code == 200


def test_a_program_is_told_how_to_log_in(through: Running) -> None:
    answer = through.ask("/reports/q3.csv")

    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "location" not in answer.headers


def test_no_page_of_refusal_is_had_by_name(through: Running) -> None:
    answer = through.ask("/authgate/refused", X_Authgate_Decision="abcd-000000000000", X_Authgate_Reason="busy")

    assert answer.status_code == 404
    assert "abcd-000000000000" not in answer.text


def test_a_big_file_arrives_whole(through: Running) -> None:
    assert through.ask("/public/big.bin").content == BIG


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_the_files_they_name(through: Running, name: str) -> None:
    answer = through.ask(f"/public/odd/{quote(name)}")

    assert (answer.status_code, answer.content) == (200, name.encode())


@pytest.mark.parametrize(
    "target",
    [
        *("/public/../denied/secret.txt", "/public/%2e%2e/denied/secret.txt", "/public/..%2fdenied/secret.txt"),
        *("//denied/secret.txt", "/public//../denied/secret.txt", "/public/%2e%2e%2fdenied%2fsecret.txt"),
        *("/denied%2fsecret.txt", "/./denied/./secret.txt", "/%64enied/secret.txt", "/denied/secret.txt/"),
        *("/public/..;/denied/secret.txt", "/public\\..\\denied\\secret.txt", "/public/..%5cdenied/secret.txt"),
        *("/public/x%0d%0aX-Authgate-Path:%20/public/letters.txt", "/denied/secret.txt?/public/letters.txt"),
        *("/denied/secret.txt%00", "/denied/secret.txt%23", "/public/%252e%252e/denied/secret.txt"),
        *("/../outside.txt", "/public/../../outside.txt", "/public/outside.txt", "/public/closed/"),
        *("http://files.example.com/denied/secret.txt", "/_files/denied/secret.txt", "/authgate/../denied/secret.txt"),
    ],
)
def test_no_way_of_writing_it_opens_a_denied_file(through: Running, target: str) -> None:
    answer = through.ask(target, "alice")

    assert answer.status_code in {400, 403, 404, 421}
    assert SECRET not in answer.content


def test_links_are_followed_within_the_root(through: Running) -> None:
    assert through.ask("/public/inside.txt").content == LETTERS
    assert through.ask("/public/outside.txt").status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Authgate-User", "alice"),
        ("X-Authgate-Path", "/public/letters.txt"),
        ("X-Authgate-Client", "10.0.0.1"),
        ("X-Authgate-Self", "/reports/q3.csv"),
        ("X-Authgate-Uri", "/public/letters.txt"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X_Authgate_Client", "10.0.0.1"),
        ("Remote-User", "alice"),
        ("X-Sendfile", "/etc/passwd"),
    ],
)
def test_what_a_client_writes_into_our_fields_opens_nothing(through: Running, name: str, value: str) -> None:
    assert through.ask("/reports/q3.csv", **{name: value}).status_code in {401, 403}
    assert through.ask("/office/plan.txt", **{name: value}).status_code == 403


@pytest.mark.parametrize("name", ["X-Authgate-Client", "X-Authgate-Host", "x-authgate-scheme", "X-AUTHGATE-USER"])
def test_a_client_cannot_take_our_fields_away(through: Running, name: str) -> None:
    request = f"GET /public/letters.txt HTTP/1.1\r\nHost: {through.site.host}\r\nConnection: close, {name}\r\n"

    answer = through.raw(f"{request}Connection: {name}, x\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(LETTERS)


def test_head_says_what_get_says(through: Running) -> None:
    got, head = through.ask("/public/letters.txt"), through.ask("/public/letters.txt", method="HEAD")

    assert head.content == b""
    for name in ("content-length", "content-type", "last-modified", "cache-control"):
        assert head.headers[name] == got.headers[name]
    assert head.headers["content-length"] == "26"


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [("bytes=2-5", 206, b"cdef"), ("bytes=-3", 206, b"xyz"), ("bytes=23-", 206, b"xyz"), ("lines=1", 200, LETTERS)],
)
def test_ranges_are_the_web_servers(through: Running, asked: str, status: int, body: bytes) -> None:
    answer = through.ask("/public/letters.txt", Range=asked)

    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert through.ask("/public/letters.txt", Range="bytes=100-").status_code == 416


def test_several_ranges_are_one_answer(through: Running) -> None:
    answer = through.ask("/public/letters.txt", Range="bytes=0-1,24-25")

    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert b"\r\nab\r\n" in answer.content


def test_ranges_of_a_refused_file_are_refused(through: Running) -> None:
    for user in (None, "bob"):
        answer = through.ask("/reports/q3.csv", user, Range="bytes=0-3")

        assert answer.status_code in {401, 403}
        assert b"q3:" not in answer.content


def test_what_has_not_changed_is_not_sent_again(through: Running) -> None:
    changed = through.ask("/public/letters.txt").headers["last-modified"]

    same = through.ask("/public/letters.txt", If_Modified_Since=changed)
    older = through.ask("/public/letters.txt", If_Modified_Since="Mon, 01 Jan 2001 00:00:00 GMT")
    refused = through.ask("/reports/q3.csv", If_Modified_Since=changed)

    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["cache-control"] == "private, no-cache"
    assert (older.status_code, older.content) == (200, LETTERS)
    assert refused.status_code == 401


def test_the_rest_of_a_download_is_of_the_same_file(through: Running) -> None:
    changed = through.ask("/public/letters.txt").headers["last-modified"]

    same = through.ask("/public/letters.txt", Range="bytes=24-", If_Range=changed)
    other = through.ask("/public/letters.txt", Range="bytes=24-", If_Range="Mon, 01 Jan 2001 00:00:00 GMT")

    assert (same.status_code, same.content) == (206, b"yz")
    assert (other.status_code, other.content) == (200, LETTERS)


def test_if_none_match_of_another_file_changes_nothing(through: Running) -> None:
    assert through.ask("/public/letters.txt", If_None_Match='"0"').content == LETTERS


@pytest.mark.parametrize(
    ("target", "kind"), [("letters.txt", "text/plain"), ("page.html", "text/html"), ("docs/", "text/html")]
)
def test_the_type_is_the_web_servers(through: Running, target: str, kind: str) -> None:
    assert through.ask(f"/public/{target}").headers["content-type"].partition(";")[0] == kind


def test_downloads_have_their_name(through: Running) -> None:
    assert through.ask("/reports/q3.csv", "alice").headers["content-disposition"] == 'attachment; filename="q3.csv"'
    assert "content-disposition" not in through.ask("/public/letters.txt").headers


def test_a_folder_is_its_index_page(through: Running) -> None:
    assert through.ask("/public/docs/").content == b"index"
    moved = through.ask("/public/docs?x")
    assert (moved.status_code, moved.headers["location"]) == (301, f"{through.site.origin}/public/docs/?x")
    assert through.ask("/public/odd/").status_code == 404


def test_pages_include_nothing(through: Running) -> None:
    answer = through.ask("/public/include.shtml", "alice")

    assert answer.content.startswith(b"<!--#include")


def test_clients_see_nothing_of_what_the_servers_tell_each_other(through: Running) -> None:
    for answer in (through.ask("/reports/q3.csv", user) for user in (None, "alice", "bob")):
        names = {name for name in answer.headers if name.startswith(("x-authgate", "remote-", "x-sendfile", "x-accel"))}
        assert names <= {"x-authgate-decision"}
        assert str(through.site.folder) not in str(answer.headers)


def test_the_log_names_who_asked_and_the_decision(through: Running) -> None:
    refused = through.ask("/reports/q3.csv?secret=1", "bob")

    line = through.logged(refused.headers["x-authgate-decision"])

    assert "/reports/q3.csv" in line
    assert "secret" not in line
    through.ask("/reports/q3.csv", "alice")
    assert "alice" in through.logged("alice")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_only_get_and_head_get_a_file(through: Running, method: str) -> None:
    answer = through.ask("/public/letters.txt", method=method)

    assert answer.status_code == 405
    assert LETTERS not in answer.content


def test_trace_is_refused(through: Running) -> None:
    assert through.ask("/public/letters.txt", method="TRACE").status_code == 405


def test_uploads_are_refused_before_they_are_sent(through: Running) -> None:
    fields = f"Host: {through.site.host}\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\nConnection: close\r\n"

    answer = through.raw(f"POST /public/letters.txt HTTP/1.1\r\n{fields}\r\n".encode())

    assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 405 "))


def test_other_hosts_are_not_this_site(through: Running) -> None:
    answer = through.ask("/public/letters.txt", Host="evil.example")

    # Apache calls the site by its own name, whatever the client says.
    assert answer.status_code == (421 if through.site.kind == "nginx" else 200)
