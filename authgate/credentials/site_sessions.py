"""Sessions that an application keeps on its server: the site's own function says what stands behind a cookie.

Rules of this module:
1. An answer counts for two seconds from the question on, so that a logout in the application acts within them. That
   there is no session is not remembered: a login shall act at once.
2. Requests that come with the same cookie while it is being asked about wait for that one answer: a page has fifty
   images.
3. What the function returns is copied where it ran, guarded like the function itself: it may be anything.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from authgate.credentials.session_data import SessionData, UnusableData, freeze
from authgate.errors import Busy, SiteFunctionFailed
from authgate.handlers.bounded import BoundedFunction
from authgate.handlers.guarded import is_async
from authgate.model import CredentialKind, Identity, Reason
from authgate.stores import Clock

BUSY = Identity(None, CredentialKind.APPLICATION, Reason.BUSY)
FAILED = Identity(None, CredentialKind.APPLICATION, Reason.HANDLER_ERROR)

# Seconds; somebody waits for the page.
DEADLINE = 1.0


class Answer(NamedTuple):
    """What the function said.

    Args:
        found: None: there is no such session; `BUSY` or `FAILED`: that cannot be known now.
        asked: when, in seconds since the epoch.
    """

    found: SessionData | Identity | None
    asked: float


class SiteSessions:
    """Asks the site's function.

    Args:
        what: names it in the log.
    """

    def __init__(self, what: str, function: Callable[..., object], clock: Clock) -> None:
        self._function = BoundedFunction(what, _copying(function), DEADLINE, _problem)
        self._clock = clock
        self._asking: dict[str, asyncio.Task[Answer]] = {}

    async def ask(self, value: str) -> Answer:
        """Return what stands behind a cookie's value; never raises for anything that the function does."""
        task = self._asking.get(value)
        if task is None:
            task = self._asking[value] = asyncio.create_task(self._ask(value))
            task.add_done_callback(lambda _: self._asking.pop(value))
        # One client that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def close(self) -> None:
        """Let the threads end."""
        self._function.close()

    async def _ask(self, value: str) -> Answer:
        asked = self._clock()
        try:
            said = await self._function.ask(value, secret=value)
        except Busy:
            return Answer(BUSY, asked)
        except SiteFunctionFailed:
            return Answer(FAILED, asked)
        return Answer(said if isinstance(said, SessionData) else None, asked)


class _Unusable(str):
    """What is wrong with an answer, in words."""

    __slots__ = ()


def _copying(function: Callable[..., object]) -> Callable[..., object]:
    if is_async(function):

        async def ask(value: str) -> object:
            return _copied(await function(value))  # type: ignore[misc]  # is_async has looked

        return ask
    return lambda value: _copied(function(value))


def _copied(said: object) -> SessionData | _Unusable | None:
    try:
        return None if said is None else freeze(said)
    except UnusableData as error:
        return _Unusable(error)


def _problem(said: object) -> str:
    return said if isinstance(said, _Unusable) else ""
