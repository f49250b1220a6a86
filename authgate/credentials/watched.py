"""A file that is read again when its content changed, was then left alone for a second, and parses completely.

Until then, and for a file that vanished or cannot be read, what was read before stays in force.
"""

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from authgate.errors import ConfigError, Problem

# How long a changed file must be left alone: htpasswd and editors write in place and in several steps.
SETTLED = 1.0
MAX_SIZE = 64 * 1024 * 1024

_log = logging.getLogger("authgate")

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class _Signature:
    """What stat says of a file; equal signatures a second apart mean equal content."""

    modified: int
    changed: int
    size: int
    inode: int
    device: int


class Watched(Generic[_Parsed]):
    """One file and what was parsed from it last.

    It is *settled* when `_known`, the signature of what was judged last, is what stat says now; otherwise it is
    *moving*, and what stat says (`_seen`, since `_since`) must stay the same for SETTLED seconds before the file is
    read.

    Args:
        path: None for a file that is not configured; `nothing` stays in force then.
        parse: content and the file's name to a value; raises ConfigError.
    """

    def __init__(self, path: Path | None, parse: Callable[[bytes, str], _Parsed], nothing: _Parsed) -> None:
        self.parsed = nothing
        self._path = path
        self._parse = parse
        self._known: _Signature | None = None
        self._seen: _Signature | None = None
        self._since = 0.0
        self._complaint = ""

    def load(self) -> None:
        """Read the file now.

        `_known` stays empty on purpose: the file may be in the middle of a write whose end has the same time stamp
        and size, so that the first second of polling reads it once more.

        Raises:
            ConfigError: the file cannot be read or is refused.
        """
        if self._path is None:
            return
        try:
            content = _read(self._path)
        except OSError as error:
            hint = "create it, or correct the path and its permissions"
            raise ConfigError([Problem(str(self._path), f"cannot be read: {error.strerror}", hint)]) from error
        self.parsed = self._parse(content, str(self._path))

    def poll(self, now: float) -> bool:
        """Take a new content over; True when there was one. Costs one stat when there is none, and never raises.

        Args:
            now: seconds by any clock, always the same one.
        """
        if self._path is None:
            return False
        seen = _look(self._path)
        if seen is not None and seen == self._known:
            self._seen, self._complaint = seen, ""
            return False
        if seen != self._seen or now < self._since:
            self._seen, self._since = seen, now
            return False
        if now - self._since < SETTLED:
            return False
        return self._take(self._path, seen, now)

    def _take(self, path: Path, seen: _Signature | None, now: float) -> bool:
        try:
            content = _read(path)
        except OSError as error:
            # Nothing is known about the content, so it is tried again at each poll.
            self._complain(path, f"{path}: cannot be read: {error.strerror}")
            return False
        # Replaced between the first look and the read, or written during it: wait for the next calm second.
        after = _look(path)
        if after != seen:
            self._seen, self._since = after, now
            return False
        self._known = seen
        try:
            self.parsed = self._parse(content, str(path))
        except ConfigError as error:
            self._complain(path, str(error))
            return False
        self._complaint = ""
        return True

    def _complain(self, path: Path, message: str) -> None:
        if message == self._complaint:
            return
        self._complaint = message
        for line in message.split("\n"):
            _log.error("%s", line)
        _log.error("%s: refused; what was read before stays in force", path)


class Loaded(Protocol):
    """What is read from a file, whatever is made of it."""

    def load(self) -> None:
        """Read it; raises ConfigError."""


def load_all(files: Iterable[Loaded], problems: Iterable[Problem] = ()) -> None:
    """Read files now.

    Args:
        problems: what is wrong besides.

    Raises:
        ConfigError: with the problems of all of them.
    """
    problems = list(problems)
    for file in files:
        try:
            file.load()
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)


def _look(path: Path) -> _Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _Signature(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def _read(path: Path) -> bytes:
    """Return the whole of a regular file; a FIFO or a device in its place must not stop a worker."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > MAX_SIZE:
            raise OSError(errno.EFBIG, f"larger than {MAX_SIZE} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            # One that grows meanwhile is cut here, and dropped because its signature changed.
            return file.read(MAX_SIZE)
    finally:
        os.close(descriptor)
