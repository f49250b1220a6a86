"""Sessions: what stands behind the session cookie.

The cookie is 32 random bytes; the store knows its SHA-256 only, so that nobody can log in with what a copy of the store
holds. A record says who logged in, where and when, and which htpasswd line proved it. Whether that person still exists,
and in which groups, is asked at each request. For somebody whom only the site's ``verify`` knows, the record says what
that said at login; `people` knows for how long it counts.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import secrets
from dataclasses import dataclass, replace

from authgate.credentials.directory import Directory
from authgate.credentials.people import USABLE, People, Standing
from authgate.credentials.users import LocalUsers
from authgate.errors import CredentialError, SiteFunctionFailed, StoreUnavailable
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Site, Subject
from authgate.stores import Clock, Record, Records
from authgate.stores.cache import CachedRecords

KIND = "session"
# The htpasswd file's people, and the site's. The first is as it always was, so that an older authgate reads it too.
VERSION = 1
VERSION_SITE = 2

BAD = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.BAD_CREDENTIAL)
EXPIRED = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.EXPIRED)
REVOKED = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.REVOKED)
UNKNOWN = Identity(None, CredentialKind.SESSION, Reason.STORE_UNAVAILABLE)
FAILED = Identity(None, CredentialKind.SESSION, Reason.HANDLER_ERROR)

# A session that is used is written back once in this part of the idle timeout.
TOUCHES_PER_IDLE_TIMEOUT = 10
# After a touch failed: how long, in seconds, none is tried. Else each request would try one while the store is away.
TOUCH_PAUSE = 5.0

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_log = logging.getLogger("authgate")


@dataclass(frozen=True, slots=True)
class SessionData:
    """What a session's record says.

    Args:
        fingerprint: of the htpasswd line at login, and another one ends the session; None: by the site's ``verify``.
        scope: `Site.scope` of the login; the session is bad at every site with another one.
        created: seconds since the epoch.
        seen: when it was used last, to within a tenth of the idle timeout.
        groups: what ``verify`` said; None: those of the group file.
        claims: what ``verify`` said.
    """

    source: str
    name: str
    fingerprint: str | None
    scope: str
    created: float
    seen: float
    groups: frozenset[str] | None = None
    claims: frozenset[tuple[str, str]] = frozenset()

    @property
    def login(self) -> Standing:
        """What was known of this person when the session began."""
        return Standing(Subject(self.source, self.name, self.groups, self.claims), self.created)


_TEXTS, _TIMES = ("source", "name", "scope"), ("created", "seen")


def encode(data: SessionData) -> bytes:
    """Write a record's value."""
    said: dict[str, object] = {key: getattr(data, key) for key in (*_TEXTS, *_TIMES)}
    if data.fingerprint is not None:
        said |= {"v": VERSION, "fingerprint": data.fingerprint}
    else:
        groups = None if data.groups is None else sorted(data.groups)
        said |= {"v": VERSION_SITE, "groups": groups, "claims": sorted(data.claims)}
    return json.dumps(said, separators=(",", ":")).encode()


