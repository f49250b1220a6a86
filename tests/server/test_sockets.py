"""Sockets as the parent binds them: who may use them, and what stands in the way."""

import fcntl
import grp
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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


# Sockets that systemd hands over


@dataclass(frozen=True, slots=True)
class Handed:
    """What `take` says about itself, on one line of JSON."""

    listeners: dict[str, str]
    problem: str
    hint: str
    left: list[str]
    inheritable: bool


# Takes what it was given, as `serve` would, and says what came of it.
_TAKE = """
import json, os, sys
from pathlib import Path
from authgate.errors import ConfigError
from authgate.server.sockets import inherit
if os.environ.get("LISTEN_PID") == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
folder, group = Path(sys.argv[1]), sys.argv[2] or None
paths = {name: folder / f"{name}.sock" for name in ("check", "web")}
said = {"listeners": {}, "problem": "", "hint": "", "inheritable": False}
try:
    found = inherit("authgate.toml: listen", paths, group)
    said["listeners"] = {name: str(listener.path) for name, listener in found.items()}
    said["inheritable"] = any(listener.socket.get_inheritable() for listener in found.values())
    for listener in found.values():
        listener.close()
except ConfigError as error:
    [problem] = error.problems
    said |= {"problem": f"{problem.place}: {problem.message}", "hint": problem.hint}
said["left"] = [name for name in os.environ if name.startswith("LISTEN_")]
print(json.dumps(said))
"""


def bound(path: Path, kind: int = socket.SOCK_STREAM, *, mode: int = 0o660, listening: bool = True) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(str(path))
    path.chmod(mode)
    if listening and kind == socket.SOCK_STREAM:
        made.listen()
    return made


def hand_over(folder: Path, *files: int, pid: str = "own", count: str = "", group: str = "") -> Handed:
    """Start a process with these descriptors as 3, 4, ... and no others, as systemd does."""
    environment = {"LISTEN_PID": pid, "LISTEN_FDS": count or str(len(files)), "LISTEN_FDNAMES": "x", "PATH": "/bin"}
    # Out of the way first, so that none is overwritten before it is copied.
    copies = [fcntl.fcntl(file, fcntl.F_DUPFD, 100) for file in files]
    actions = [(os.POSIX_SPAWN_DUP2, copy, 3 + number) for number, copy in enumerate(copies)]
    read, write = os.pipe()
    command = [sys.executable, "-c", _TAKE, str(folder), group]
    child = os.posix_spawn(
        sys.executable,
        command,
        environment | {"PYTHONPATH": str(servers.PACKAGE_ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), *actions],
    )
    for descriptor in (write, *copies):
        os.close(descriptor)
    with os.fdopen(read) as stream:
        said = stream.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return Handed(**json.loads(said))


def test_sockets_of_systemd_are_known_by_their_paths_and_left_in_place(folder: Path) -> None:
    with bound(folder / "web.sock") as web, bound(folder / "check.sock") as check:
        handed = hand_over(folder, web.fileno(), check.fileno())

        assert handed.problem == ""
        assert handed.listeners == {name: str(folder / f"{name}.sock") for name in ("web", "check")}
        assert (handed.left, handed.inheritable) == ([], False)
        assert answers(folder / "check.sock")
        assert answers(folder / "web.sock")


def test_socket_of_systemd_below_a_linked_folder_is_known(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "link").symlink_to("run")
    with bound(folder / "run" / "check.sock") as check:
        handed = hand_over(folder / "link", check.fileno())

    assert handed.listeners == {"check": str(folder / "run" / "check.sock")}


@pytest.mark.parametrize("pid", ["1", "", "own "])
def test_sockets_for_another_process_are_not_taken_but_forgotten(folder: Path, pid: str) -> None:
    with bound(folder / "check.sock") as check:
        handed = hand_over(folder, check.fileno(), pid=pid)

    assert (handed.listeners, handed.problem, handed.left) == ({}, "", [])


@pytest.mark.parametrize("count", ["x", "-1", "1e3", "9999", "²"])
def test_number_of_sockets_that_is_none_is_refused(folder: Path, count: str) -> None:
    handed = hand_over(folder, count=count)

    assert handed.problem == "authgate.toml: listen: LISTEN_FDS is not a number of sockets"
    assert handed.left == []


def test_fewer_sockets_than_announced_is_refused(folder: Path) -> None:
    handed = hand_over(folder, count="1")

    assert handed.problem.startswith("authgate.toml: listen: descriptor 3, handed over by systemd, is no listening")


