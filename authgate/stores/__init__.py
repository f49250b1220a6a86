"""Where records are kept: small interfaces that every store fulfils alike (`tests/stores` holds them to it).

A record is a key, opaque bytes and a time to live. What takes access away (`delete`, `delete_owned`, `announce`) also
writes a *change*, which every worker sees within 100 ms through `follow`; what only adds or refreshes does not. `purge`
writes none either: what it removes was refused already, because it had expired.

A counter is a key, a number and a moment at which it ends, as if nothing had been counted.

A use is counted by a counter that has a limit, once for each unit that asks: while a unit stands, it costs no more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

# Seconds since the epoch, UTC. An argument everywhere, so that tests move time instead of sleeping.
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record.

    Args:
        key: unique within its kind; for sessions the SHA-256 of the cookie in hex, never the cookie.
        value: opaque to the store.
        owner: whose it is, so that all of one person's can be listed and ended; may be empty.
        expires: seconds since the epoch; a store may still return an expired record, `purge` removes it.
    """

    key: str
    value: bytes
    owner: str
    expires: float


class Records(Protocol):
    """Records by kind (``session``) and key. Every method raises `StoreUnavailable` when the store is away."""

    async def put(self, kind: str, record: Record) -> None:
        """Create the record, or replace one with the same key."""

    async def announce(self, kind: str, record: Record) -> None:
        """Create or replace a record that takes access away, such as a revocation, and write a change."""

    async def get(self, kind: str, key: str) -> Record | None:
        """Return the record, expired or not; None when there is none."""

    async def touch(self, kind: str, record: Record) -> bool:
        """Replace a record that still exists; never bring back one that was deleted. No change is written."""

    async def delete(self, kind: str, key: str) -> bool:
        """Remove the record and write a change; False when there was none."""

    async def delete_owned(self, kind: str, owner: str | None) -> int:
        """Remove all records of `owner`, or of everybody for None; a change for each; how many they were."""

    async def scan(self, kind: str, owner: str | None = None) -> list[Record]:
        """Return the records of `owner`, or of everybody, soonest to expire first."""

    async def purge(self, now: float, limit: int) -> int:
        """Remove at most `limit` records that expired before `now`, oldest first; how many were removed.

        Counters that ended before `now` go too, and units, as many of each at most.
        """


class Changes(Protocol):
    """The channel by which one worker learns what another took away."""

    async def follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        """Call `on_deleted(kind, key)` for each deletion from now on, by whichever process; run until cancelled.

        What is announced counts as deleted: whatever was known of the record is no longer so. Several may follow one
        store object, at the cost of one.

        Calls `on_lost()` when deletions may have been missed: what was read before must be read again. That is once
        at the beginning, as soon as deletions are seen; when the channel was lost (the store was away, or another file
        stands in its place); and again at each try while it is away. Never raises for a store that is away; it goes
        on trying.
        """


class Count(NamedTuple):
    """How often something was counted, and until when that stands; zero and 0.0 when it was not."""

    number: int
    ends: float


NOTHING_COUNTED = Count(0, 0.0)


class Counters(Protocol):
    """Numbers that several workers count up together. Every method raises `StoreUnavailable` when the store is away."""

    async def add(self, key: str, seconds: float) -> Count:
        """Count one more, as one step that no other worker can come between.

        Args:
            seconds: the counter ends so long after the first that is counted. One that would end later than that from
                now (the clock was set back) begins anew.
        """

    async def counted(self, key: str) -> Count:
        """Return the counter as it stands; `NOTHING_COUNTED` when it ended or never began."""

    async def clear(self, key: str) -> None:
        """End the counter now."""


class Uses(Protocol):
    """Uses that several workers take from one stock. Every method raises `StoreUnavailable` when the store is away."""

    async def take(self, key: str, unit: str, limit: int, expires: float, free_for: float) -> float | None:
        """Count one use more, as one step that no other worker can come between, unless the unit stands already.

        A unit that stands is only read. One that would stand for longer than `free_for` from now (the clock was set
        back) does not stand.

        Args:
            key: of the counter, which `Counters.counted` shows.
            limit: so many uses there are.
            expires: the counter ends, and so does each unit; later than now.
            free_for: seconds for which a unit stands.

        Returns:
            Until when the unit stands; None when it does not, and no use is left.
        """

    async def is_left(self, key: str, unit: str, limit: int, free_for: float) -> bool:
        """Tell whether `take` would count or find a unit; nothing is written."""


class Store(Records, Changes, Counters, Uses, Protocol):
    """Everything a worker needs of a store.

    Args:
        operations: how often it was asked for something, by this object.
        errors: how many of them ended in `StoreUnavailable`.
    """

    operations: int
    errors: int

    @property
    def up(self) -> bool:
        """True while deletions are being followed."""

    async def aclose(self) -> None:
        """Release files and connections."""
