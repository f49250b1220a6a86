"""Handlers of a running service: imported at start, anew at each reload, and kept when that fails."""

import signal
from pathlib import Path

import httpx

from tests import servers

CONFIG = """
workers = 1
[[sites]]
origin = "http://localhost"
[[rules]]
name = "r"
paths = ["/**"]
allow = ["handler:site_rights::f"]
"""
ALLOWS = "from authgate import allow, deny\ndef f(request):\n    return allow()\n"
DENIES = ALLOWS.replace("return allow", "return deny")


def status(folder: Path) -> int:
    """Ask on a connection of its own."""
    named = {"Path": "/x", "Method": "GET", "Host": "localhost", "Scheme": "http", "Client": "192.0.2.1"}
    headers = {f"X-Authgate-{name}": value for name, value in named.items()}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "run" / "check.sock"))) as client:
        return client.get("http://authgate/check", headers=headers).status_code


def reload(server: servers.Server, word: str) -> None:
    """Send SIGHUP and wait for the log to say `word` once more than before."""
    before = server.text().count(word)
    server.process.send_signal(signal.SIGHUP)
    servers.eventually(lambda: server.text().count(word) > before, word, server)


def test_reload_imports_handlers_anew_and_keeps_the_old_ones_when_that_fails() -> None:
    with servers.open_folder() as folder:
        (folder / "authgate.toml").write_text(CONFIG)
        module = folder / "site_rights.py"
        module.write_text(ALLOWS)
        with servers.authgate(folder / "authgate.toml") as server:
            assert status(folder) == 200

            module.write_text(DENIES)
            assert status(folder) == 200
            reload(server, "configuration reloaded")
            assert status(folder) == 403

            for broken in ("def f(request:\n", "raise OSError('away')\n", "import sys\nsys.exit()\n", "f = 1\n"):
                module.write_text(broken)
                reload(server, "the one before stays in force")
                assert status(folder) == 403

            module.write_text(ALLOWS)
            reload(server, "configuration reloaded")
            assert status(folder) == 200


def test_setup_that_fails_keeps_the_old_handlers_and_close_is_called_at_the_end() -> None:
    with servers.open_folder() as folder:
        (folder / "authgate.toml").write_text(CONFIG)
        module = folder / "site_rights.py"
        module.write_text(
            f"{ALLOWS}from pathlib import Path\ndef close():\n    Path(__file__).with_name('closed').touch()\n"
        )
        with servers.authgate(folder / "authgate.toml") as server:
            module.write_text(f"{DENIES}def setup():\n    raise OSError('no database')\n")
            reload(server, "the one before stays in force")

            assert "setup() failed: OSError: no database" in server.text()
            assert status(folder) == 200
            assert not (folder / "closed").exists()

        assert (folder / "closed").exists()
