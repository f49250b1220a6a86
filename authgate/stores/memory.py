"""Records in this process only: for tests, and for trying things out with one worker."""

import asyncio
import heapq
from collections.abc import Callable

from authgate.stores import NOTHING_COUNTED, Clock, Count, Record

_Followers = list[tuple[Callable[[str, str], None], Callable[[], None]]]


class MemoryStore:
    """A store that is gone when its process ends."""

    def __init__(self, clock: Clock) -> None:
        self.operations = 0
        self.errors = 0
        self._clock = clock
        self._records: dict[tuple[str, str], Record] = {}
        self._counters: dict[str, Count] = {}
        self._units: dict[tuple[str, str], float] = {}
        self._followers: _Followers = []

    @property
    def up(self) -> bool:
        """True while somebody follows."""
        return bool(self._followers)

    async def put(self, kind: str, record: Record) -> None:
        """Create the record, or replace one with the same key."""
        self.operations += 1
        self._records[kind, record.key] = record

    async def announce(self, kind: str, record: Record) -> None:
        """Create or replace the record and tell every follower."""
        self.operations += 1
        self._records[kind, record.key] = record
        self._announce(kind, record.key)

    async def get(self, kind: str, key: str) -> Record | None:
        """Return the record, expired or not; None when there is none."""
        self.operations += 1
        return self._records.get((kind, key))

    async def touch(self, kind: str, record: Record) -> bool:
        """Replace a record that still exists."""
        self.operations += 1
        if (kind, record.key) not in self._records:
            return False
        self._records[kind, record.key] = record
        return True

    async def delete(self, kind: str, key: str) -> bool:
        """Remove the record and tell every follower."""
        self.operations += 1
        if self._records.pop((kind, key), None) is None:
            return False
        self._announce(kind, key)
        return True

    async def delete_owned(self, kind: str, owner: str | None) -> int:
        """Remove all records of `owner`, or of everybody for None, and tell every follower."""
        records = await self.scan(kind, owner)
        for record in records:
            del self._records[kind, record.key]
            self._announce(kind, record.key)
        return len(records)

    async def scan(self, kind: str, owner: str | None = None) -> list[Record]:
        """Return the records of `owner`, or of everybody, soonest to expire first."""
        self.operations += 1
        found = (
            record
            for (its_kind, _), record in self._records.items()
            if its_kind == kind and owner in (None, record.owner)
        )
        return sorted(found, key=lambda record: (record.expires, record.key))

    async def purge(self, now: float, limit: int) -> int:
        """Remove at most `limit` records that expired before `now`, oldest first, and as many counters."""
        self.operations += 1
        ended = heapq.nsmallest(limit, ((count.ends, key) for key, count in self._counters.items() if count.ends < now))
        for _, key in ended:
            del self._counters[key]
        for _, unit in heapq.nsmallest(limit, ((ends, unit) for unit, ends in self._units.items() if ends < now)):
            del self._units[unit]
        expired = ((record.expires, kind, key) for (kind, key), record in self._records.items() if record.expires < now)
        oldest = heapq.nsmallest(limit, expired)
        for _, kind, key in oldest:
            del self._records[kind, key]
        return len(oldest)

    async def add(self, key: str, seconds: float) -> Count:
        """Count one more."""
        self.operations += 1
        now = self._clock()
        before = self._counters.get(key, NOTHING_COUNTED)
        count = Count(before.number + 1, before.ends) if now < before.ends <= now + seconds else Count(1, now + seconds)
        self._counters[key] = count
        return count

    async def counted(self, key: str) -> Count:
        """Return the counter as it stands."""
        self.operations += 1
        return self._count(key, self._clock())

    async def clear(self, key: str) -> None:
        """End the counter now."""
        self.operations += 1
        self._counters.pop(key, None)

    async def take(self, key: str, unit: str, limit: int, expires: float, free_for: float) -> float | None:
        """Count one use more, unless the unit stands already."""
        self.operations += 1
        now = self._clock()
        ends = self._standing(key, unit, now, free_for)
        if ends:
            return ends
        taken = self._count(key, now)
        if taken.number >= limit:
            return None
        self._counters[key] = Count(taken.number + 1, max(taken.ends, expires))
        self._units[key, unit] = ends = min(now + free_for, expires)
        return ends

    async def is_left(self, key: str, unit: str, limit: int, free_for: float) -> bool:
        """Tell whether `take` would count or find a unit."""
        self.operations += 1
        now = self._clock()
        return bool(self._standing(key, unit, now, free_for)) or self._count(key, now).number < limit

    async def follow(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        """Call `on_deleted` for each deletion from now on; run until cancelled."""
        follower = (on_deleted, on_lost)
        self._followers.append(follower)
        try:
            on_lost()
            await asyncio.Event().wait()
        finally:
            self._followers.remove(follower)

    async def aclose(self) -> None:
        """Hold nothing open, so release nothing."""

    def _count(self, key: str, now: float) -> Count:
        count = self._counters.get(key, NOTHING_COUNTED)
        return count if now < count.ends else NOTHING_COUNTED

    def _standing(self, key: str, unit: str, now: float, free_for: float) -> float:
        """Return until when a unit stands; 0.0 when it does not."""
        ends = self._units.get((key, unit), 0.0)
        return ends if now < ends <= now + free_for else 0.0

    def _announce(self, kind: str, key: str) -> None:
        for on_deleted, _ in self._followers:
            on_deleted(kind, key)
