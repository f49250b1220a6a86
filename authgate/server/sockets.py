"""Unix sockets that the parent binds before it forks, and takes away when it ends.

Whoever can connect to them speaks with the web server's authority: asks for decisions, and logs in from any address
it likes to name. So a socket is never, not for an instant, open to more than its owner and its group.
"""

import errno
import fcntl
import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from authgate.errors import ConfigError, Problem

# A burst of subrequests waits here rather than being refused; the kernel caps it at net.core.somaxconn.
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening unix socket and the file it stands for."""

    path: Path
    socket: socket.socket
    device: int
    inode: int

    def close(self) -> None:
        """Close the socket and remove its file, unless another process has put its own there meanwhile.

        Closing again does nothing: a new socket there may have been given the same inode.
        """
        if self.socket.fileno() == -1:
            return
        self.socket.close()
        with suppress(OSError):
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                self.path.unlink()


def listen(place: str, path: Path, group: str | None) -> Listener:
    """Bind `path`, mode 0660 and of `group` if one is given.

    Args:
        place: the setting that names the path, for messages.

    Raises:
        ConfigError: the path cannot be bound, or another authgate answers there.
    """
    try:
        _create_folder(path.parent)
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


def _create_folder(folder: Path) -> None:
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