def decode(record: Record) -> SessionData | None:
    """Read a record's value; None when it is not exactly one that `encode` writes."""
    try:
        found = json.loads(record.value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    version = found.pop("v", None)
    more = {VERSION: {"fingerprint"}, VERSION_SITE: {"groups", "claims"}}.get(version) if type(version) is int else None
    if more is None or found.keys() != {*_TEXTS, *_TIMES, *more}:
        return None
    # NaN and the infinities, which json reads, are floats: `_is_live` compares so that they are never live.
    if not _are(str, [found[key] for key in _TEXTS]) or not _are(float, [found[key] for key in _TIMES]):
        return None
    if version == VERSION:
        return SessionData(**found) if isinstance(found["fingerprint"], str) else None
    groups, claims = found.pop("groups"), found.pop("claims")
    if groups is not None and not (isinstance(groups, list) and _are(str, groups)):
        return None
    if not isinstance(claims, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in claims):
        return None
    if not _are(str, [part for pair in claims for part in pair]):
        return None
    pairs = frozenset((name, value) for name, value in claims)
    return SessionData(**found, fingerprint=None, groups=None if groups is None else frozenset(groups), claims=pairs)


def _are(kind: type, values: list[object]) -> bool:
    return all(type(value) is kind for value in values)


def key_of(value: str) -> str:
    """Return the key under which a cookie's record is stored."""
    return hashlib.sha256(value.encode()).hexdigest()


class Sessions:
    """Begins, verifies and ends sessions.

    Args:
        records: of `KIND`, read by `decode`.
        idle_timeout: seconds without use after which a session ends.
        lifetime: seconds after login when it ends, used or not.
        people: None: there are none but those of the htpasswd file.
    """

    def __init__(
        self,
        records: CachedRecords[SessionData],
        store: Records,
        users: LocalUsers,
        idle_timeout: float,
        lifetime: float,
        clock: Clock,
        people: People | None = None,
    ) -> None:
        self._people = people or People(Directory(), clock)
        self._records = records
        self._store = store
        self._users = users
        self._idle_timeout = idle_timeout
        self._lifetime = lifetime
        self._clock = clock
        self._touches: dict[str, asyncio.Task[None]] = {}
        self._touch_after = 0.0

    def peek(self, value: str, site: Site) -> Identity | None:
        """Answer from memory; None when the store has to be asked. Needs a running event loop."""
        if _COOKIE.fullmatch(value) is None:
            return BAD
        key = key_of(value)
        data = self._records.peek(key)
        now = self._clock()
        if data is None or not self._is_live(data, now):
            return None
        return self._identify(key, data, site, now)

    async def verify(self, value: str, site: Site) -> Identity:
        """Answer from memory or the store."""
        if _COOKIE.fullmatch(value) is None:
            return BAD
        key = key_of(value)
        try:
            data = await self._records.get(key)
            if data is None:
                return BAD
            if not self._is_live(data, self._clock()):
                # Another worker may have touched it since it was read here.
                data = await self._records.read_again(key)
        except StoreUnavailable:
            return UNKNOWN
        now = self._clock()
        if data is None or not self._is_live(data, now):
            return EXPIRED
        return self._identify(key, data, site, now) or await self._look_up(key, data)

    async def begin(self, subject: Subject, site: Site) -> str:
        """Begin a session and return its cookie's value; always a new one, so that none can be planted beforehand.

        Raises:
            CredentialError: the subject is no local user any more, and the site does not verify any others.
            StoreUnavailable: nothing was stored.
        """
        account = None if subject.source else self._users.account(subject.name)
        by_site = account is None and not subject.source and bool(subject.name) and self._people.verified
        if account is None and not by_site:
            raise CredentialError("no local user of this name")
        now = float(self._clock())
        value = secrets.token_urlsafe(32)
        data = SessionData("", subject.name, account.fingerprint if account else None, site.scope, now, now)
        if by_site:
            data = replace(data, groups=subject.groups, claims=subject.claims)
        await self._store.put(KIND, self._record(key_of(value), data))
        return value

    async def end(self, value: str) -> bool:
        """End the session of a cookie, in every worker; False when there was none.

        Raises:
            StoreUnavailable: it may still be in force.
        """
        if _COOKIE.fullmatch(value) is None:
            return False
        key = key_of(value)
        ended = await self._store.delete(KIND, key)
        self._records.drop(key)
        return ended

    @staticmethod
    def form_token(value: str) -> str:
        """Return the CSRF token of the forms that a logged-in person gets.

        It proves knowledge of the cookie, which another origin can send but not read, and gives nothing of it away.
        """
        return hmac.new(value.encode(), b"authgate form", hashlib.sha256).hexdigest()

    def _ends(self, data: SessionData) -> float:
        # Nobody can ask whether somebody is still there when there is no `lookup`.
        unasked = data.fingerprint is None and not self._people.looked_up
        return data.created + (min(self._lifetime, USABLE) if unasked else self._lifetime)

    def _is_live(self, data: SessionData, now: float) -> bool:
        # A record from the future (the clock was set back) has no known age: it ends rather than live for longer.
        return data.created <= now < self._ends(data) and now < data.seen + self._idle_timeout

    def _identify(self, key: str, data: SessionData, site: Site, now: float) -> Identity | None:
        """Say whose session a live record is; None when the site has to be asked."""
        if data.scope != site.scope:
            return BAD
        account = None if data.source else self._users.account(data.name)
        if data.fingerprint is None:
            identity = self._identify_other(data) if account is None and not data.source else REVOKED
        elif account is None or account.fingerprint != data.fingerprint:
            identity = REVOKED
        else:
            identity = account.by_session
        if identity is not None and not identity.failure:
            self._note_use(key, data, now)
        return identity

    def _identify_other(self, data: SessionData) -> Identity | None:
        if not self._people.verified:
            return REVOKED
        try:
            standing = self._people.peek(data.name, data.login)
        except SiteFunctionFailed:
            return FAILED
        # Somebody who is gone is not refused from memory: `_look_up` ends the session.
        return None if standing is None or standing.subject is None else self._by_session(standing.subject)

    async def _look_up(self, key: str, data: SessionData) -> Identity:
        try:
            standing = await self._people.verify(data.name, data.login)
            # It may have been ended while the site was asked.
            if await self._records.get(key) is None:
                return BAD
        except SiteFunctionFailed:
            return FAILED
        except StoreUnavailable:
            return UNKNOWN
        if standing.subject is not None:
            identity = self._by_session(standing.subject)
            if not identity.failure:
                self._note_use(key, data, self._clock())
            return identity
        # Ended, and not only refused: it must not come back to life with the account.
        try:
            await self._store.delete(KIND, key)
        except StoreUnavailable as error:
            _log.warning("a session that was revoked cannot be ended: %s", error)
        else:
            self._records.drop(key)
        return REVOKED

    def _by_session(self, subject: Subject) -> Identity:
        # The htpasswd file may have got a line of that name, which is then somebody else.
        if self._users.find(subject.name) is not None:
            return REVOKED
        return Identity(self._users.with_groups(subject), CredentialKind.SESSION)

    def _note_use(self, key: str, data: SessionData, now: float) -> None:
        # The distance, not the age: `seen` may lie in the future when the clock was set back.
        due = abs(now - data.seen) * TOUCHES_PER_IDLE_TIMEOUT >= self._idle_timeout
        if not due or key in self._touches or 0 < self._touch_after - now <= TOUCH_PAUSE:
            return
        data = replace(data, seen=float(now))
        # Kept here: the loop itself holds tasks by weak references only.
        self._touches[key] = task = asyncio.get_running_loop().create_task(self._touch(key, data))
        task.add_done_callback(lambda _: self._touches.pop(key, None))

    async def _touch(self, key: str, data: SessionData) -> None:
        try:
            if await self._store.touch(KIND, self._record(key, data)):
                self._records.replace(key, data)
            else:
                self._records.drop(key)
        except StoreUnavailable as error:
            self._touch_after = self._clock() + TOUCH_PAUSE
            _log.warning("the use of sessions cannot be noted: %s", error)

    def _record(self, key: str, data: SessionData) -> Record:
        expires = min(self._ends(data), data.seen + self._idle_timeout)
        return Record(key, encode(data), Subject(data.source, data.name).id, expires)
