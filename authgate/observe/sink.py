"""Where the audit goes: a file, or stderr. Nothing here waits for anything but the write itself."""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

# What a pipe takes at once, so that lines of several workers do not mix (PIPE_BUF, pipe(7)); files take more.
_PIPE = 4095
_FILE = 1 << 16

# Whoever else may write in the folder must not lead the lines elsewhere, or to a pipe that nobody reads.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MODE = 0o640


class Sink:
    """One open file, or stderr.

    Args:
        path: None: stderr.
        failure: why lines did not get through, the last time that happened.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self.failure = ""
        self._path = path
        self._torn = False
        self._most = _PIPE
        self._descriptor: int | None = None
        if path is not None:
            # As the store makes the folder of its file; anything above it has to be there.
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self.reopen()
        # Python has none when it was started with a closed one; the number 2 may be the store's file then.
        elif sys.__stderr__ is not None:
            with suppress(OSError):
                self._descriptor = os.dup(2)

    def reopen(self) -> None:
        """Open the file again, or make it, for whoever moved it away; stderr stays.

        Raises:
            OSError: it cannot be opened; what was open stays so.
        """
        if self._path is None:
            return
        descriptor = os.open(self._path, _FLAGS, _MODE)
        os.set_blocking(descriptor, True)
        self.close()
        self._descriptor = descriptor
        self._most = _FILE if stat.S_ISREG(os.fstat(descriptor).st_mode) else _PIPE

    def pieces(self, lines: Iterable[str]) -> Iterator[bytes]:
        """Join lines to what is written at once: whole lines, as many as reach the sink in one piece."""
        piece: list[str] = []
        size = 0
        for line in lines:
            if piece and size + len(line) > self._most:
                yield "".join(piece).encode("ascii")
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            yield "".join(piece).encode("ascii")

    def write(self, piece: bytes) -> int:
        """Write whole lines; return how many got through. When not all did, `failure` says why."""
        # What a full disk has cut off must not swallow the line that comes next.
        data = b"\n" + piece if self._torn else piece
        done = 0
        try:
            descriptor = self._usable()
            while done < len(data):
                done += os.write(descriptor, data[done:])
        except OSError as error:
            self.failure = (error.strerror or str(error)).lower()
        if done:
            self._torn = data[done - 1 : done] != b"\n"
        return data[len(data) - len(piece) : done].count(b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _usable(self) -> int:
        # A file that was deleted, perhaps with its folder, takes lines that nobody will ever see.
        if self._path is not None and (self._descriptor is None or not os.fstat(self._descriptor).st_nlink):
            self.reopen()
        if self._descriptor is None:
            raise OSError(errno.EBADF, "stderr is closed")
        return self._descriptor
