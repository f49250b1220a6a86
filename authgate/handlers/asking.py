"""Asking handlers, so that nothing that they do harms more than the one decision."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from types import ModuleType
from typing import cast

from authgate.errors import ConfigError, Problem
from authgate.handlers.guarded import Raised, start
from authgate.handlers.threads import THREADS, Threads
from authgate.model import AccessRequest, Decision, HandlerCall, Need, Outcome, Reason, allow, deny, login

log = logging.getLogger("authgate")

# Seconds a handler may take; a decision has 1.5 in all.
DEADLINE = 1.0

Function = Callable[[AccessRequest], object]

# A site's module may end itself while it is imported or set up, as scripts do.
ENDS = (Exception, SystemExit)


@dataclass(slots=True)
class Asked:
    """How often one handler was asked, how often that ended in ``handler_error``, and how long it all took."""

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0


class Handlers:
    """The handlers of one policy, imported.

    Args:
        functions: by reference, ``package.module::function``.
        modules: those whose `setup` and `close` are called.

    Attributes:
        asked: figures by reference, since the process began.
    """

    def __init__(self, functions: Mapping[str, Function], modules: Iterable[ModuleType] = ()) -> None:
        self.asked = {reference: Asked() for reference in functions}
        self._functions = functions
        self._modules = list(modules)
        self._threads = Threads()

    async def ask(self, need: Need, request: AccessRequest) -> Decision | None:
        """Ask the handler that a rule needs; what goes wrong is a refusal with ``handler_error``."""
        if need.call is None:
            return None
        asked = self.asked.setdefault(need.call.handler, Asked())
        began, failed = monotonic(), True
        try:
            said = await self._ask(need.call, need, request)
            failed = said is not None and said.reason is Reason.HANDLER_ERROR
        finally:
            asked.calls += 1
            asked.failures += failed
            asked.seconds += monotonic() - began
        return said

    async def _ask(self, call: HandlerCall, need: Need, request: AccessRequest) -> Decision | None:
        reference, rule = call
        function = self._functions.get(reference)
        if function is None:
            return _failed(reference, "is not loaded")
        waiting = start(
            function, (request._replace(rule=rule, captures=need.captures, options=need.options),), self._threads
        )
        if waiting is None:
            return _failed(reference, f"was not asked: {THREADS} handlers are running")
        try:
            # Not `timeout`: a handler may swallow its cancellation, or cancel the task it finds itself in.
            done, _ = await asyncio.wait([waiting], timeout=DEADLINE)
        finally:
            waiting.cancel()
        if not done:
            return _failed(reference, f"took over {DEADLINE:g} s")
        return _failed(reference, "cancelled itself") if waiting.cancelled() else _answer(reference, waiting.result())

    async def setup(self) -> None:
        """Call ``setup()`` of each module that has one.

        Raises:
            ConfigError: one of them failed.
        """
        for module in self._modules:
            try:
                await _call_if_there(module, "setup")
            except ENDS as error:
                log.exception("setup() of %s failed", module.__name__)
                problem = Problem(f"handler:{module.__name__}", f"setup() failed: {type(error).__name__}: {error}")
                raise ConfigError([problem]) from error

    async def close(self) -> None:
        """Call ``close()`` of each module that has one, and let the threads end."""
        self._threads.close()
        for module in self._modules:
            try:
                await _call_if_there(module, "close")
            except ENDS:
                log.exception("close() of %s failed", module.__name__)


def _answer(reference: str, said: object) -> Decision | None:
    """Return what a handler means: no other field of what it made counts, only these four answers."""
    if said is None:
        return None
    if isinstance(said, Raised):
        log.error("handler %s failed\n%s", reference, said.traceback.rstrip())
        return _failure(said.traceback)
    # Whoever makes a Decision by hand may put anything into it.
    if isinstance(said, Decision) and isinstance(cast("object", said.outcome), Outcome):
        if said.outcome is Outcome.ALLOW:
            return allow()
        return login() if said.outcome is Outcome.LOGIN else deny(str(said.detail))
    return _failed(reference, f"returned {type(said).__name__}, not allow(), deny(), login() or None")


async def _call_if_there(module: ModuleType, name: str) -> None:
    function = getattr(module, name, None)
    if callable(function):
        result = function()
        if inspect.isawaitable(result):
            await result


def _failed(reference: str, why: str) -> Decision:
    log.error("handler %s %s", reference, why)
    return _failure(f"{reference} {why}")


def _failure(detail: str) -> Decision:
    return Decision(Outcome.REFUSE, Reason.HANDLER_ERROR, detail=detail)
