"""People whom only the site itself knows, by its ``verify`` and ``lookup``: who they are now.

Rules of this module:
1. What a login said counts for five minutes, and so does each answer of ``lookup``; then the next request asks again
   and waits for the answer.
2. While ``lookup`` gives none, what was known goes on to count until it is an hour old, and nobody is asked about
   again for half a minute. After that hour it is unknown who they are.
3. An answer from before a login does not count against that login: another worker may have seen the account come back.
"""

import asyncio
from collections import OrderedDict
from typing import NamedTuple, TypeVar

from authgate.credentials.directory import Directory
from authgate.errors import Busy, SiteFunctionFailed
from authgate.model import Subject
from authgate.stores import Clock

T = TypeVar("T")

FRESH = 300.0
PAUSE = 30.0
USABLE = 3600.0

# Names about which something is remembered; the least used is forgotten first and looked up again.
REMEMBERED = 10_000


class Standing(NamedTuple):
    """What was last known of somebody, and when.

    Args:
        subject: None: the site knows nobody of this name.
        confirmed: seconds since the epoch.
    """

    subject: Subject | None
    confirmed: float


_NEVER = Standing(None, float("-inf"))


class People:
    """Answers who somebody is, from memory where that is fresh enough."""

    def __init__(self, directory: Directory, clock: Clock, capacity: int = REMEMBERED) -> None:
        self._directory = directory
        self._clock = clock
        self._capacity = capacity
        self._known: OrderedDict[str, Standing] = OrderedDict()
        self._again: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}

    @property
    def verified(self) -> bool:
        """True when the site verifies passwords, so that there may be such people at all."""
        return self._directory.verifies

    @property
    def looked_up(self) -> bool:
        """True when the site can be asked about them."""
        return self._directory.looks_up

    def peek(self, name: str, login: Standing = _NEVER) -> Standing | None:
        """Answer from memory; None when the site has to be asked.

        Args:
            login: what was known when the session began.

        Raises:
            SiteFunctionFailed: what is known is too old, and the site did not answer a moment ago.
        """
        known, age = self._latest(name, login)
        if not self.looked_up or 0 <= age < FRESH:
            return known
        if not 0 < self._again.get(name, 0.0) - self._clock() <= PAUSE:
            return None
        if 0 <= age < USABLE:
            return known
        raise SiteFunctionFailed("users.lookup gave no answer a moment ago")

    async def verify(self, name: str, login: Standing = _NEVER) -> Standing:
        """Answer after asking the site, if memory does not do.

        Raises:
            SiteFunctionFailed: the site gave no answer, and what is known is too old.
        """
        known = self.peek(name, login)
        if known is not None:
            return known
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._ask(name))
            task.add_done_callback(lambda ended: self._over(name, ended))
        try:
            # One client that goes away must not take the answer from the others.
            await asyncio.shield(task)
        except (Busy, SiteFunctionFailed) as error:
            known, age = self._latest(name, login)
            if 0 <= age < USABLE:
                return known
            raise SiteFunctionFailed(str(error)) from error
        return self._latest(name, login)[0]

    async def _ask(self, name: str) -> None:
        # As old as the question: a login that ended meanwhile knows more.
        asked = self._clock()
        try:
            subject = await self._directory.lookup(name)
        except SiteFunctionFailed:
            _remember(self._again, name, self._clock() + PAUSE, self._capacity)
            raise
        self._again.pop(name, None)
        _remember(self._known, name, Standing(subject, asked), self._capacity)

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        del self._asking[name]
        # Everyone who waited may be gone; asyncio would then report the error as one that nobody looked at.
        if not task.cancelled():
            task.exception()

    def _latest(self, name: str, login: Standing) -> tuple[Standing, float]:
        """Return what was confirmed last, and how many seconds ago; negative after the clock was set back."""
        known = self._known.get(name, login)
        if known.confirmed <= login.confirmed:
            known = login
        else:
            self._known.move_to_end(name)
        return known, self._clock() - known.confirmed


def _remember(memory: OrderedDict[str, T], name: str, value: T, capacity: int) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > capacity:
        memory.popitem(last=False)
