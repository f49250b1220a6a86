"""The way of the audit's lines out of the process: a bounded queue, and a thread that writes.

Rules of this module:
1. Whoever decides only appends to the queue. Making JSON and writing it, which may wait for a disk or for whoever reads
   stderr, are the thread's.
2. What does not fit into the queue, or cannot be written, is dropped and counted, and the next line that can be
   written says how many. The audit never ends the service and never makes it wait.
3. The thread holds the interpreter for a few lines at a time, so that no decision waits long for it.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Generic, TypeVar

from authgate.observe.sink import Sink

log = logging.getLogger("authgate")

# Entries that wait, less than a second of the most that a worker decides; about 1 KiB each.
MAX_WAITING = 10_000

# Seconds in which lines gather, and how many are then made in one go before decisions get a turn.
_GATHER = 0.1
_AT_ONCE = 256
_TURN = 0.001

# Seconds that the end of a worker waits for a disk.
_CLOSE = 2.0

_Entry = TypeVar("_Entry")


class Trail(Generic[_Entry]):
    """Writes entries as lines, in a thread of its own.

    Args:
        render: makes a line of an entry.
        tell: makes a line of how many are missing.
        written: lines written.
    """

    def __init__(self, sink: Sink, render: Callable[[_Entry], str], tell: Callable[[int], str]) -> None:
        self.written = 0
        self._sink = sink
        self._render = render
        self._tell = tell
        self._waiting: deque[_Entry] = deque()
        # Each is written by one thread only: the first by whoever decides, the others here.
        self._overflowed = 0
        self._failed = 0
        self._told = 0
        self._asleep = True
        self._wake = Event()
        self._closing = Event()
        self._reopening = False
        self._warned = False
        self._thread = Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._overflowed + self._failed

    def put(self, entry: _Entry) -> None:
        """Have an entry written, unless too many wait already."""
        if len(self._waiting) >= MAX_WAITING:
            self._overflowed += 1
            return
        self._waiting.append(entry)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def reopen(self) -> None:
        """Have the file opened again: it was moved away."""
        self._reopening = True
        self._wake.set()

    def close(self) -> None:
        """Write what waits, as far as that is soon done."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(_GATHER)
            # Behind the wait: what was said after the signal goes into the new file.
            self._reopen()
            self._write_all()
            # In this order: what is appended in between either is seen here or sets the event.
            self._asleep = True
            if self._waiting:
                self._wake.set()
        self._write_all()
        self._sink.close()

    def _reopen(self) -> None:
        if not self._reopening:
            return
        self._reopening = False
        try:
            self._sink.reopen()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            log.warning("the audit file cannot be opened again: %s; the old one is used on", why)

    def _write_all(self) -> None:
        # What waits now, and not what comes meanwhile: each small batch would take the interpreter away from decisions.
        left = len(self._waiting)
        while left:
            entries = [self._waiting.popleft() for _ in range(min(left, _AT_ONCE))]
            left -= len(entries)
            missing = self.dropped - self._told
            if missing and self._write([self._tell(missing)]):
                self._told += missing
            written = self._write([self._render(entry) for entry in entries])
            self.written += written
            self._failed += len(entries) - written
            self._warn(failing=written < len(entries))
            time.sleep(_TURN)

    def _write(self, lines: list[str]) -> int:
        return sum(self._sink.write(piece) for piece in self._sink.pieces(lines))

    def _warn(self, *, failing: bool) -> None:
        if failing and not self._warned:
            log.warning("the audit cannot be written: %s; what is lost is counted", self._sink.failure)
        self._warned = failing
