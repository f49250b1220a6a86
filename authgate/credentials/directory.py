"""The site's own functions for people: ``verify`` (name, password) and ``lookup`` (name), for LDAP, SQL and the like.

Rules of this module:
1. What it returns is looked at as closely as a file would be: a name with ``/`` in it would be somebody of another
   source, one with a space before it is somebody else once an HTTP header has carried it.
2. Logins that hang must not keep those who are logged in from being looked up: see `BoundedFunction`.
"""

import unicodedata
from collections.abc import Callable

from authgate.handlers.bounded import BoundedFunction
from authgate.handlers.loading import Wanted
from authgate.model import Subject

# Seconds. Somebody waits at the login form for the first and at each page for the second.
VERIFY_DEADLINE = 5.0
LOOKUP_DEADLINE = 1.0

MAX_NAME = 256


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


class Directory:
    """Who the site says somebody is.

    Args:
        verify: None: the site knows no passwords.
        lookup: None: nobody can be looked up.
    """

    def __init__(
        self, verify: Callable[..., object] | None = None, lookup: Callable[..., object] | None = None
    ) -> None:
        self._verify = BoundedFunction("users.verify", verify, VERIFY_DEADLINE, _problem) if verify else None
        self._lookup = BoundedFunction("users.lookup", lookup, LOOKUP_DEADLINE, _problem) if lookup else None

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
        return _subject(await self._verify.ask(name, password, secret=password))

    async def lookup(self, name: str) -> Subject | None:
        """Return who has this name now; None when nobody has.

        Raises:
            Busy: too many are being looked up.
            SiteFunctionFailed: there was no answer.
        """
        return _subject(await self._lookup.ask(name)) if self._lookup else None

    def close(self) -> None:
        """Let the threads end."""
        for function in (self._verify, self._lookup):
            if function:
                function.close()


def _subject(said: object) -> Subject | None:
    return said if isinstance(said, Subject) else None


def _problem(said: object) -> str:
    """Return what is wrong with an answer; whoever makes a subject by hand may put anything into it."""
    if not isinstance(said, Subject):
        return f"{type(said).__name__}, not authgate.user() or None"
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
