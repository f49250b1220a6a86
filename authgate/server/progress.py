"""How far a start or a reload has come, told in the log and in the status file."""

import logging
import os
import time
from collections.abc import Sequence

from authgate.config import Settings
from authgate.server.generation import Generation
from authgate.server.notify import notify, notify_stopping
from authgate.server.status import State, Status, remove, write_status

log = logging.getLogger("authgate")


class Progress:
    """What the parent tells about itself.

    Args:
        settings: those of the start; the files lie beside their check socket as long as the parent lives.

    Attributes:
        succeeded: how many reloads put another configuration in force.
        failed: how many came to nothing.
        failure: why the last one did; empty when it did not.
    """

    def __init__(self, settings: Settings) -> None:
        self._socket = settings.check_socket
        self._version = settings.version
        self._rules = len(settings.policy.rules)
        self._note = ""
        self._begun = 0
        self._finished = 0
        self.failure = ""
        self.succeeded = 0
        self.failed = 0
        self._said: Status | None = None
        self.started = False

    def begin(self) -> None:
        """Note that a reload begins."""
        self._begun += 1
        self._write(State.RELOADING, "reading the configuration")

    def fail(self, why: str) -> None:
        """Note that the last reload came to nothing."""
        self._finished, self.failure = self._begun, why
        self.failed += 1

    def tell(self, generations: Sequence[Generation], deciding: Sequence[int]) -> None:
        """Say how far things are.

        Args:
            generations: the one that serves, and the one that is to take over.
            deciding: workers of earlier generations that may still decide requests.
        """
        serving, coming = generations[0], generations[1:]
        if not self.started and serving.is_ready:
            self.started = True
            log.info("ready")
        self._version, self._note = serving.settings.version, serving.note
        self._rules = len(serving.settings.policy.rules)
        if self._begun > self._finished and not coming and not deciding:
            self._finished, self.failure = self._begun, ""
            self.succeeded += 1
            log.info("configuration reloaded: %s (%d rules)", self._version, self._rules)
        if coming:
            self._write(State.RELOADING, f"{coming[0].ready} of {coming[0].settings.workers} workers are ready")
        elif self._begun > self._finished:
            self._write(State.RELOADING, f"an old policy still decides in worker {', '.join(map(str, deciding))}")
        elif not self.started:
            self._write(State.STARTING, f"{serving.ready} of {serving.settings.workers} workers are ready")
        else:
            self._write(State.FAILED if self.failure else State.RUNNING, "")

    def end(self) -> None:
        """Take away the files that name this process."""
        notify_stopping()
        remove(self._socket)

    def _write(self, state: State, message: str) -> None:
        status = Status(
            pid=os.getpid(),
            state=state,
            version=self._version,
            rules=self._rules,
            begun=self._begun,
            finished=self._finished,
            message=message,
            failure=self.failure,
            note=self._note,
            when=0.0,
        )
        if status == self._said:
            return
        self._said = status
        notify(state, message)
        try:
            write_status(self._socket, status.model_copy(update={"when": time.time()}))
        except OSError as error:
            log.warning("the status file cannot be written: %s", error.strerror)
