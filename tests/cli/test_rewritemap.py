"""What `authgate rewritemap` refuses before Apache can ask anything, and that it says nothing but answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.test_rewritemap import SITE, STAFF, running, settle
from tests.servers import PACKAGE_ROOT, eventually

LINK = '[links]\nkeys = "links.jwks"\n[[rules]]\nname = "shared"\npaths = ["/shared/**"]\nallow = ["link"]\n'
HANDLER = '[[rules]]\nname = "odd"\npaths = ["/odd/**"]\nallow = ["user:root", "handler:rights::may"]\n'


PRINTING = """
import atexit, os, threading, time
from pathlib import Path

def later():
    while not (Path(__file__).parent / "ready").exists():
        time.sleep(0.01)
    print("n OK thread", flush=True)
    os.system("echo n OK child")

print("n OK start")
atexit.register(print, "n OK end")
threading.Thread(target=later, daemon=True).start()
"""


def refused(folder: Path) -> str:
    command = [sys.executable, "-m", "authgate", "rewritemap", "--config", str(folder / "authgate.toml")]
    ended = subprocess.run(command, capture_output=True, input=b"n\n", cwd=PACKAGE_ROOT, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    return ended.stderr.decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            SITE + STAFF + LINK,
            'authgate.toml: rules[1] "shared": authgate rewritemap takes no uses of links',
        ),
        (SITE + STAFF + HANDLER, 'authgate.toml: rules[1] "odd": authgate rewritemap asks no handler'),
        (SITE + 'verify = "rights::verify"\n' + STAFF, "authgate.toml: users.verify: "),
        (SITE + "server_login = true\n" + STAFF, "authgate.toml: users.server_login: "),
        (SITE + 'server_login = true\nlookup = "rights::lookup"\n' + STAFF, "authgate.toml: users.lookup: "),
        ('store = "memory:"\nworkers = 1\n' + SITE + STAFF, "authgate.toml: store: the sessions of memory: live"),
    ],
)
def test_what_cannot_be_asked_while_apache_waits_is_refused_at_start(tmp_path: Path, text: str, said: str) -> None:
    settle(tmp_path, text)

    assert f"authgate: {said}" in refused(tmp_path)


def test_everything_is_refused_at_once(tmp_path: Path) -> None:
    settle(tmp_path, SITE + "server_login = true\n" + STAFF + HANDLER)

    said = refused(tmp_path)

    assert "users.server_login" in said
    assert 'rules[1] "odd"' in said


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    settle(tmp_path)
    for path in (tmp_path / "state").iterdir():
        path.unlink()

    assert "authgate.db does not exist" in refused(tmp_path)
    assert not list((tmp_path / "state").iterdir())


def test_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "authgate.toml").write_text("sites = 1")

    assert refused(tmp_path).startswith("authgate: authgate.toml: ")


def test_without_apache_it_says_who_starts_it(tmp_path: Path) -> None:
    settle(tmp_path)
    command = [sys.executable, "-m", "authgate", "rewritemap", "--config", str(tmp_path / "authgate.toml")]

    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, cwd=PACKAGE_ROOT, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"hint: Apache starts this command" in ended.stderr


def test_what_other_code_prints_does_not_reach_apache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(tmp_path)
    more = tmp_path / "more"
    more.mkdir()
    # Imported by Python itself, before anything of authgate.
    (more / "sitecustomize.py").write_text(PRINTING)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(more), os.environ.get("PYTHONPATH", "")]))

    with running(tmp_path) as program:
        (more / "ready").touch()
        eventually(lambda: "n OK child" in program.log(), "the others have printed")
        assert program.ask() == "n DENY 401"
        assert not program.is_answered(0)
        assert program.process.stdin
        program.process.stdin.close()
        assert program.process.wait(10) == 0
        assert os.read(program.answers, 1) == b""
        assert all(f"n OK {when}\n" in program.log() for when in ("start", "thread", "child", "end"))
