"""Decoded records of one kind, kept in a worker's memory so that most requests ask no store.

Rules:
1. Nothing is kept unless `CachedRecords.run` follows the store: a deletion nobody tells us of could not be obeyed.
2. A deletion, or a loss of the channel, that arrives while a record is being read spoils that read: it is made again,
   so that what was read before the deletion cannot be kept or returned after it.
3. Absence is not kept: a flood of invented cookies must not push out the records of people who are logged in.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from authgate.errors import StoreUnavailable
from authgate.stores import Record, Store

T = TypeVar("T")

# A read is spoiled at most once in each round of the follower (20 ms for SQLite); a store in which this happens
# several times in a row is not fit to be believed.
_ATTEMPTS = 4


class CachedRecords(Generic[T]):
    """The records of one kind, the most recently used of them in memory.

    Args:
        decode: makes a value of a record; None when it is unreadable, which counts as absent.
        capacity: how many values are kept.

    `misses` counts what was not in memory; `len` is how much is.
    """

    def __init__(self, store: Store, kind: str, decode: Callable[[Record], T | None], capacity: int) -> None:
        self._store = store
        self._kind = kind
        self._decode = decode
        self._capacity = capacity
        self.misses = 0
        self._following = False
        self._values: OrderedDict[str, T] = OrderedDict()
        self._reads: dict[str, asyncio.Task[T | None]] = {}
        self._spoiled: set[str] = set()

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, key: str) -> T | None:
        """Return the value in memory; None when the store has to be asked."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    async def get(self, key: str) -> T | None:
        """Return the value from memory, else from the store; None when there is none.

        Raises:
            StoreUnavailable: it is not in memory and the store is away.
        """
        value = self.peek(key)
        if value is not None:
            return value
        self.misses += 1
        return await self.read_again(key)

    async def read_again(self, key: str) -> T | None:
        """Return the value from the store even if one is in memory: another worker may have touched it.

        Raises:
            StoreUnavailable: the store is away.
        """
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.get_running_loop().create_task(self._read(key))
            read.add_done_callback(_retrieve)
        # The read belongs to everyone who waits for it: a client that hangs up must not end it for the others.
        return await asyncio.shield(read)

    def replace(self, key: str, value: T) -> None:
        """Take over a value this worker has just stored, if an older one is still in memory.

        Never adds one: the record may have been deleted since it was stored.
        """
        if key in self._values:
            self._values[key] = value

    def drop(self, key: str) -> None:
        """Forget a record this worker has just deleted, without waiting for the change to come round."""
        self._values.pop(key, None)
        if key in self._reads:
            self._spoiled.add(key)

    async def run(self) -> None:
        """Obey the deletions of all workers until cancelled."""
        try:
            await self._store.follow(self._on_deleted, self._on_lost)
        finally:
            self._on_lost()
            self._following = False

    def _on_deleted(self, kind: str, key: str) -> None:
        if kind == self._kind:
            self.drop(key)

    def _on_lost(self) -> None:
        self._following = True
        self._values.clear()
        self._spoiled.update(self._reads)

    async def _read(self, key: str) -> T | None:
        try:
            for _ in range(_ATTEMPTS):
                self._spoiled.discard(key)
                record = await self._store.get(self._kind, key)
                if key not in self._spoiled:
                    return self._keep(key, record)
            raise StoreUnavailable("the store changes faster than it can be read")
        finally:
            # Here and not in a callback: nobody may join a read that is already over.
            self._spoiled.discard(key)
            del self._reads[key]

    def _keep(self, key: str, record: Record | None) -> T | None:
        value = None if record is None else self._decode(record)
        if value is None:
            self._values.pop(key, None)
        elif self._following:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return value


def _retrieve(read: asyncio.Task[T | None]) -> None:
    # Everyone who waited may be gone; asyncio would then report the error as one that nobody looked at.
    if not read.cancelled():
        read.exception()