@pytest.mark.parametrize("kind", ["datagram", "silent", "silent tcp", "file", "abstract", "nameless"])
def test_what_is_no_listening_unix_socket_with_a_path_is_refused(folder: Path, kind: str) -> None:
    path = folder / "check.sock"
    with ExitStack() as stack:
        if kind == "file":
            given = stack.enter_context(path.open("w")).fileno()
        elif kind == "silent tcp":
            given = stack.enter_context(socket.socket()).fileno()
        elif kind in {"abstract", "nameless"}:
            unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(f"\0{folder.name}" if kind == "abstract" else "")
            unix.listen()
            given = unix.fileno()
        else:
            type_ = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
            given = stack.enter_context(bound(path, type_, listening=False)).fileno()

        handed = hand_over(folder, given)

    assert handed.problem == (
        "authgate.toml: listen: descriptor 3, handed over by systemd, is no listening unix socket with a path"
    )
    assert handed.hint == "write ListenStream= and an absolute path in authgate.socket"


def test_socket_that_no_key_names_is_refused(folder: Path) -> None:
    with bound(folder / "check.sock") as check, bound(folder / "other.sock") as other:
        handed = hand_over(folder, check.fileno(), other.fileno())

    assert handed.problem == (
        f"authgate.toml: listen: systemd hands over {folder}/other.sock, and no key of [listen] names it"
    )
    assert "ListenStream=" in handed.hint


def test_port_that_no_key_names_is_refused(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        number = port.getsockname()[1]
        handed = hand_over(folder, port.fileno())

    assert handed.problem == (
        f"authgate.toml: listen: systemd hands over 127.0.0.1:{number}, and no key of [listen] names it"
    )


def test_socket_handed_over_twice_is_refused(folder: Path) -> None:
    with bound(folder / "check.sock") as check:
        handed = hand_over(folder, check.fileno(), check.fileno())

    assert handed.problem == f"authgate.toml: listen: systemd hands over {folder}/check.sock, twice"


def test_socket_of_systemd_that_is_open_to_all_is_refused(folder: Path) -> None:
    with bound(folder / "web.sock", mode=0o666) as web:
        handed = hand_over(folder, web.fileno())

    assert handed.problem == f"authgate.toml: listen.web: {folder}/web.sock is open to all users"
    assert handed.hint == "write SocketMode=0660 in authgate.socket"


def test_socket_of_systemd_whose_file_is_gone_is_refused(folder: Path) -> None:
    with bound(folder / "web.sock") as web:
        (folder / "web.sock").unlink()
        handed = hand_over(folder, web.fileno())

    assert handed.problem.startswith(f"authgate.toml: listen.web: {folder}/web.sock, handed over by systemd: no such")


def test_socket_of_systemd_belongs_to_the_configured_group(folder: Path) -> None:
    own = grp.getgrgid(os.getegid()).gr_name
    other = next(entry.gr_name for entry in grp.getgrall() if entry.gr_gid != os.getegid())
    with bound(folder / "web.sock") as web:
        same, foreign, unknown = (
            hand_over(folder, web.fileno(), group=group) for group in (own, other, "no-such-group")
        )

    assert list(same.listeners) == ["web"]
    assert foreign.problem == f'authgate.toml: listen.web: {folder}/web.sock does not belong to the group "{other}"'
    assert unknown.hint == "write SocketGroup=no-such-group in authgate.socket"


def test_service_on_sockets_of_systemd_leaves_them_and_their_queue(folder: Path) -> None:
    """What connects while the service is away waits for the next one."""
    config = folder / "authgate.toml"
    config.write_text('[[sites]]\norigin = "http://localhost"\n[listen]\ncheck = "unix:check.sock"\nweb = "unix:w"\n')
    activate = servers.require("systemd-socket-activate")
    command = [activate, "-l", str(folder / "check.sock"), "-E", f"PYTHONPATH={servers.PACKAGE_ROOT}"]
    with (
        servers.child(
            [*command, sys.executable, "-m", "authgate", "serve", "--config", str(config)], folder / "log"
        ) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        servers.eventually((folder / "check.sock").exists, "the socket is there", server)
        (folder / "check.sock").chmod(0o660)
        client.settimeout(servers.DEADLINE)
        servers.eventually(lambda: client.connect_ex(str(folder / "check.sock")) == 0, "it listens", server)
        client.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")

        assert client.recv(4096).startswith(b"HTTP/1.1 403 ")
        assert stat.S_IMODE((folder / "w").stat().st_mode) == 0o660
        assert server.stop() == 0

    assert (folder / "check.sock").exists()
    assert not (folder / "w").exists()
