"""Waiting for what another task or process does, with a deadline instead of a sleep."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from authgate.stores import Store


async def until(condition: Callable[[], bool], deadline: float = 5.0) -> None:
    """Return as soon as `condition` holds; fail when it does not within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        await asyncio.sleep(0.001)


class Follower:
    """Follows a store while the block runs, from its first line on, and writes down what it is told."""

    def __init__(self, store: Store) -> None:
        self.deleted: list[tuple[str, str]] = []
        self.seen_at: list[float] = []
        self.lost = 0
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Follower":
        self._task = asyncio.create_task(self._store.follow(self._on_deleted, self._on_lost))
        await until(lambda: self.lost > 0)
        self.lost = 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _on_deleted(self, kind: str, key: str) -> None:
        self.deleted.append((kind, key))
        self.seen_at.append(time.monotonic())

    def _on_lost(self) -> None:
        self.lost += 1
