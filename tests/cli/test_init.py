"""`authgate init` in a folder of one's own; what root gets on a whole machine is in tests/install."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from authgate.cli.init import init
from authgate.config import load
from tests import servers

SITE = "http://files.example.com"


@pytest.fixture(autouse=True)
def nobody_special(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never as root: it would be this machine that is configured."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(init, [str(argument) for argument in arguments])


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_writes_all_that_is_needed_and_says_where_it_belongs(tmp_path: Path) -> None:
    folder = tmp_path / "gate"

    result = run("--site", SITE, "--config-dir", folder)

    assert result.exit_code == 0, result.output
    said = dict(re.findall(r"^wrote (\S+) \(belongs to (\S+)\)$", result.stdout, re.MULTILINE))
    assert {Path(path) for path in said} == {path for path in folder.rglob("*") if path.is_file()}
    assert {said[str(folder / name)] for name in ("authgate.toml", "users.htpasswd", "groups")} == {
        f"/etc/authgate/{name}" for name in ("authgate.toml", "users.htpasswd", "groups")
    }
    assert said[str(folder / "nginx/conf.d/authgate.conf")] == "/etc/nginx/conf.d/authgate.conf"
    assert said[str(folder / "systemd/system/authgate.socket")] == "/etc/systemd/system/authgate.socket"
    assert said[str(folder / "logrotate.d/authgate")] == "/etc/logrotate.d/authgate"


def test_says_what_to_run_then(tmp_path: Path) -> None:
    said = run("--site", SITE, "--config-dir", tmp_path / "gate").stdout

    commands = [line.strip() for line in said.partition("as root:")[2].strip().splitlines()]
    assert commands[0].startswith("useradd --system ")
    assert commands[-3:] == [
        "authgate user add NAME --group members",
        "systemctl enable --now authgate",
        "systemctl reload nginx",
    ]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_people_are_for_owner_and_group_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "gate"
    before = os.umask(umask)
    try:
        assert run("--site", SITE, "--config-dir", folder).exit_code == 0
    finally:
        os.umask(before)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert [modes[name] for name in ("authgate.toml", "users.htpasswd", "groups")] == [0o640] * 3
    assert (modes["gate"], modes["nginx"], modes["authgate-protect.conf"]) == (0o750, 0o755, 0o644)


def test_configuration_is_sound_and_absolute_and_admits_members_only(tmp_path: Path) -> None:
    run("--site", SITE, "--site", "https://docs.example.com:8443", "--config-dir", tmp_path / "gate")

    settings = load(tmp_path / "gate" / "authgate.toml")

    assert [site.origin for site in settings.sites] == [SITE, "https://docs.example.com:8443"]
    assert settings.store == "sqlite:/var/lib/authgate/authgate.db"
    assert (str(settings.check_socket), str(settings.web_socket)) == (
        "/run/authgate/check.sock",
        "/run/authgate/web.sock",
    )
    assert settings.socket_group == "www-data"
    (rule,) = settings.policy.rules
    assert [term.text for term in rule.allow or ()] == ["group:members"]
    assert settings.htpasswd == tmp_path / "gate" / "users.htpasswd"


def test_units_and_configuration_name_the_same_sockets_group_and_file(tmp_path: Path) -> None:
    run("--site", SITE, "--config-dir", tmp_path / "gate")
    units = tmp_path / "gate" / "systemd" / "system"
    socket, service = (units / "authgate.socket").read_text(), (units / "authgate.service").read_text()

    settings = load(tmp_path / "gate" / "authgate.toml")

    assert re.findall(r"^ListenStream=(.+)$", socket, re.MULTILINE) == [
        str(settings.check_socket), str(settings.web_socket)
    ]  # fmt: skip
    assert f"\nSocketGroup={settings.socket_group}\n" in socket
    assert "\nSocketMode=0660\n" in socket
    for key, verb in (("ExecStart", "serve"), ("ExecReload", "reload")):
        assert re.search(rf"^{key}=/\S+/authgate {verb} --config /etc/authgate/authgate\.toml$", service, re.MULTILINE)


def test_folder_of_the_sockets_belongs_to_the_service_before_they_are_in_it(tmp_path: Path) -> None:
    """Else systemd gives RuntimeDirectory= to the service with the sockets in it, out of nginx's reach (measured)."""
    run("--site", SITE, "--config-dir", tmp_path / "gate")
    units = tmp_path / "gate" / "systemd" / "system"

    assert (
        "\nExecStartPre=/usr/bin/install -d -m 0755 -o authgate -g authgate /run/authgate\n"
        in (units / "authgate.socket").read_text()
    )
    assert {"RuntimeDirectory=authgate", "RuntimeDirectoryPreserve=yes", "User=authgate"} <= set(
        (units / "authgate.service").read_text().splitlines()
    )


