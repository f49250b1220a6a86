"""Sockets as the parent binds them: who may use them, and what stands in the way."""

import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from authgate.errors import ConfigError
from authgate.server.sockets import listen
from tests import servers


@pytest.fixture
def folder() -> Iterator[Path]:
    with servers.open_folder() as made:
        yield made


def refusal(path: Path, group: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        listen("authgate.toml: listen.check", path, group)
    [problem] = caught.value.problems
    assert problem.place == "authgate.toml: listen.check"
    return f"{problem.message} | {problem.hint}"


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_socket_is_for_owner_and_group_only(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        listener = listen("listen.check", folder / "check.sock", None)
    finally:
        os.umask(before)

    assert stat.S_IMODE(listener.path.stat().st_mode) == 0o660
    assert answers(listener.path)
    listener.close()


def test_umask_is_as_before(folder: Path) -> None:
    before = os.umask(0o027)
    try:
        listen("listen.check", folder / "check.sock", None).close()
        assert os.umask(before) == 0o027
    finally:
        os.umask(before)


def test_socket_is_given_to_the_group(folder: Path) -> None:
    # Root may give it to any group, others only to one of their own.
    gid = next(entry.gr_gid for entry in grp.getgrall() if entry.gr_gid) if os.geteuid() == 0 else os.getgroups()[0]

    listener = listen("listen.check", folder / "check.sock", grp.getgrgid(gid).gr_name)

    assert listener.path.stat().st_gid == gid
    assert stat.S_IMODE(listener.path.stat().st_mode) == 0o660
    listener.close()


def test_unknown_group_is_refused_and_leaves_no_socket(folder: Path) -> None:
    message = refusal(folder / "check.sock", "no-such-group")

    assert message.startswith('there is no group "no-such-group" | listen.group is a group of this machine')
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may give a socket to any group")
def test_group_that_one_is_not_a_member_of_is_refused(folder: Path) -> None:
    foreign = next(entry.gr_name for entry in grp.getgrall() if entry.gr_gid not in os.getgroups())

    assert refusal(folder / "check.sock", foreign).startswith(f'may not give it to "{foreign}"')
    assert list(folder.iterdir()) == []


def test_missing_folder_is_made_and_open_to_the_web_server(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        listener = listen("listen.check", folder / "run" / "check.sock", None)
    finally:
        os.umask(before)

    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o755
    listener.close()


def test_folder_that_exists_keeps_its_mode(folder: Path) -> None:
    folder.chmod(0o710)

    listen("listen.check", folder / "check.sock", None).close()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o710


def test_socket_that_nobody_answers_on_is_replaced(folder: Path) -> None:
    path = folder / "check.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    listener = listen("listen.check", path, None)

    assert answers(path)
    listener.close()


def test_socket_that_somebody_answers_on_stays(folder: Path) -> None:
    path = folder / "check.sock"
    living = listen("listen.check", path, None)

    assert refusal(path) == f"another authgate is running on {path} | stop it first"
    assert answers(path)
    living.close()


def test_socket_whose_queue_is_full_stays(folder: Path) -> None:
    path = folder / "check.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            clients.append(client)
            if client.connect_ex(str(path)):
                break

        assert "another authgate is running" in refusal(path)

        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_stays(folder: Path, kind: str) -> None:
    path = folder / "check.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / "elsewhere")

    assert "exists and is no socket" in refusal(path)
    assert path.lstat()


def test_folder_that_cannot_be_made_is_reported(folder: Path) -> None:
    (folder / "run").write_text("a file")

    assert refusal(folder / "run" / "check.sock").startswith(f"cannot listen on {folder}/run/check.sock: ")


def test_closing_removes_the_file(folder: Path) -> None:
    listener = listen("listen.check", folder / "check.sock", None)

    listener.close()

    assert not listener.path.exists()


def test_closing_leaves_a_successors_socket(folder: Path) -> None:
    path = folder / "check.sock"
    first = listen("listen.check", path, None)
    path.unlink()
    second = listen("listen.check", path, None)

    first.close()

    assert answers(path)
    second.close()


def test_closing_twice_leaves_a_successors_socket(folder: Path) -> None:
    path = folder / "check.sock"
    first = listen("listen.check", path, None)
    first.close()
    second = listen("listen.check", path, None)

    first.close()

    assert answers(path)
    second.close()
