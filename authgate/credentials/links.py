"""Signed links: a fact about a request, not an identity.

Rules of this module:
1. What is in the query is the client's: whatever it is, it makes a `Link` that covers nothing, never an exception.
2. A verified link is remembered under a keyed hash, and no longer than the ring stays as it is. What it says about a
   request, whether it has ended and whether it is revoked are asked each time.
3. A use is counted in the store, once for each unit of link, path and client, before anybody gets anything for it.
   What a worker remembers of units only saves asking again; while the store is away, no new unit begins.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from authgate.credentials.keyring import parse_own
from authgate.credentials.link_format import ALGORITHM, MAX_LINK, PARAMETER, LinkTerms, open_link
from authgate.credentials.revocations import Revocation, Revocations
from authgate.credentials.watched import Watched
from authgate.errors import ConfigError, Problem, StoreUnavailable
from authgate.keys import LINK, Key
from authgate.model import AccessRequest, Link, Reason, Use
from authgate.stores import Clock, Store

# Source of the revocations of links: none can be configured, because of the colon.
SOURCE = "link:"
# Seconds for which more requests of a unit are free.
FREE = 86400.0
# Some 1 KiB each.
REMEMBERED = 10_000
# Some 200 bytes each. A unit that is forgotten costs one read of the store.
REMEMBERED_UNITS = 50_000

BAD = Link("", Reason.BAD_CREDENTIAL)

_ALONE, _WITH_VALUE, _WITHOUT = f"{PARAMETER}=", f"&{PARAMETER}=", f"&{PARAMETER}&"

_K = TypeVar("_K")
_V = TypeVar("_V")
_Keys = Mapping[str, Key]
_NO_KEYS: _Keys = MappingProxyType({})


class _Bounded(Generic[_K, _V]):
    """So many values, the least used forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[_K, _V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: _K) -> _V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: _K, value: _V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()


class Links:
    """What the link in a request's query is good for, and how often it was used.

    Args:
        keys: a ring of purpose ``link``.
        capacity: how many links are remembered, the least used forgotten first.
        units: how many units are, likewise.
    """

    def __init__(
        self,
        keys: Path,
        store: Store,
        revocations: Revocations,
        clock: Clock,
        *,
        capacity: int = REMEMBERED,
        units: int = REMEMBERED_UNITS,
    ) -> None:
        self._ring = watch_keys(keys)
        self._store = store
        self._revocations = revocations
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._proofs: _Bounded[bytes, LinkTerms] = _Bounded(capacity)
        self._units: _Bounded[str, float] = _Bounded(units)

    def load(self) -> None:
        """Read the ring now.

        Raises:
            ConfigError: it cannot be used.
        """
        self._ring.load()
        self._proofs.clear()

    def poll(self, now: float) -> None:
        """Take over a changed ring; never raises.

        Args:
            now: seconds by a monotonic clock.
        """
        if self._ring.poll(now):
            self._proofs.clear()

    @property
    def remembered(self) -> int:
        """How many links are remembered."""
        return len(self._proofs)

    def look(self, request: AccessRequest) -> Link | None:
        """Return what the request's link says about this request; None when it carries none. Never raises."""
        if not request.query:
            return None
        value = find_value(request.query)
        if value is None:
            return None
        terms = self._open(value)
        if terms is None:
            return BAD
        return Link(terms.id, self._failure(terms, request), terms.uses)

    async def use(self, link: Link, request: AccessRequest) -> Use:
        """Use a counted link once more, as one step that no other worker can come between; never raises.

        A unit is a link, a path and a client's address; more requests of one within 24 hours are free. HEAD uses
        nothing up: it tells what GET would.
        """
        terms = self._open(find_value(request.query) or "")
        # Not so, unless the ring has changed since.
        if terms is None or terms.id != link.id or terms.uses is None:
            return Use.UNKNOWN
        if request.address is None:
            return Use.UNKNOWN
        now, unit = self._clock(), _unit(terms.id, request)
        # The distance: a clock that was set back makes no unit stand longer.
        if now < (self._units.get(unit) or 0.0) <= now + FREE:
            return Use.GRANTED
        key = counter_key(terms.id)
        try:
            if request.method == "HEAD":
                left = await self._store.is_left(key, unit, terms.uses, FREE)
                return Use.GRANTED if left else Use.USED_UP
            ends = await self._store.take(key, unit, terms.uses, terms.ends, FREE)
        except StoreUnavailable:
            return Use.UNKNOWN
        if ends is None:
            return Use.USED_UP
        self._units.put(unit, ends)
        return Use.GRANTED

    def _failure(self, terms: LinkTerms, request: AccessRequest) -> Reason | None:
        now = self._clock()
        if not terms.begins <= now < terms.ends:
            return Reason.EXPIRED
        if not terms.scope.covers(request):
            return Reason.SCOPE_EXCEEDED
        if not self._revocations.known:
            return Reason.STORE_UNAVAILABLE
        return Reason.REVOKED if self._revocations.hits(SOURCE, "", terms.id, None) else None

    def _open(self, value: str) -> LinkTerms | None:
        if len(value) > MAX_LINK:
            return None
        octets = value.encode(errors="surrogatepass")
        digest = hashlib.blake2b(octets, key=self._key, digest_size=32).digest()
        terms = self._proofs.get(digest)
        if terms is None:
            terms = open_link(value, self._ring.parsed)
            if terms is not None:
                self._proofs.put(digest, terms)
        return terms


def watch_keys(path: Path | None) -> Watched[_Keys]:
    """Return the keys of a ring for links, by id, in a file that is not yet read.

    Args:
        path: None: there are no links.
    """
    return Watched(path, _parse_keys, _NO_KEYS)


def _parse_keys(content: bytes, name: str) -> _Keys:
    keys = [entry.key for entry in parse_own(content, name).entries]
    for key in keys:
        if key.purpose != LINK or key.algorithm != ALGORITHM:
            what = f'the key "{key.id}" is for {key.purpose} with {key.algorithm}, not for links'
            hint = f"make a ring for links: authgate key new FILE --purpose {LINK}"
            raise ConfigError([Problem(name, what, hint)])
    return {key.id: key for key in keys}


def find_value(query: str) -> str | None:
    """Return what a raw query has for the link's parameter; None when it has none.

    Empty, which is no link, when it stands there twice: an application might read the other one. Nothing is decoded: a
    name written otherwise (``%61g``, ``AG``) is another parameter.
    """
    if PARAMETER not in query:
        return None
    # Most that have one have nothing else.
    if query.startswith(_ALONE) and "&" not in query:
        return query.removeprefix(_ALONE)
    padded = f"&{query}&"
    _, found, rest = padded.partition(_WITH_VALUE)
    if _WITHOUT in padded:
        return ""
    if not found:
        return None
    value, _, others = rest.partition("&")
    return "" if _WITH_VALUE in f"&{others}" else value


def counter_key(name: str) -> str:
    """Return the key of the counter of a link's uses, for `Counters.counted`.

    Args:
        name: the link's id.
    """
    return f"link:{name}"


def revocation(name: str) -> Revocation:
    """Return what revokes a link.

    It has to last until the link ends; where nobody knows when that is, until `link_format.LAST`.

    Args:
        name: the link's id.
    """
    return Revocation(SOURCE, jti=name)


def _unit(name: str, request: AccessRequest) -> str:
    # Neither an id nor an address has a NUL in it. Hashed: the store need not know who looked at what.
    text = f"{name}\0{request.address}\0{request.path}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