def test_units_are_taken_by_systemd(tmp_path: Path) -> None:
    run("--site", SITE, "--config-dir", tmp_path / "gate")
    units = sorted((tmp_path / "gate" / "systemd" / "system").iterdir())

    said = subprocess.run(
        [servers.require("systemd-analyze"), "verify", *units], capture_output=True, text=True, check=False
    ).stderr

    assert not [line for line in said.splitlines() if "authgate" in line and "is not executable" not in line]


def test_folder_to_protect_is_what_nginx_serves(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()

    result = run("--site", SITE, "--folder", tmp_path / "files", "--config-dir", tmp_path / "gate")

    site = (tmp_path / "gate/nginx/conf.d/authgate.conf").read_text()
    assert f"root {tmp_path}/files;" in site
    assert "/srv/files" not in site
    assert "no folder" not in result.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "gate"
    assert run("--site", SITE, "--config-dir", folder).exit_code == 0
    (folder / "users.htpasswd").write_text("alice:hash\n")
    (folder / "groups").unlink()
    (folder / "groups").symlink_to("nowhere")
    before = files(folder)

    again = run("--site", SITE, "--config-dir", folder)

    assert again.exit_code == 0, again.output
    assert files(folder) == before
    assert (folder / "groups").is_symlink()
    assert not (folder / "nowhere").exists()
    assert "wrote" not in again.stdout
    assert again.stdout.count("left as it is: ") == len(before) + 1


def test_configuration_that_is_there_decides_what_the_rest_says(tmp_path: Path) -> None:
    (tmp_path / "authgate.toml").write_text(
        '[[sites]]\norigin = "http://old.example.com"\n[listen]\ncheck = "unix:/x/c"\n'
    )

    result = run("--site", SITE, "--config-dir", tmp_path)

    assert result.exit_code == 0, result.output
    assert "server_name old.example.com;" in (tmp_path / "nginx/conf.d/authgate.conf").read_text()
    assert "unix:/x/c;" in (tmp_path / "nginx/authgate/authgate-http.conf").read_text()
    assert f"was there before, and has no site {SITE}" in result.stderr


def test_missing_certificate_is_named(tmp_path: Path) -> None:
    result = run("--site", "https://files.example.com", "--config-dir", tmp_path / "gate")

    assert "there is no /etc/ssl/files.example.com/fullchain.pem yet" in result.stderr


@pytest.mark.parametrize(
    "origin", ["files.example.com", "ftp://x", 'http://x"\nrealm = "y', "http://x/path", "http://\udcff", ""]
)
def test_origin_that_is_none_is_refused_and_nothing_is_written(tmp_path: Path, origin: str) -> None:
    result = run("--site", origin, "--config-dir", tmp_path / "gate")

    assert result.exit_code == 2
    assert "origin" in result.stderr
    assert not (tmp_path / "gate").exists()


@pytest.mark.parametrize("name", ["a b", "a;b", "a$b", "a%b", "a\nb"])
@pytest.mark.parametrize("option", ["--folder", "--config-dir"])
def test_path_that_nginx_or_systemd_would_read_otherwise_is_refused(tmp_path: Path, name: str, option: str) -> None:
    more = ["--config-dir", tmp_path / "gate"] if option == "--folder" else []

    result = run("--site", SITE, option, tmp_path / name, *more)

    assert result.exit_code == 2
    assert "read alike" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/", "/etc", "/etc/authgate", "/var/lib", "/var/lib/authgate/x"])
def test_folder_with_authgates_own_files_is_not_served(tmp_path: Path, folder: str) -> None:
    result = run("--site", SITE, "--folder", folder, "--config-dir", tmp_path / "gate")

    assert result.exit_code == 2
    assert "own files" in result.stderr
    assert not (tmp_path / "gate").exists()


def test_usual_folder_needs_root() -> None:
    result = run("--site", SITE)

    assert result.exit_code == 1
    assert "--config-dir DIR" in result.stderr


def test_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = run("--site", SITE, "--config-dir", tmp_path / "file" / "gate")

    assert result.exit_code == 1
    assert "file: file exists" in result.stderr
    assert "Traceback" not in result.output


def test_site_is_required(tmp_path: Path) -> None:
    assert run("--config-dir", tmp_path / "gate").exit_code == 2
    assert not (tmp_path / "gate").exists()
