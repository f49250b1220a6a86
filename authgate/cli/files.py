"""Files that commands change while others read them."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from authgate.cli.output import fail


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file's folder: the file itself is replaced, so that a lock on it would be on the old one."""
    try:
        descriptor = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        fail(f"{path.parent}: cannot be opened: {error.strerror}")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Put a new content in the file's place at once: a reader, or a crash, sees the old file or the new one whole.

    Owner and mode stay; a new file is 0600.
    """
    # Through a symbolic link, or the link would become a file.
    path = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                _keep_owner(path, file.fileno())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}")


def _keep_owner(path: Path, descriptor: int) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o777)
