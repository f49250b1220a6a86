"""deploy/container holds together: what compose.yaml mounts is what configuration and image are made for.

No engine runs here; `make test-install` executes the lines of both files.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from authgate.cli.init import init
from authgate.config import Settings, load
from tests.install.container import COMPOSE, CONTAINERFILE, instructions, preparation


@pytest.fixture
def services() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the first lines of compose.yaml make."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (line,) = (line for line in preparation() if " authgate init " in line)
    words = line.partition(" authgate init ")[2].replace("/setup", str(tmp_path)).split()
    result = CliRunner().invoke(init, words)
    assert result.exit_code == 0, result.output
    return tmp_path / "config"


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """Return what is mounted, by its place."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for name, argument in instructions(CONTAINERFILE.read_text()):
        if name == "FROM":
            current = found.setdefault(argument.rpartition(" ")[2], [])
        else:
            current.append((name, argument))
    return found


def test_both_have_the_folder_of_the_configured_sockets(services: Mapping[str, Any], config: Path) -> None:
    settings: Settings = load(config / "authgate.toml")

    for path in (settings.check_socket, settings.web_socket):
        assert [mounts(service)[str(path.parent)] for service in services.values()] == ["sockets", "sockets"]


def test_store_is_in_a_volume_of_authgate_alone(services: Mapping[str, Any], config: Path) -> None:
    folder = str(Path(load(config / "authgate.toml").store.removeprefix("sqlite:")).parent)

    assert mounts(services["authgate"])[folder] == "state"
    assert "state" not in mounts(services["nginx"]).values()


def test_configuration_is_where_the_image_looks_for_it(services: Mapping[str, Any]) -> None:
    (command,) = (argument for name, argument in stages()["authgate"] if name == "CMD")

    assert mounts(services["authgate"])["/etc/authgate"] == "./config"
    assert command.endswith('"/etc/authgate/authgate.toml"]')


def test_nginx_has_every_file_that_the_site_names(services: Mapping[str, Any], config: Path) -> None:
    mounted = mounts(services["nginx"])
    site = (config / "nginx/conf.d/authgate.conf").read_text()

    assert mounted["/etc/nginx/conf.d"] == "./config/nginx/conf.d"
    assert mounted["/etc/nginx/authgate"] == "./config/nginx/authgate"
    for name in re.findall(r"include (authgate/\S+);", site):
        assert (config / "nginx" / name).is_file(), name
    assert set(re.findall(r"^ {8}root (/srv\S+);", site, re.MULTILINE)) == {"/srv/files"}
    assert "/srv/files" in mounted
    ports = set(re.findall(r"^    listen (\d+)[ ;]", site, re.MULTILINE))
    assert {port.split(":")[1] for port in services["nginx"]["ports"]} == ports


def test_nginx_cannot_see_the_configuration_of_authgate(services: Mapping[str, Any]) -> None:
    assert not {"./config", "."} & set(mounts(services["nginx"]).values())


def test_user_is_that_of_the_image_and_gives_sockets_to_nginxs_group(services: Mapping[str, Any], config: Path) -> None:
    made = " ".join(argument for name, argument in stages()["authgate"] if name == "RUN")
    user, group = services["authgate"]["user"].split(":")

    assert f"--uid {user} --gid {user} " in made
    assert services["authgate"]["group_add"] == [user]
    assert f"sudo chgrp -R {user} config" in preparation()
    # The number of Debian's www-data, by its policy (base-passwd).
    assert (group, load(config / "authgate.toml").socket_group) == ("33", "www-data")
    assert ("USER", "authgate") in stages()["authgate"]


def test_nothing_is_writable_and_no_capability_is_left_but_nginxs(services: Mapping[str, Any]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in services["authgate"]
    assert services["authgate"]["network_mode"] == "none"
    configured = [volume for service in services.values() for volume in service["volumes"] if volume.startswith(".")]
    assert all(volume.endswith(":ro") for volume in configured)


def test_services_are_stages_of_the_containerfile(services: Mapping[str, Any]) -> None:
    for service in services.values():
        build = service["build"]
        assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == CONTAINERFILE.resolve()
        assert build["target"] in stages()
    assert services["nginx"]["depends_on"]["authgate"]["condition"] == "service_healthy"
    assert "HEALTHCHECK" in dict(stages()["authgate"])
