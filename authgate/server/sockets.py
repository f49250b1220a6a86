"""Sockets that the parent binds before it forks, and takes away when it ends; or has from systemd, and leaves.

Whoever can connect to a unix socket speaks with the web server's authority: asks for decisions, and logs in from any
address it likes to name. So it is never, not for an instant, open to more than its owner and its group. A port is open
to every user of this machine, and what listens there asks for a secret.
"""

import errno
import fcntl
import grp
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from authgate.errors import ConfigError, Problem

# A burst of subrequests waits here rather than being refused; the kernel caps it at net.core.somaxconn.
_BACKLOG = 2048

# Becomes open connections all at once: with those that may be open (authgate.protocols.fastcgi.MAX_CONNECTIONS) fewer
# than the usual limit of 1,024 files. Apache has fewer threads.
PORT_BACKLOG = 256

Endpoint = tuple[str, int]

# SD_LISTEN_FDS_START of sd_listen_fds(3).
_FIRST_INHERITED = 3
_UNIT_HINT = "ListenStream= in authgate.socket and the keys of [listen] name the same paths"


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening unix socket and the file it stands for.

    Args:
        inherited: whoever started this process keeps it, and takes the file away.
    """

    path: Path
    socket: socket.socket
    device: int
    inode: int
    inherited: bool = False

    def close(self) -> None:
        """Close the socket and remove its file, unless another process has put its own there meanwhile.

        Closing again does nothing: a new socket there may have been given the same inode.
        """
        if self.socket.fileno() == -1:
            return
        self.socket.close()
        if self.inherited:
            return
        with suppress(OSError):
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                self.path.unlink()


@dataclass(frozen=True, slots=True)
class Port:
    """A bound, listening TCP socket."""

    socket: socket.socket

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def inherit(
    place: str, paths: Mapping[str, Path], group: str | None, ports: Mapping[str, Endpoint] = {}
) -> dict[str, Listener | Port]:
    """Return the listeners that systemd hands over, by the name of the path or port each is bound to.

    Args:
        place: the section that names the paths, for messages.
        paths: by listener.
        group: that of the sockets, where one is configured.
        ports: by listener.

    Raises:
        ConfigError: what is handed over is no listening socket, is not among `paths` and `ports`, or is open to others.
    """
    listeners: dict[str, Listener | Port] = {}
    endpoints: dict[str, Path | Endpoint] = {**paths, **ports}
    with ExitStack() as stack:
        for descriptor in _handed_over(place):
            handed, bound = _examine(place, descriptor)
            stack.callback(handed.close)
            name = next((name for name, where in endpoints.items() if _is_same(where, bound)), "")
            if not name or name in listeners:
                what = "twice" if name else "and no key of [listen] names it"
                shown = bound if isinstance(bound, Path) else written(bound)
                raise ConfigError([Problem(place, f"systemd hands over {shown}, {what}", _UNIT_HINT)])
            if not isinstance(bound, Path):
                listeners[name] = Port(handed)
                continue
            status = _check_access(f"{place}.{name}", bound, group)
            listeners[name] = Listener(bound, handed, status.st_dev, status.st_ino, inherited=True)
        stack.pop_all()
    return listeners


def _handed_over(place: str) -> range:
    """Return the descriptors that were handed over to this very process, and forget that there are any."""
    # Cleared first: a child that took them for its own would serve beside us.
    pid, count, _ = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()):
        return range(0)
    if not (count.isascii() and count.isdecimal() and len(count) <= 3):
        raise ConfigError([Problem(place, "LISTEN_FDS is not a number of sockets", "let systemd set it")])
    return range(_FIRST_INHERITED, _FIRST_INHERITED + int(count))


def _is_same(named: Path | Endpoint, bound: Path | Endpoint) -> bool:
    if isinstance(named, Path) and isinstance(bound, Path):
        return os.path.realpath(named) == os.path.realpath(bound)
    return named == bound


def written(endpoint: Endpoint) -> str:
    """Return address and port as the configuration writes them."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _examine(place: str, descriptor: int) -> tuple[socket.socket, Path | Endpoint]:
    """Return an inherited socket and what it is bound to."""
    message = f"descriptor {descriptor}, handed over by systemd, is no listening unix socket with a path"
    refusal = ConfigError([Problem(place, message, "write ListenStream= and an absolute path in authgate.socket")])
    try:
        os.set_inheritable(descriptor, False)
        handed = socket.socket(fileno=descriptor)
    except OSError:
        raise refusal from None
    is_stream = handed.type == socket.SOCK_STREAM
    listens = is_stream and bool(handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if listens and handed.family in {socket.AF_INET, socket.AF_INET6}:
        handed.setblocking(False)
        host, port, *_ = handed.getsockname()
        return handed, (host, port)
    name = handed.getsockname() if listens and handed.family == socket.AF_UNIX else ""
    # Bytes: a name in the abstract namespace, where no file says who may connect.
    if not isinstance(name, str) or not name.startswith("/"):
        handed.close()
        raise refusal
    handed.setblocking(False)
    return handed, Path(name)


def _check_access(place: str, path: Path, group: str | None) -> os.stat_result:
    try:
        status = path.lstat()
    except OSError as error:
        message = f"{path}, handed over by systemd: {(error.strerror or str(error)).lower()}"
        raise ConfigError([Problem(place, message, "systemctl restart authgate.socket makes it again")]) from None
    if status.st_mode & 0o007:
        # systemd's own default is 0666.
        raise ConfigError([Problem(place, f"{path} is open to all users", "write SocketMode=0660 in authgate.socket")])
    if group is not None and status.st_gid not in {entry.gr_gid for entry in grp.getgrall() if entry.gr_name == group}:
        hint = f"write SocketGroup={group} in authgate.socket"
        raise ConfigError([Problem(place, f'{path} does not belong to the group "{group}"', hint)])
    return status


def listen(place: str, path: Path, group: str | None) -> Listener:
    """Bind `path`, mode 0660 and of `group` if one is given.

    Args:
        place: the setting that names the path, for messages.

    Raises:
        ConfigError: the path cannot be bound, or another authgate answers there.
    """
    try:
        create_folder(path.parent)
        with _alone_in(path.parent):
            _remove_stale(place, path)
            listener = _bind(path)
    except OSError as error:
        message = f"cannot listen on {path}: {(error.strerror or str(error)).lower()}"
        raise ConfigError([Problem(place, message)]) from None
    try:
        _open_to(listener, group)
    except (KeyError, OSError) as error:
        listener.close()
        message = f'there is no group "{group}"' if isinstance(error, KeyError) else f'may not give it to "{group}"'
        hint = "listen.group is a group of this machine that authgate's user belongs to, or authgate starts as root"
        raise ConfigError([Problem(place, message, hint)]) from None
    return listener


def listen_on_port(place: str, endpoint: Endpoint) -> Port:
    """Bind a TCP port of this machine.

    Args:
        place: the setting that names it, for messages.

    Raises:
        ConfigError: it cannot be bound.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        # Connections of the process before this one may still be in TIME_WAIT; another one that listens is an error.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(endpoint)
        bound.listen(PORT_BACKLOG)
    except OSError as error:
        bound.close()
        message = f"cannot listen on {written(endpoint)}: {(error.strerror or str(error)).lower()}"
        # Below 1024 no other user's program can pose as authgate while it is away.
        hint = "a port below 1024 is bound by root, or by systemd: ListenStream= in authgate.socket"
        raise ConfigError([Problem(place, message, hint if isinstance(error, PermissionError) else "")]) from None
    return Port(bound)


def create_folder(folder: Path) -> None:
    """Make a folder for sockets, or for the files beside them, if there is none.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True)
        # The web server's workers, another user, must get through, whatever umask authgate was started with.
        folder.chmod(0o755)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, so that of two processes starting at once neither removes the other's socket."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(place: str, path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        problem = Problem(place, f"{path} exists and is no socket", "choose another path, or remove what is there")
        raise ConfigError([problem])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        # This alone says that nobody listens; EAGAIN, for one, is a listener whose queue is full.
        if probe.connect_ex(os.fsencode(path)) != errno.ECONNREFUSED:
            raise ConfigError([Problem(place, f"another authgate is running on {path}", "stop it first")])
    path.unlink()


def _bind(path: Path) -> Listener:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    umask = os.umask(0o177)
    try:
        bound.bind(os.fsencode(path))
        # Still under the lock: a socket that is bound and not listening looks stale.
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(umask)
    status = path.lstat()
    return Listener(path, bound, status.st_dev, status.st_ino)


def _open_to(listener: Listener, group: str | None) -> None:
    if group is not None:
        os.chown(listener.path, -1, grp.getgrnam(group).gr_gid)
    listener.path.chmod(0o660)
