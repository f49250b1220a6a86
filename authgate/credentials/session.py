"""Sessions: what stands behind the session cookie.

The cookie is 32 random bytes; the store knows its SHA-256 only, so that nobody can log in with what a copy of the store
holds. A record says who logged in, where and when, and which htpasswd line proved it. Whether that person still exists,
and in which groups, is asked at each request.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import secrets
from dataclasses import asdict, dataclass, replace

from authgate.credentials.users import LocalUsers
from authgate.errors import CredentialError, StoreUnavailable
from authgate.model import ANONYMOUS, CredentialKind, Identity, Reason, Site, Subject
from authgate.stores import Clock, Record, Records
from authgate.stores.cache import CachedRecords

KIND = "session"
VERSION = 1

BAD = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.BAD_CREDENTIAL)
EXPIRED = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.EXPIRED)
REVOKED = Identity(ANONYMOUS, CredentialKind.SESSION, Reason.REVOKED)
UNKNOWN = Identity(None, CredentialKind.SESSION, Reason.STORE_UNAVAILABLE)

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
        fingerprint: of the htpasswd line at login; another line ends the session.
        scope: `Site.scope` of the login; the session is bad at every site with another one.
        created: seconds since the epoch.
        seen: when it was used last, to within a tenth of the idle timeout.
    """

    source: str
    name: str
    fingerprint: str
    scope: str
    created: float
    seen: float


def encode(data: SessionData) -> bytes:
    """Write a record's value."""
    return json.dumps({"v": VERSION, **asdict(data)}, separators=(",", ":")).encode()


def decode(record: Record) -> SessionData | None:
    """Read a record's value; None when it is not exactly one that `encode` writes."""
    try:
        found = json.loads(record.value)
    except (ValueError, RecursionError):
        return None
    texts, times = ("source", "name", "fingerprint", "scope"), ("created", "seen")
    if not isinstance(found, dict) or found.keys() != {"v", *texts, *times} or found["v"] != VERSION:
        return None
    # NaN and the infinities, which json reads, are floats: `_is_live` compares so that they are never live.
    if not all(isinstance(found[key], str) for key in texts) or not all(type(found[key]) is float for key in times):
        return None
    del found["v"]
    return SessionData(**found)


def key_of(value: str) -> str:
    """Return the key under which a cookie's record is stored."""
    return hashlib.sha256(value.encode()).hexdigest()


class Sessions:
    """Begins, verifies and ends sessions.

    Args:
        records: of `KIND`, read by `decode`.
        idle_timeout: seconds without use after which a session ends.
        lifetime: seconds after login when it ends, used or not.
    """

    def __init__(
        self,
        records: CachedRecords[SessionData],
        store: Records,
        users: LocalUsers,
        idle_timeout: float,
        lifetime: float,
        clock: Clock,
    ) -> None:
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
        return self._identify(key, data, site, now)

    async def begin(self, subject: Subject, site: Site) -> str:
        """Begin a session and return its cookie's value; always a new one, so that none can be planted beforehand.

        Raises:
            CredentialError: the subject is no local user any more.
            StoreUnavailable: nothing was stored.
        """
        fingerprint = None if subject.source else self._users.fingerprint(subject.name)
        if fingerprint is None:
            raise CredentialError("no local user of this name")
        now = float(self._clock())
        value = secrets.token_urlsafe(32)
        data = SessionData(subject.source, subject.name, fingerprint, site.scope, now, now)
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

    def _is_live(self, data: SessionData, now: float) -> bool:
        # A record from the future (the clock was set back) has no known age: it ends rather than live for longer.
        return data.created <= now < data.created + self._lifetime and now < data.seen + self._idle_timeout

    def _identify(self, key: str, data: SessionData, site: Site, now: float) -> Identity:
        if data.scope != site.scope:
            return BAD
        account = None if data.source else self._users.account(data.name)
        if account is None or account.fingerprint != data.fingerprint:
            return REVOKED
        # The distance, not the age: `seen` may lie in the future when the clock was set back.
        due = abs(now - data.seen) * TOUCHES_PER_IDLE_TIMEOUT >= self._idle_timeout
        if due and not 0 < self._touch_after - now <= TOUCH_PAUSE:
            self._schedule_touch(key, replace(data, seen=float(now)))
        return account.by_session

    def _schedule_touch(self, key: str, data: SessionData) -> None:
        if key in self._touches:
            return
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
        expires = min(data.created + self._lifetime, data.seen + self._idle_timeout)
        return Record(key, encode(data), Subject(data.source, data.name).id, expires)
