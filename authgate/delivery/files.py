"""Where a path leads below a root, as the kernel sees it: links resolved, nothing outside.

Rules of this module:
1. The kernel resolves the name, once, and says what it came to (``/proc/self/fd``); no part of it is joined or
   normalised here. O_PATH opens no file: a pipe does not block, a device does not notice, and no right to read is
   needed, only to search the folders.
2. What is found is a regular file or a folder, and its real name is below the real root. Anything else is not there.
3. The web server opens the file by its name, later. Whoever may write below the root can put a link there meanwhile:
   nginx refuses that with `disable_symlinks`, Apache with mod_xsendfile cannot.
"""

import errno
import logging
import os
import stat
from typing import NamedTuple

log = logging.getLogger("authgate")

_FLAGS = os.O_PATH | os.O_CLOEXEC
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES})

# What the kernel adds to the name of a file that was removed (d_path).
_DELETED = b" (deleted)"


class Found(NamedTuple):
    """A regular file or a folder.

    Args:
        inside: its real path below the root, ``/`` first.
    """

    inside: bytes
    is_folder: bool


def look(root: bytes, path: str) -> Found | None:
    """Return what `path` leads to below `root`; None when nothing that could be delivered is there.

    Args:
        path: canonical (`authgate.paths.is_canonical`).

    Raises:
        OSError: the root cannot be opened, or the file system does not answer as one.
    """
    top = os.open(root, _FLAGS | os.O_DIRECTORY)
    try:
        # "./x": a path that began with two slashes would otherwise be one of the whole machine.
        found = os.open(b"." + path.encode(), _FLAGS, dir_fd=top)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        if error.errno == errno.EACCES:
            log.warning("%r below %r: a folder on the way does not let authgate through", path, os.fsdecode(root))
        return None
    else:
        try:
            return _examine(top, found, path)
        finally:
            os.close(found)
    finally:
        os.close(top)


def _examine(top: int, found: int, path: str) -> Found | None:
    status = os.fstat(found)
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return None
    real_root, real = _name(top), _name(found)
    if real.endswith(_DELETED) and not _names(real, status):
        return None
    if real == real_root:
        return Found(b"/", is_folder)
    if not real.startswith(real_root + b"/"):
        log.warning("%r leads to %r, which is not below %r", path, os.fsdecode(real), os.fsdecode(real_root))
        return None
    return Found(real[len(real_root) :], is_folder)


def _name(descriptor: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % descriptor)  # noqa: PTH115 - a Path holds text


def _names(name: bytes, status: os.stat_result) -> bool:
    """Tell whether a file has this very name, rather than none any more."""
    try:
        return os.path.samestat(os.lstat(name), status)
    except OSError:
        return False
