"""Access tokens through nginx, two workers behind it, by the programs that people use them with."""

import asyncio
import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from authgate.cli.token import token
from authgate.credentials.brakes import BY_CLIENT_AND_NAME
from authgate.credentials.token_record import KIND, Token, decode
from authgate.stores import Record
from authgate.stores.sqlite import SqliteStore
from tests.deploy.house import HTTP_HOST, SECRET, House, Running, inhabited
from tests.servers import eventually, open_folder, require

RULES = """
[audit]
allows = true

[networks]
loop = ["127.0.0.2/32", "127.0.1.0/24"]

[[rules]]
name = "programs"
paths = ["/staff/programs/**"]
allow = ["group:staff & via:token"]
"""
REPORT = "/reports/q3.csv"


@pytest.fixture(scope="module")
def site() -> Iterator[Running]:
    with open_folder() as folder:
        house = House(folder, rules=RULES, workers=2)
        house.build()
        (house.files / "staff" / "programs").mkdir()
        (house.files / "staff" / "programs" / "data.txt").write_bytes(SECRET)
        with inhabited(house) as running:
            yield running


def command(site: Running, *arguments: str) -> str:
    result = CliRunner().invoke(token, [*arguments, "--config", str(site.house.config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def create(site: Running, *arguments: str, owner: str = "carol") -> str:
    return command(site, "create", "--owner", owner, *arguments).removesuffix("\n")


def listed(site: Running, text: str) -> dict[str, object]:
    rows: list[dict[str, object]] = json.loads(command(site, "list", "--json"))
    return next(row for row in rows if row["id"] == text.split("_")[1])


def curl(site: Running, path: str, *arguments: str) -> tuple[int, bytes]:
    port = site.house.http_port
    run = subprocess.run(
        [
            *(require("curl"), "-sS", "--noproxy", "*", "--resolve", f"{HTTP_HOST}:{port}:127.0.0.1"),
            *("-w", "\n%{http_code}", *arguments, f"http://{HTTP_HOST}:{port}{path}"),
        ],
        capture_output=True,
        check=True,
        timeout=30,
    )
    content, _, status = run.stdout.rpartition(b"\n")
    return int(status), content


def bearer(site: Running, text: str, path: str = REPORT, *arguments: str) -> int:
    return curl(site, path, "-H", f"Authorization: Bearer {text}", *arguments)[0]


def stored(site: Running, text: str) -> Token:
    async def get() -> Record | None:
        store = SqliteStore(site.house.folder / "state" / "authgate.db", time.time)
        try:
            return await store.get(KIND, text.split("_")[1])
        finally:
            await store.aclose()

    record = asyncio.run(get())
    assert record
    found = decode(record)
    assert found
    return found


def store_again(site: Running, changed: Token) -> None:
    async def put() -> None:
        store = SqliteStore(site.house.folder / "state" / "authgate.db", time.time)
        await store.announce(KIND, changed.record())
        await store.aclose()

    asyncio.run(put())


def test_curl_sends_a_token_as_bearer_or_as_a_password(site: Running) -> None:
    text = create(site)
    for arguments in (
        ("-H", f"Authorization: Bearer {text}"),
        ("-H", f"authorization: bEARER {text}"),
        ("-u", f"carol:{text}"),
        ("-u", f"anything:{text}"),
        ("--oauth2-bearer", text),
    ):
        status, content = curl(site, REPORT, *arguments)
        assert (status, content) == (200, b"q3: " + SECRET), arguments[0]
    assert curl(site, REPORT, "-u", f":{text}")[0] == 401
    assert curl(site, REPORT)[0] == 401
    line = site.logged(lambda: bearer(site, text))
    assert (line["user"], line["credential"]) == ("carol", "token")


def test_curl_resumes_a_download(site: Running) -> None:
    text = create(site)
    assert curl(site, REPORT, "-H", f"Authorization: Bearer {text}", "-C", "4") == (206, SECRET)


def test_wget_sends_a_token_as_a_password_when_it_is_asked_for_one(site: Running, tmp_path: Path) -> None:
    text = create(site)

    def wget(*arguments: str) -> bytes:
        port = site.house.http_port
        return subprocess.run(
            [
                *(require("wget"), "-q", "-O-", "--no-proxy", f"--header=Host: {HTTP_HOST}:{port}"),
                *(*arguments, f"http://127.0.0.1:{port}{REPORT}"),
            ],
            capture_output=True,
            check=False,
            timeout=30,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        ).stdout

    assert wget("--user=script", f"--password={text}") == b"q3: " + SECRET
    assert wget("--auth-no-challenge", "--user=script", f"--password={text}") == b"q3: " + SECRET
    assert wget(f"--header=Authorization: Bearer {text}") == b"q3: " + SECRET
    assert wget("--user=script", f"--password={text[:-1]}") == b""
    assert wget() == b""


def test_git_clones_over_http_with_a_token_as_the_password(site: Running, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }

    def git(*arguments: str) -> int:
        ran = [require("git"), *arguments]
        return subprocess.run(ran, capture_output=True, check=False, timeout=60, env=environment).returncode

    work, bare = str(tmp_path / "work"), str(site.house.files / "reports" / "repository.git")
    assert git("init", "-q", work) == 0
    (tmp_path / "work" / "file.txt").write_bytes(SECRET)
    assert git("-C", work, "add", ".") == 0
    assert git("-C", work, "commit", "-q", "-m", "first") == 0
    assert git("clone", "-q", "--bare", work, bare) == 0
    assert git("-C", bare, "update-server-info") == 0
    port = site.house.http_port
    resolve = ("-c", f"http.curloptResolve={HTTP_HOST}:{port}:127.0.0.1")

    def clone(text: str, into: str) -> int:
        address = f"http://x:{text}@{HTTP_HOST}:{port}/reports/repository.git"
        return git(*resolve, "clone", "-q", address, str(tmp_path / into))

    assert clone(create(site, "--path", "/reports/repository.git/**", "--method", "GET"), "good") == 0
    assert (tmp_path / "good" / "file.txt").read_bytes() == SECRET
    assert clone(create(site, "--path", "/reports/other.git/**"), "bad") != 0


@pytest.mark.parametrize(
    ("scope", "path", "arguments", "status"),
    [
        (("--path", "/reports/**"), REPORT, (), 200),
        (("--path", REPORT), REPORT, (), 200),
        (("--path", REPORT), "/staff/handbook.txt", (), 403),
        (("--path", "/report/**"), REPORT, (), 403),
        (("--path", "/reports/**"), "/reports/%2e%2e/staff/handbook.txt", ("--path-as-is",), 403),
        (("--path", "/Reports/**"), REPORT, (), 403),
        (("--method", "GET"), REPORT, (), 200),
        (("--method", "GET"), REPORT, ("-I",), 200),
        (("--method", "GET"), REPORT, ("-X", "DELETE"), 403),
        ((), REPORT, ("-X", "DELETE"), 405),
        (("--network", "loop"), REPORT, ("--interface", "127.0.0.2"), 200),
        (("--network", "loop"), REPORT, ("--interface", "127.0.1.77"), 200),
        (("--network", "loop"), REPORT, ("--interface", "127.0.0.3"), 403),
        (("--network", "loop"), REPORT, ("-H", "X-Forwarded-For: 127.0.0.2"), 403),
        (("--network", "loop"), REPORT, ("-H", "X-Authgate-Client: 127.0.0.2"), 403),
        (("--host", HTTP_HOST), REPORT, (), 200),
        (("--host", "files.example.com"), REPORT, (), 403),
        (("--api", "metrics"), REPORT, (), 403),
        (("--api", "metrics", "--path", "/**"), REPORT, (), 200),
        (("--path", "/reports/**"), "/public/hello.txt", (), 200),
        ((), "/home/alice/notes.txt", (), 403),
        ((), "/staff/programs/data.txt", (), 200),
    ],
)  # fmt: skip
def test_a_token_reaches_as_far_as_it_says_and_no_further_than_its_owner(
    site: Running, scope: Sequence[str], path: str, arguments: Sequence[str], status: int
) -> None:
    text = create(site, *scope)

    assert [bearer(site, text, path, *arguments) for _ in range(4)] == [status] * 4


def test_a_password_does_not_open_what_is_for_tokens(site: Running) -> None:
    with site.client(user="carol") as client:
        assert client.get("/staff/handbook.txt").status_code == 200
        assert client.get("/staff/programs/data.txt").status_code == 403


def test_outside_of_its_scope_a_browser_is_sent_to_no_login(site: Running) -> None:
    text = create(site, "--path", "/staff/**")
    headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Authorization": f"Bearer {text}"}
    with site.client() as client:
        answer = client.get(REPORT, headers=headers)
    assert answer.status_code == 403
    assert "location" not in answer.headers
    line = site.logged(lambda: bearer(site, text))
    assert line["reason"] == "scope_exceeded"


def test_odd_tokens_are_401_and_public_pages_stay_public(site: Running) -> None:
    text, other = create(site), create(site)
    _, name, secret = text.split("_")
    wrong = (
        text[:-1],
        text + text,
        f"{text} {text}",
        text.swapcase(),
        f"agt_{name.swapcase()}_{secret}",
        f"agt_{name}_{secret.swapcase()}",
        f"agt_{name}_{other.split('_')[2]}",
        f"agt__{secret}",
        "agt_" + "x" * 6000,
        text + "%00",
        text + "\xe4",
    )
    with site.client() as client:
        for one in wrong:
            octets = one.encode("latin-1")
            for header in (b"Bearer " + octets, b"Basic " + base64.b64encode(b"carol:" + octets)):
                answer = client.get(REPORT, headers={b"Authorization": header})
                # Too many of one id: the brake, which says so.
                assert answer.status_code in {401, 403}, one
                assert client.get("/public/hello.txt", headers={b"Authorization": header}).status_code == 200
        assert client.get(REPORT, headers={"Authorization": f"Bearer {other}"}).status_code == 200
    host = f"Host: {HTTP_HOST}:{site.house.http_port}\r\n"
    for fields in (
        f"Authorization: Bearer {text}\0\r\n",
        f"Authorization: Bearer agt_{'x' * 8192}\r\n",
        f"Authorization: Bearer {text}\r\nAuthorization: Bearer {text}\r\n",
    ):
        raw = site.raw(f"GET {REPORT} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n".encode())
        assert b" 400 " in raw.splitlines()[0]
        assert SECRET not in raw


def test_expired_is_said(site: Running) -> None:
    text = create(site)
    assert bearer(site, text) == 200
    # A note of the use that is still under way would write the old record again.
    eventually(lambda: listed(site, text)["last_use"] is not None, "the use is noted")
    store_again(site, replace(stored(site, text), expires=time.time() - 1))
    eventually(lambda: bearer(site, text) == 401, "it has expired")
    line = site.logged(lambda: bearer(site, text))
    assert (line["status"], line["reason"]) == (401, "expired")
    assert listed(site, text)["expired"] is True


def test_guesses_brake_the_guesser_and_never_the_owner(site: Running) -> None:
    text = create(site)
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    for _ in range(BY_CLIENT_AND_NAME):
        assert bearer(site, wrong, REPORT, "--interface", "127.0.3.1") == 401
    line = site.logged(lambda: bearer(site, wrong, REPORT, "--interface", "127.0.3.1"))
    assert line["reason"] == "too_many_attempts"
    # Whichever worker is asked.
    assert {bearer(site, text, REPORT, "--interface", "127.0.3.1") for _ in range(6)} == {403}
    assert {bearer(site, text, REPORT, "--interface", "127.0.3.2") for _ in range(6)} == {200}


def test_a_revoked_token_is_refused_by_both_workers_within_100_ms(site: Running) -> None:
    took = []
    for _ in range(3):
        text = create(site)
        headers = {"Authorization": f"Bearer {text}"}
        clients = [site.client() for _ in range(8)]
        for client in clients:
            assert client.get(REPORT, headers=headers).status_code == 200
        command(site, "revoke", text)
        began = time.monotonic()
        waiting = list(clients)
        while waiting:
            assert time.monotonic() < began + 5
            # Connections reach both workers.
            waiting = [one for one in waiting if any(one.get(REPORT, headers=headers).is_success for _ in range(2))]
        took.append(time.monotonic() - began)
        line = site.logged(lambda: bearer(site, text))  # noqa: B023 - asked at once
        assert line["reason"] in {"revoked", "bad_credential"}
        for client in clients:
            client.close()
    # The questions themselves take a part of it.
    assert min(took) < 0.2


def test_removed_groups_and_owners_count_for_tokens(site: Running) -> None:
    text = create(site)
    groups = site.house.folder / "groups"
    before = groups.read_text()
    try:
        groups.write_text(before.replace("finance: carol\n", ""))
        eventually(lambda: bearer(site, text) == 403, "the group is gone")
    finally:
        groups.write_text(before)
    eventually(lambda: all(bearer(site, text) == 200 for _ in range(8)), "it is back in both workers")
    people = site.house.folder / "users.htpasswd"
    before = people.read_text()
    try:
        people.write_text("".join(line for line in before.splitlines(True) if not line.startswith("carol:")))
        eventually(lambda: bearer(site, text) == 401, "the owner is gone")
        eventually(
            lambda: site.logged(lambda: bearer(site, text))["reason"] == "revoked", "the log says it in both workers"
        )
    finally:
        people.write_text(before)
    eventually(lambda: all(bearer(site, text) == 200 for _ in range(8)), "the owner is back in both workers")


def test_last_use_is_shown(site: Running) -> None:
    text = create(site)
    assert listed(site, text)["last_use"] is None
    assert bearer(site, text) == 200
    eventually(lambda: listed(site, text)["last_use"] is not None, "the use is noted")


def test_no_secret_is_in_logs_audit_or_files(site: Running) -> None:
    texts = [create(site), create(site)]
    secrets = [text.split("_")[2] for text in texts]
    wrong = secrets[1][:-1] + ("a" if secrets[1][-1] != "a" else "b")
    bearer(site, texts[0])
    bearer(site, texts[0], "/home/alice/notes.txt")
    bearer(site, texts[1][: -len(wrong)] + wrong)
    curl(site, REPORT, "-u", f"carol:{texts[1][: -len(wrong)]}{wrong}x")
    command(site, "revoke", texts[0])
    bearer(site, texts[0])
    written = b"".join(path.read_bytes() for path in site.house.folder.rglob("*") if path.is_file())
    assert b"scope_exceeded" in written
    assert b'"credential": "token"' in written or b'"credential":"token"' in written
    for secret in (*secrets, wrong):
        assert secret.encode() not in written
