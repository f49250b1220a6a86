"""Records in this process only: for tests, and for trying things out with one worker."""

import asyncio
import heapq
from collections.abc import Callable

from authgate.stores import Clock, Record

_Followers = list[tuple[Callable[[str, str], None], Callable[[], None]]]


class MemoryStore:
    """A store that is gone when its process ends."""

    def __init__(self, clock: Clock) -> None:  # noqa: ARG002 - every store is made alike
        self._records: dict[tuple[str, str], Record] = {}
        self._followers: _Followers = []

    async def put(self, kind: str, record: Record) -> None:
        """Create the record, or replace one with the same key."""
        self._records[kind, record.key] = record

    async def get(self, kind: str, key: str) -> Record | None:
        """Return the record, expired or not; None when there is none."""
        return self._records.get((kind, key))

    async def touch(self, kind: str, record: Record) -> bool:
        """Replace a record that still exists."""
        if (kind, record.key) not in self._records:
            return False
        self._records[kind, record.key] = record
        return True

    async def delete(self, kind: str, key: str) -> bool:
        """Remove the record and tell every follower."""
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
        found = (
            record
            for (its_kind, _), record in self._records.items()
            if its_kind == kind and owner in (None, record.owner)
        )
        return sorted(found, key=lambda record: (record.expires, record.key))

    async def purge(self, now: float, limit: int) -> int:
        """Remove at most `limit` records that expired before `now`, oldest first."""
        expired = ((record.expires, kind, key) for (kind, key), record in self._records.items() if record.expires < now)
        oldest = heapq.nsmallest(limit, expired)
        for _, kind, key in oldest:
            del self._records[kind, key]
        return len(oldest)

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

    def _announce(self, kind: str, key: str) -> None:
        for on_deleted, _ in self._followers:
            on_deleted(kind, key)
