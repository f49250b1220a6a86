"""Sessions of existing applications, accepted as they are.

Rules of this module:
1. What is unsigned, wrongly signed, too old, too large or about nobody is absent, not bad: browsers send the cookies
   of applications long after they mean anything, and none of them may log anybody out.
2. Nothing is read before its signature is verified; and then only as data (`session_data`).
3. Only what was verified is remembered, and no longer than the secrets stay as they are. What fails costs some hashes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from authgate.config.secrets import parse_secret_of_others
from authgate.config.sources import ApplicationSettings, DataPath
from authgate.credentials.claims import is_name_elsewhere, member
from authgate.credentials.django_cookie import django_opener
from authgate.credentials.itsdangerous_cookie import flask_opener, starlette_opener
from authgate.credentials.remembered import RememberedIdentities
from authgate.credentials.session_data import SessionData
from authgate.credentials.signed_cookie import Opener, OpenerFactory
from authgate.credentials.site_sessions import BUSY, Answer, SiteSessions
from authgate.credentials.watched import Watched, load_all
from authgate.errors import CredentialError, Problem
from authgate.handlers.loading import Wanted
from authgate.model import NOBODY, CredentialKind, Identity, Subject
from authgate.stores import Clock

# Each is tried for each cookie that none has signed.
MAX_SECRETS = 8
# The application's clock may be ahead of ours by so many seconds.
AHEAD = 60.0
# Seconds for which an answer of the site's function counts.
FRESH = 2.0
# Sessions, and bytes that they hold together.
REMEMBERED = 10_000
REMEMBERED_SIZE = 16 * 1024 * 1024

# nginx takes no header line over 8 KiB by default.
MAX_COOKIE = 8192
# What RFC 6265 section 4.1.1 allows in a value is less; none of the applications sends more.
_VALUE = re.compile(r"[!-~]+")

_FACTORIES: Mapping[str, OpenerFactory] = {
    "flask": flask_opener,
    "starlette": starlette_opener,
    "django": django_opener,
}
_NOTHING = Answer(None, 0.0)


def wanted_by_applications(applications: Iterable[ApplicationSettings]) -> list[Wanted]:
    """Return what has to be imported for these settings."""
    return [Wanted(f"{one.place}: {one.function}", one.function, ("value",)) for one in applications if one.function]


class ApplicationCookie:
    """One application's session cookie.

    Args:
        function: the site's own, for the kind ``function``.
    """

    def __init__(
        self, settings: ApplicationSettings, clock: Clock, function: Callable[..., object] | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._secrets = [Watched(path, parse_secret_of_others, b"") for path in settings.secrets]
        self._open: Opener | None = None
        self._known = RememberedIdentities(REMEMBERED, REMEMBERED_SIZE)
        what = f"{settings.place}: {settings.function}"
        self._site = SiteSessions(what, function, clock) if function else None

    @property
    def name(self) -> str:
        """The cookie's name."""
        return self._settings.cookie

    def load(self) -> None:
        """Read the secrets now.

        Raises:
            ConfigError: one of them is wrong.
        """
        problems = []
        if len(self._secrets) > MAX_SECRETS:
            hint = "those that were replaced long ago sign nothing that counts"
            problems.append(Problem(f"{self._settings.place}.secrets", f"more than {MAX_SECRETS}", hint))
        load_all(self._secrets, problems)
        self._rebuild()

    def poll(self, now: float) -> None:
        """Take over changed secrets; never raises."""
        before = [secret.parsed for secret in self._secrets]
        changed = [secret.poll(now) for secret in self._secrets]
        # A file is read once more after the start, whose content is the same.
        if any(changed) and before != [secret.parsed for secret in self._secrets]:
            self._rebuild()

    def peek(self, value: str) -> Identity | None:
        """Answer at once; None when the site's function has to be asked."""
        if len(value) > MAX_COOKIE:
            return NOBODY
        now = self._clock()
        known = self._known.find(value, now)
        if known is not None:
            return known
        if _VALUE.fullmatch(value) is None:
            return NOBODY
        return None if self._site else self._verify(value, now)

    async def verify(self, value: str) -> Identity:
        """Answer."""
        known = self.peek(value)
        if known is not None:
            return known
        found, asked = await self._site.ask(value) if self._site else _NOTHING
        if found is None:
            return NOBODY
        identity, size = (self._identity(found), found.size) if isinstance(found, SessionData) else (found, 0)
        # A login acts at once, so nothing is remembered about nobody; nor that there was no time.
        if identity is not NOBODY and identity is not BUSY:
            self._known.keep(value, identity, asked, asked + FRESH, size)
        return identity

    def close(self) -> None:
        """Release threads."""
        if self._site is not None:
            self._site.close()

    def _rebuild(self) -> None:
        factory = _FACTORIES.get(self._settings.kind)
        if factory is not None:
            secrets = [secret.parsed for secret in self._secrets]
            self._open = factory(secrets, self._settings.salt, self._settings.digest)
        self._known.clear()

    def _verify(self, value: str, now: float) -> Identity:
        opened = self._open(value) if self._open else None
        if opened is None:
            return NOBODY
        begins, ends = opened.signed - AHEAD, opened.signed + self._settings.max_age
        identity = self._identity(opened.data) if begins <= now <= ends else NOBODY
        if identity is not NOBODY:
            self._known.keep(value, identity, begins, ends, opened.data.size)
        return identity

    def _identity(self, data: SessionData) -> Identity:
        """Return whom the session is about; `NOBODY` when nobody has logged in, or it is not as configured."""
        try:
            name = _name(member(data.members, self._settings.user))
            groups = None if self._settings.groups is None else _groups(data.members, self._settings.groups)
        except CredentialError:
            return NOBODY
        subject = Subject(self._settings.source, name, groups)
        return Identity(subject, CredentialKind.APPLICATION, session=data.members)


def _name(value: object) -> str:
    # A bool is an int to Python; and the text of a very long number takes very long.
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64):
        return str(value)
    if not isinstance(value, str) or not is_name_elsewhere(value):
        raise CredentialError("names nobody")
    return value


def _groups(members: Mapping[str, object], path: DataPath) -> frozenset[str] | None:
    """Return the groups; None when the session says nothing about them, so that membership is unknown."""
    try:
        value = member(members, path)
    except CredentialError:
        return None
    if value is None:
        return None
    names = value if isinstance(value, tuple | frozenset) else (value,)
    if not all(isinstance(name, str) and is_name_elsewhere(name) for name in names):
        raise CredentialError("not groups")
    return frozenset(names)
