"""One look at a store's changes for everybody in this process who follows them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

_OnDeleted = Callable[[str, str], None]
_OnLost = Callable[[], None]


class SharedChannel:
    """Followers of one channel, which is open while there are any.

    Args:
        follow: reads the channel; see `Changes.follow`.
    """

    def __init__(self, follow: Callable[[_OnDeleted, _OnLost], Awaitable[None]]) -> None:
        self._follow = follow
        self._followers: list[tuple[_OnDeleted, _OnLost]] = []
        self._reading: asyncio.Task[None] | None = None

    async def follow(self, on_deleted: _OnDeleted, on_lost: _OnLost) -> None:
        """See `Changes.follow`; ends for all when the channel does."""
        follower = (on_deleted, on_lost)
        self._followers.append(follower)
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.create_task(self._read())
        else:
            # What this one read before it joined may have been deleted already.
            on_lost()
        try:
            # The channel belongs to all of them: one that is cancelled must not end it for the others.
            await asyncio.shield(reading)
        finally:
            self._followers.remove(follower)
            if not self._followers:
                self._reading = None
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([reading])

    async def _read(self) -> None:
        await self._follow(self._on_deleted, self._on_lost)

    def _on_deleted(self, kind: str, key: str) -> None:
        for on_deleted, _ in tuple(self._followers):
            on_deleted(kind, key)

    def _on_lost(self) -> None:
        for _, on_lost in tuple(self._followers):
            on_lost()
