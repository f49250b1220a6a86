"""Who was proven lately, by what proved it: bounded in number and in size, the least used forgotten first."""

import hashlib
import secrets
from collections import OrderedDict
from typing import NamedTuple

from authgate.model import Identity


class _Entry(NamedTuple):
    identity: Identity
    begins: float
    ends: float
    size: int


class RememberedIdentities:
    """Identities by what a client sent, which itself is not kept, only a keyed hash of it.

    Args:
        capacity: how many.
        budget: how large all their sessions may be together.
    """

    def __init__(self, capacity: int, budget: int) -> None:
        self._capacity = capacity
        self._budget = budget
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, value: str, now: float) -> Identity | None:
        """Return whom it proves; None when nothing that counts now is remembered."""
        digest = self._digest(value)
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if not entry.begins <= now <= entry.ends:
            self._drop(digest)
            return None
        self._entries.move_to_end(digest)
        return entry.identity

    def keep(self, value: str, identity: Identity, begins: float, ends: float, size: int) -> None:
        """Remember whom it proves.

        Args:
            begins: seconds since the epoch from which on it counts.
            ends: seconds since the epoch up to which it counts.
            size: of the identity's session.
        """
        digest = self._digest(value)
        self._drop(digest)
        self._entries[digest] = _Entry(identity, begins, ends, size)
        self._size += size
        while len(self._entries) > self._capacity or self._size > self._budget:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._size = 0

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._size -= entry.size

    def _digest(self, value: str) -> bytes:
        return hashlib.blake2b(value.encode(errors="surrogatepass"), key=self._key, digest_size=32).digest()
