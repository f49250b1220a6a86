"""The site's own functions for people: ``verify`` (name, password) and ``lookup`` (name), for LDAP, SQL and the like.

Rules of this module:
1. Whatever such a function does ends as an answer or as `SiteFunctionFailed`; the log has the cause, not the password.
2. What it returns is looked at as closely as a file would be: a name with ``/`` in it would be somebody of another
   source, one with a space before it is somebody else once an HTTP header has carried it.
3. Each has threads of its own: logins that hang must not keep those who are logged in from being looked up.
"""

import asyncio
import json
import logging
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from authgate.errors import Busy, SiteFunctionFailed
from authgate.handlers.guarded import Raised, start
from authgate.handlers.loading import Wanted
from authgate.handlers.threads import THREADS, Threads
from authgate.model import Subject

# Seconds. Somebody waits at the login form for the first and at each page for the second.
VERIFY_DEADLINE = 5.0
LOOKUP_DEADLINE = 1.0

# Calls of one function at a time in one worker; 16 more wait for their turn, but no longer than this part of its time.
RUNNING = THREADS
WAITING = 16
PATIENCE = 0.4

MAX_NAME = 256

_log = logging.getLogger("authgate")


def wanted(verify: str | None, lookup: str | None) -> list[Wanted]:
    """Return what has to be imported for these settings."""
    found = []
    if verify:
        found.append(Wanted(f"users.verify: {verify}", verify, ("username", "password")))
    if lookup:
        found.append(Wanted(f"users.lookup: {lookup}", lookup, ("username",)))
    return found


def is_name(name: str) -> bool:
    """Tell whether a name that comes from outside may be a local user's or group's."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    # The white space around it would be lost in `Remote-User` (RFC 9110 section 5.5), and " root" become root.
    if not 0 < size <= MAX_NAME or "/" in name or name.strip() != name:
        return False
    return all(unicodedata.category(character) != "Cc" for character in name)


class _Asked:
    """One function, its time limit, and how many may be in it."""

    def __init__(self, what: str, function: Callable[..., object], deadline: float) -> None:
        self.calls = 0
        self.failures = 0
        self._what = what
        self._function = function
        self._deadline = deadline
        self._threads = Threads(f"authgate-{what}")
        self._places = RUNNING + WAITING
        self._turn = asyncio.Semaphore(RUNNING)

    async def ask(self, *arguments: str, secret: str = "") -> Subject | None:
        """Ask the function and vet what it says.

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
                self.calls += 1
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

    async def _answer(self, arguments: tuple[str, ...], secret: str) -> Subject | None:
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
        if said is None:
            return None
        if not isinstance(said, Subject):
            raise self._failed(f"returned {type(said).__name__}, not authgate.user() or None")
        problem = _problem(said)
        if problem:
            raise self._failed(f"returned {problem}")
        return said

    def _failed(self, why: str) -> SiteFunctionFailed:
        self.failures += 1
        _log.error("users.%s %s", self._what, why)
        return SiteFunctionFailed(f"users.{self._what} {why.partition(chr(10))[0]}")

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()


class Directory:
    """Who the site says somebody is.

    Args:
        verify: None: the site knows no passwords.
        lookup: None: nobody can be looked up.
    """

    def __init__(
        self, verify: Callable[..., object] | None = None, lookup: Callable[..., object] | None = None
    ) -> None:
        self._verify = _Asked("verify", verify, VERIFY_DEADLINE) if verify else None
        self._lookup = _Asked("lookup", lookup, LOOKUP_DEADLINE) if lookup else None

    @property
    def verifies(self) -> bool:
        """True when there is a ``verify``."""
        return self._verify is not None

    @property
    def looks_up(self) -> bool:
        """True when there is a ``lookup``."""
        return self._lookup is not None

    async def verify(self, name: str, password: str) -> Subject | None:
        """Return whose name and password these are; None when they are nobody's, or nobody can be asked.

        Raises:
            Busy: too many are being verified.
            SiteFunctionFailed: there was no answer.
        """
        # RFC 4513 section 5.1.2: a simple bind with a name and no password succeeds on many servers, and means nothing.
        if self._verify is None or not password:
            return None
        return await self._verify.ask(name, password, secret=password)

    async def lookup(self, name: str) -> Subject | None:
        """Return who has this name now; None when nobody has.

        Raises:
            Busy: too many are being looked up.
            SiteFunctionFailed: there was no answer.
        """
        return await self._lookup.ask(name) if self._lookup else None

    def close(self) -> None:
        """Let the threads end."""
        for asked in (self._verify, self._lookup):
            if asked:
                asked.close()


def _problem(said: Subject) -> str:
    """Return what is wrong with a subject; whoever makes one by hand may put anything into it."""
    parts: tuple[object, ...] = said
    source, name, groups, claims = parts
    if source != "":
        return "somebody of another source"
    if not isinstance(name, str) or not is_name(name):
        return "a name that is empty, too long, not text, or has / or control characters in it or white space around it"
    if groups is not None and not (isinstance(groups, frozenset) and all(map(_is_group, groups))):
        return "groups that are no names"
    if not isinstance(claims, frozenset) or not all(map(_is_claim, claims)):
        return "claims that are not text"
    return ""


def _is_group(group: object) -> bool:
    return isinstance(group, str) and is_name(group)


def _is_claim(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) and _is_text(part) for part in pair)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        return f"{raised.outline} (what it says is left out: the password is in it)"
    return raised.traceback
