"""Access tokens through Apache's FastCGI authorizer, two workers behind it."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from authgate.cli.token import token
from tests.deploy.house import HTTP_HOST, SECRET
from tests.deploy_apache.house import Running, house_of
from tests.servers import eventually, open_folder, require

REPORT = "/reports/q3.csv"


@pytest.fixture(scope="module")
def site() -> Iterator[Running]:
    networks = '[networks]\nloop = ["127.0.0.2/32"]\n'
    with open_folder() as folder, house_of(folder, workers=2, rules=networks) as running:
        yield running


def command(site: Running, *arguments: str) -> str:
    result = CliRunner().invoke(token, [*arguments, "--config", str(site.house.config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def create(site: Running, *arguments: str) -> str:
    return command(site, "create", "--owner", "carol", *arguments).removesuffix("\n")


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


def test_a_token_comes_as_bearer_or_as_a_password(site: Running) -> None:
    text = create(site)
    for arguments in (("-H", f"Authorization: Bearer {text}"), ("-u", f"anything:{text}")):
        assert curl(site, REPORT, *arguments) == (200, b"q3: " + SECRET)
    assert curl(site, REPORT, "-u", f"carol:{text[:-1]}")[0] == 401
    assert curl(site, REPORT)[0] == 401


def test_wget_sends_it_when_it_is_asked(site: Running, tmp_path: Path) -> None:
    port = site.house.http_port
    text = create(site)
    run = subprocess.run(
        [
            *(require("wget"), "-q", "-O-", "--no-proxy", f"--header=Host: {HTTP_HOST}:{port}"),
            *("--user=script", f"--password={text}", f"http://127.0.0.1:{port}{REPORT}"),
        ],
        capture_output=True,
        check=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert run.stdout == b"q3: " + SECRET


@pytest.mark.parametrize(
    ("scope", "path", "arguments", "status"),
    [
        (("--path", "/reports/**"), REPORT, (), 200),
        (("--path", "/staff/**"), REPORT, (), 403),
        (("--method", "GET"), REPORT, ("-I",), 200),
        (("--method", "POST"), REPORT, (), 403),
        (("--network", "loop"), REPORT, ("--interface", "127.0.0.2"), 200),
        (("--network", "loop"), REPORT, (), 403),
        (("--host", "files.example.com"), REPORT, (), 403),
        (("--api", "metrics"), REPORT, (), 403),
        ((), "/home/alice/notes.txt", (), 403),
    ],
)
def test_a_token_reaches_as_far_as_it_says(
    site: Running, scope: Sequence[str], path: str, arguments: Sequence[str], status: int
) -> None:
    text = create(site, *scope)

    given = ("-H", f"Authorization: Bearer {text}", *arguments)
    assert [curl(site, path, *given)[0] for _ in range(3)] == [status] * 3


def test_odd_tokens_are_refused(site: Running) -> None:
    text = create(site)
    for one in (text * 2, text.swapcase(), "agt_" + "x" * 6000, text + "\xe4"):
        octets = one.encode("latin-1")
        for header in (b"Bearer " + octets, b"Basic " + base64.b64encode(b"carol:" + octets)):
            with site.client() as client:
                answer = client.get(REPORT, headers={b"Authorization": header})
            assert answer.status_code == 401, one
            assert SECRET not in answer.content


def test_a_revoked_token_is_refused(site: Running) -> None:
    text = create(site)
    assert curl(site, REPORT, "-u", f"x:{text}")[0] == 200
    eventually(lambda: json.loads(command(site, "list", "--json"))[0]["last_use"], "the use is noted")
    command(site, "revoke", text)
    eventually(lambda: [curl(site, REPORT, "-u", f"x:{text}")[0] for _ in range(6)] == [401] * 6, "both workers know")


def test_no_secret_is_in_logs(site: Running) -> None:
    text = create(site, "--path", "/staff/**")
    curl(site, REPORT, "-u", f"carol:{text}")
    curl(site, REPORT, "-H", f"Authorization: Bearer {text}")
    written = b"".join(path.read_bytes() for path in site.house.folder.rglob("*") if path.is_file())
    assert b"scope_exceeded" in written
    assert text.split("_")[2].encode() not in written
