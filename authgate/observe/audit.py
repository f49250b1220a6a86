"""The audit: who asked for what, how it was decided, and why, one line each."""

import time

from authgate.config import Settings
from authgate.errors import ConfigError, Problem
from authgate.model import AccessRequest, Decision, Facts, Reason
from authgate.networks import Address
from authgate.observe.lines import MAX_LINE, Decided, Lines
from authgate.observe.sink import Sink
from authgate.observe.trail import Trail
from authgate.stores import Clock


class Audit:
    """What one worker writes down. Made in that process: a thread does not survive a fork.

    Args:
        allows: decisions that let a request pass are to be written too.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, settings: Settings, clock: Clock = time.time) -> None:
        self.allows = settings.audit_allows
        self._clock = clock
        self._lines = Lines(settings.node, settings.version, settings.policy.groups, settings.policy.claims)
        try:
            sink = Sink(settings.audit_file)
        except OSError as error:
            message = f"cannot open {settings.audit_file}: {(error.strerror or str(error)).lower()}"
            hint = "the folder has to exist, and the user of the service has to be able to write there"
            raise ConfigError([Problem(f"{settings.path.name}: audit.file", message, hint)]) from None
        self._trail = Trail[Decided | str](sink, self._render, lambda count: self._lines.dropped(clock(), count))
        self._put = self._trail.put

    @property
    def written(self) -> int:
        """Lines written."""
        return self._trail.written

    @property
    def dropped(self) -> int:
        """Lines that could not be written, or for which there was no room."""
        return self._trail.dropped

    def decided(self, id: str, decision: Decision, request: AccessRequest | None, facts: Facts) -> None:  # noqa: A002 - it is the decision's id
        """Write down a decision.

        Args:
            request: None when the web server's question could not be read.
            facts: that led to it, as far as they were known.
        """
        if request is None:
            self._put((id, decision, None, False, facts, self._clock()))
            return
        if len(request.path) > MAX_LINE:
            # It will be cut anyway; nobody shall fill the memory with long ones while a disk is slow.
            request = request._replace(path=request.path[:MAX_LINE])
        self._put((id, decision, request[:6], request.preflight, facts, 0.0))

    def login(self, reason: Reason, name: str, host: str, address: Address | None) -> None:
        """Write down a login, or an attempt at one.

        Args:
            reason: ALLOWED when it succeeded.
            name: of the account; empty when there is none of that name, because people type passwords there.
        """
        self._put(self._lines.login(self._clock(), reason, name, host, address))

    def logout(self, name: str, host: str, address: Address | None) -> None:
        """Write down that somebody logged out."""
        self._put(self._lines.logout(self._clock(), name, host, address))

    def reopen(self) -> None:
        """Open the file again soon: it was moved away."""
        self._trail.reopen()

    def close(self) -> None:
        """Write what waits, as far as that is soon done."""
        self._trail.close()

    def _render(self, entry: Decided | str) -> str:
        return entry if isinstance(entry, str) else self._lines.decision(entry)
