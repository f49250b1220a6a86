"""The parent's part in counting: it gives each worker a row of the board, and has one of its own."""

import logging
import time

from authgate.config import Settings
from authgate.observe.board import Row
from authgate.observe.metrics import Counts, create_board
from authgate.server.generation import Generation
from authgate.server.progress import Progress

log = logging.getLogger("authgate")


class Counting:
    """Rows for processes, as long as the parent lives.

    Args:
        settings: those of the start; without the listener ``api`` nobody would read what is counted, and nothing is.

    Attributes:
        ends: how many workers ended without being told to.
    """

    def __init__(self, settings: Settings) -> None:
        self.ends = 0
        self._began = int(time.time())
        self._board = create_board() if settings.api_socket else None
        own = self._board.allot() if self._board else None
        self._own = Counts(own) if own else None

    def allot(self, settings: Settings) -> Row | None:
        """Return a row for a worker that is about to be forked; None when nothing is counted."""
        if self._board is None:
            return None
        # Now, for what is learned after the fork is not known in the worker.
        self._board.rules.learn(rule.name for rule in settings.policy.rules)
        self._board.handlers.learn(sorted(settings.policy.handlers))
        row = self._board.allot()
        if row is None:
            log.warning("too many workers at a time: one of them counts nothing")
        return row

    def release(self, row: Row | None) -> None:
        """Take back the row of a worker that has ended."""
        if self._board is not None and row is not None:
            self._board.release(row)

    def publish(self, serving: Generation, progress: Progress) -> None:
        """Copy to the board what the parent knows."""
        if self._own is not None:
            self._own.publish(
                {
                    "workers_wanted": serving.settings.workers,
                    "workers_ready": serving.ready,
                    "worker_ends": self.ends,
                    "reloads_succeeded": progress.succeeded,
                    "reloads_failed": progress.failed,
                    "last_reload_failed": bool(progress.failure),
                    "start_time_seconds": self._began,
                }
            )
