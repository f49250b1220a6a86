"""`check` and `web` on TCP ports: the service, its reload and its audit."""

import json
import stat
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from authgate.cli.reload import reload
from tests import servers
from tests.server.test_supervisor import RULES, House

SECRET = "s9" * 20
NGINX = {
    "X-Authgate-Path": "/x",
    "X-Authgate-Method": "GET",
    "X-Authgate-Host": "localhost",
    "X-Authgate-Scheme": "http",
    "X-Authgate-Client": "192.0.2.1",
}
CADDY = {
    "X-Forwarded-Uri": "/x",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-For": "192.0.2.1",
}


def get(port: int, path: str, fields: dict[str, str]) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=fields, trust_env=False)


def test_a_service_on_ports_hears_only_who_may_ask_and_is_reloaded() -> None:
    with servers.open_folder() as folder:
        house = House(folder)
        check, web = servers.free_port(), servers.free_port()
        (folder / "check.secret").touch(0o600)
        (folder / "check.secret").write_text(SECRET)
        listen = f'[listen]\ncheck = "127.0.0.1:{check}"\nweb = "127.0.0.1:{web}"\ncheck_secret_file = "check.secret"\n'
        top = f'trusted_proxies = ["127.0.0.1"]\n{listen}[audit]\nfile = "audit.log"\n'
        house.configure(top=top)
        with house.serving() as server:
            secret = {"X-Authgate-Secret": SECRET}
            assert get(check, "/check", {**NGINX, **secret}).status_code == 200
            assert get(check, "/forward", {**CADDY, **secret}).status_code == 200
            assert get(web, "/authgate/login", {**NGINX, **secret}).status_code == 200
            assert get(web, "/authgate/login", {**CADDY, **secret}).status_code == 200
            for port, path, fields in (
                (check, "/check", NGINX),
                (check, "/forward", CADDY),
                (web, "/authgate/login", NGINX),
                (web, "/authgate/login", CADDY),
                (web, "/authgate/login", {**NGINX, **CADDY, **secret}),
            ):
                refused = get(port, path, fields)
                assert (refused.status_code, refused.headers["x-authgate-reason"]) == (403, "untrusted_peer")
                servers.eventually(lambda: said(folder).pop() == refused.headers["x-authgate-decision"], "audited")  # noqa: B023
            assert not list((folder / "run").glob("*.sock"))
            assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o755

            house.configure(top=top, rules=RULES.format(name="second"))
            result = CliRunner().invoke(reload, ["--config", str(house.config)])

            assert (result.exit_code, result.stderr) == (0, "")
            assert get(check, "/check", {**NGINX, **secret}).headers["x-authgate-rule"] == "second"
            moved = top.replace(str(check), str(servers.free_port()))
            house.configure(top=moved)
            reloaded = CliRunner().invoke(reload, ["--config", str(house.config)])
            assert "nothing answers on 127.0.0.1:" in reloaded.stderr
        assert "Traceback" not in server.text()
        assert not list((folder / "run").iterdir())


def said(folder: Path) -> list[str]:
    """Return which decisions were written down for peers that nobody trusts."""
    lines = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    return [""] + [line["id"] for line in lines if line.get("reason") == "untrusted_peer"]


@pytest.mark.parametrize("key", ["check", "web"])
def test_a_port_that_is_taken_is_a_clear_error(key: str) -> None:
    with servers.open_folder() as folder, httpx.Client():
        house = House(folder)
        port = servers.free_port()
        house.configure(top=f'trusted_proxies = ["127.0.0.1"]\n[listen]\n{key} = "127.0.0.1:{port}"\n')
        other = "web" if key == "check" else "check"
        with house.serving():
            again = House(folder / "again")
            again.folder.mkdir()
            listen = f'[listen]\n{key} = "127.0.0.1:{port}"\n{other} = "unix:x.sock"\n'
            again.configure(top=f'trusted_proxies = ["127.0.0.1"]\n{listen}')
            status, words = again.serve_in_vain()

    assert status == 2
    assert f"listen.{key}: cannot listen on 127.0.0.1:{port}: address already in use" in words
