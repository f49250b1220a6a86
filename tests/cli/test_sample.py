"""The demonstration's files as they are laid out."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.cli.sample import lay_out
from authgate.credentials import hashes
from authgate.credentials.users import LocalUsers
from tests import servers


@pytest.fixture
def folder() -> Iterator[Path]:
    before = os.umask(0o077)
    try:
        with servers.open_folder() as made:
            yield made
    finally:
        os.umask(before)


def test_everything_but_secrets_can_be_read_by_others_under_any_umask(folder: Path) -> None:
    lay_out(folder, 8080, nginx=True)

    closed = {path.name for path in folder.rglob("*") if not path.stat().st_mode & stat.S_IROTH}
    assert closed == {"users.htpasswd"}


def test_port_is_in_every_place(folder: Path) -> None:
    settings = lay_out(folder, 9123, nginx=True)

    assert [site.origin for site in settings.sites] == ["http://127.0.0.1:9123", "http://localhost:9123"]
    assert (folder / "nginx.conf").read_text().count("127.0.0.1:9123") == 2
    for name in ("nginx.conf", "authgate.toml"):
        assert "8080" not in (folder / name).read_text()


def test_people_and_their_groups(folder: Path) -> None:
    settings = lay_out(folder, 8080, nginx=False)
    users = LocalUsers(settings.htpasswd, settings.groups)
    users.load()

    found = {name: users.subject(name) for name in ("alice", "bob", "carol")}
    assert {name: sorted(subject.groups or ()) for name, subject in found.items() if subject} == {
        "alice": ["staff"],
        "bob": [],
        "carol": ["admin", "finance", "staff"],
    }
    assert hashes.verify(users.find("bob") or "", b"bob-demo")


def test_big_file_tells_its_blocks_apart(folder: Path) -> None:
    lay_out(folder, 8080, nginx=False)

    with (folder / "site" / "media" / "big.bin").open("rb") as file:
        blocks = {file.read(1 << 16) for _ in range(1024)}
        assert not file.read(1)
    assert len(blocks) == 1024
    assert {len(block) for block in blocks} == {1 << 16}


def test_start_page_links_every_sample_file(folder: Path) -> None:
    lay_out(folder, 8080, nginx=True)

    site = folder / "site"
    page = (site / "index.html").read_text()
    files = {f"/{path.relative_to(site)}" for path in site.rglob("*") if path.is_file()}
    assert {name for name in files if f'href="{name}"' in page} == {
        name for name in files if not name.startswith("/page/demo.js") and name != "/index.html"
    }


@pytest.mark.parametrize("nginx", [True, False])
def test_start_page_says_development_only_where_nginx_is_missing(folder: Path, nginx: bool) -> None:
    lay_out(folder, 8080, nginx=nginx)

    assert ("Development only" in (folder / "site" / "index.html").read_text()) is not nginx


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start nginx's workers as somebody else")
def test_root_gives_the_sockets_to_the_group_of_nginxs_workers(folder: Path) -> None:
    settings = lay_out(folder, 8080, nginx=True)

    assert settings.socket_group
    assert f" {settings.socket_group};" in (folder / "nginx.conf").read_text().splitlines()[2]
