"""Asking one function of the site's own for a fact: with a time limit, and only so many at a time.

Rules of this module:
1. Whatever such a function does ends as an answer or as `SiteFunctionFailed`; the log has the cause, not the secret
   that the function was given.
2. Each has threads of its own: one that hangs must not keep another from being asked.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from authgate.errors import Busy, SiteFunctionFailed
from authgate.handlers.guarded import Raised, start
from authgate.handlers.threads import THREADS, Threads

# Calls of one function at a time in one worker; 16 more wait for their turn, but no longer than this part of its time.
RUNNING = THREADS
WAITING = 16
PATIENCE = 0.4

_log = logging.getLogger("authgate")


class BoundedFunction:
    """One function, its time limit, and how many may be in it.

    Args:
        what: names it in the log, ``users.verify``.
        deadline: seconds.
        problem: says what is wrong with an answer that is not None; empty when nothing is.
    """

    def __init__(
        self, what: str, function: Callable[..., object], deadline: float, problem: Callable[[object], str]
    ) -> None:
        self._what = what
        self._function = function
        self._deadline = deadline
        self._problem = problem
        self._threads = Threads(f"authgate-{what}")
        self._places = RUNNING + WAITING
        self._turn = asyncio.Semaphore(RUNNING)

    async def ask(self, *arguments: str, secret: str = "") -> object:
        """Return what the function says: None, or something without a problem.

        Args:
            secret: must not be in the log.

        Raises:
            Busy: too many wait already, or too many hang.
            SiteFunctionFailed: no answer, or none that counts.
        """
        if not self._places:
            raise Busy(f"{RUNNING + WAITING} are being asked about")
        self._places -= 1
        try:
            await self._wait()
            try:
                return await self._answer(arguments, secret)
            finally:
                self._turn.release()
        finally:
            self._places += 1

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE * self._deadline):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy(f"{RUNNING} are being asked about") from None

    async def _answer(self, arguments: tuple[str, ...], secret: str) -> object:
        waiting = start(self._function, arguments, self._threads)
        if waiting is None:
            raise Busy(f"{THREADS} threads hang in {self._what}")
        try:
            # Not `timeout`: the function may swallow its cancellation, or cancel the task it finds itself in.
            done, _ = await asyncio.wait([waiting], timeout=self._deadline)
        finally:
            waiting.cancel()
        if not done:
            raise self._failed(f"took over {self._deadline:g} s")
        if waiting.cancelled():
            raise self._failed("cancelled itself")
        said = waiting.result()
        if isinstance(said, Raised):
            raise self._failed(f"failed\n{_without(secret, said).rstrip()}")
        problem = "" if said is None else self._problem(said)
        if problem:
            raise self._failed(f"returned {problem}")
        return said

    def _failed(self, why: str) -> SiteFunctionFailed:
        _log.error("%s %s", self._what, why)
        return SiteFunctionFailed(f"{self._what} {why.partition(chr(10))[0]}")

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()


def _without(secret: str, raised: Raised) -> str:
    """Return the traceback for the log. An exception may quote what it was given: then what it says is left out."""
    octets = secret.encode(errors="surrogatepass")
    forms = {
        secret,
        repr(secret)[1:-1],
        repr(octets)[2:-1],
        json.dumps(secret)[1:-1],
        quote(octets),
        quote_plus(octets),
    }
    if secret and any(form in raised.traceback for form in forms):
        return f"{raised.outline} (what it says is left out: the secret that it was given is in it)"
    return raised.traceback
