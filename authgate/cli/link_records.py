"""What the store knows of links that `authgate link create` has signed: everything but their signature."""

import json
import time
from collections.abc import Mapping
from typing import NamedTuple

from authgate.credentials.link_format import LAST, LinkTerms, parse_claims
from authgate.credentials.links import counter_key, revocation
from authgate.credentials.revocations import KIND as REVOCATION
from authgate.credentials.revocations import MAX_REVOCATIONS
from authgate.stores import Record, Store

KIND = "link"

_VERSION = 1


class Known(NamedTuple):
    """A link as it stands.

    Args:
        created: None: an application has signed it.
        taken: of its uses.
    """

    terms: LinkTerms
    created: float | None
    taken: int
    revoked: bool

    def state(self, now: float) -> str:
        """Say in a word whether it admits now."""
        if self.revoked:
            return "revoked"
        if now >= self.terms.ends:
            return "expired"
        if now < self.terms.begins:
            return "not yet"
        return "valid" if self.terms.uses is None or self.taken < self.terms.uses else "used up"


def record(claims: Mapping[str, object], now: float) -> Record:
    """Return the record of a link; it ends with the link."""
    terms = parse_claims(claims)
    value = json.dumps({"version": _VERSION, "created": now, "claims": claims}, separators=(",", ":"))
    return Record(terms.id, value.encode(), "", terms.ends)


async def look_up(store: Store, name: str) -> Known | None:
    """Return the link with this id; None when no such link was recorded, or it has ended long ago."""
    found = await store.get(KIND, name)
    read = decode(found) if found else None
    return await as_it_stands(store, *read) if read else None


async def every(store: Store) -> list[Known]:
    """Return all links that were recorded and have not ended, soonest to end first."""
    now = time.time()
    read = [decode(found) for found in await store.scan(KIND) if found.expires > now]
    return [await as_it_stands(store, *parts) for parts in read if parts]


async def as_it_stands(store: Store, terms: LinkTerms, created: float | None) -> Known:
    """Return a link with what has become of it."""
    counted = await store.counted(counter_key(terms.id)) if terms.uses is not None else None
    return Known(terms, created, counted.number if counted else 0, await _is_revoked(store, terms.id))


async def revoke(store: Store, name: str, ends: float | None) -> str:
    """Revoke a link; return what is in the way of that.

    Args:
        ends: when the link does; None: nobody knows.
    """
    if len(await store.scan(REVOCATION)) >= MAX_REVOCATIONS:
        return f"{MAX_REVOCATIONS:,} are revoked already"
    await store.announce(REVOCATION, revocation(name).record(float(LAST) if ends is None else ends))
    return ""


def decode(found: Record) -> tuple[LinkTerms, float] | None:
    """Read a record; None when it is not one that was written here."""
    try:
        read = json.loads(found.value)
        if read["version"] != _VERSION:
            return None
        return parse_claims(read["claims"]), float(read["created"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


async def _is_revoked(store: Store, name: str) -> bool:
    found = await store.get(REVOCATION, revocation(name).key)
    return found is not None and found.expires > time.time()
