"""``authgate demo --server apache``: the same people get the same, and nothing is left."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.deploy.test_demo import MAY, PEOPLE, Demo

WITHOUT = "import shutil; shutil.which = lambda *_, **__: None; from authgate.cli import main; main({})"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    servers.require("apache2")
    port = servers.free_port()
    command = [sys.executable, "-m", "authgate", "demo", "--server", "apache", "--port", str(port)]
    with servers.child(command, tmp_path_factory.mktemp("demo") / "output.log") as server:
        ready = f"authgate: ready http://127.0.0.1:{port}/\n"
        servers.eventually(lambda: ready in server.text(), "the demonstration is ready", server)
        yield Demo(server, port)


@pytest.mark.parametrize("path", MAY)
def test_file_is_for_those_it_is_for(demo: Demo, path: str) -> None:
    statuses = {user: demo.get(path, user, Range="bytes=0-9").status_code for user in (None, *PEOPLE)}

    assert {user for user, status in statuses.items() if status == 206} == MAY[path]
    assert {status for user, status in statuses.items() if user and user not in MAY[path]} <= {403}
    assert statuses[None] in {206, 401}


def test_both_names_of_the_site_and_no_other(demo: Demo) -> None:
    for host, status in ((f"localhost:{demo.port}", 200), (f"127.0.0.1:{demo.port}", 200), ("evil.example", 421)):
        assert demo.get("/", Host=host).status_code == status
    assert "Apache serves them" in demo.get("/").text


def test_download_goes_on_where_it_was(demo: Demo, tmp_path: Path) -> None:
    whole = (demo.folder / "site" / "media" / "big.bin").read_bytes()
    partial = tmp_path / "big.bin"
    partial.write_bytes(whole[: 40 << 20])
    command = [servers.require("curl"), "-fsS", "-u", "bob:bob-demo", "-C", "-", "-o", str(partial)]

    subprocess.run([*command, f"{demo.origin}/media/big.bin"], check=True)

    assert partial.read_bytes() == whole


def test_decisions_are_in_the_access_log(demo: Demo) -> None:
    demo.get("/staff/handbook.txt", "alice")

    log = demo.folder / "logs" / "access.log"
    servers.eventually(lambda: re.search(r" alice .*/staff/handbook.txt", log.read_text()), "a line about alice")


def test_secrets_are_closed_to_others(demo: Demo) -> None:
    closed = {path.name for path in demo.folder.rglob("*") if path.is_file() and not path.stat().st_mode & 0o077}

    assert {"fastcgi.secret", "authgate-secret.conf", "users.htpasswd"} <= closed


def test_sigterm_ends_everything_and_leaves_nothing_behind(demo: Demo) -> None:
    """The last test of this module but one: the demonstration is gone after it."""
    folder, family = demo.folder, demo.server.family()

    demo.server.process.send_signal(signal.SIGTERM)

    assert demo.server.process.wait(servers.DEADLINE) == 0
    assert not folder.exists()
    assert len(family) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in family)
    with pytest.raises(httpx.ConnectError):
        demo.get("/")


def test_without_apache_it_says_what_to_install() -> None:
    arguments = ["demo", "--server", "apache", "--port", str(servers.free_port())]

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(arguments)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("authgate: Apache is not installed")
    assert "hint: apt install apache2" in done.stderr
