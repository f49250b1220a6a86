"""One look at the changes for all who follow."""

import asyncio
from collections.abc import Callable

import pytest

from authgate.stores.channel import SharedChannel
from tests.stores.following import until


class Channel:
    """What is shared, and who looks."""

    def __init__(self) -> None:
        self.readers = 0
        self.opened = 0
        self.ended = asyncio.Event()
        self.error: Exception | None = None
        self.delete: Callable[[str, str], None] = lambda kind, key: None
        self.shared = SharedChannel(self.read)

    async def read(self, on_deleted: Callable[[str, str], None], on_lost: Callable[[], None]) -> None:
        self.readers += 1
        self.opened += 1
        self.delete = on_deleted
        on_lost()
        try:
            await self.ended.wait()
            if self.error:
                raise self.error
        finally:
            self.readers -= 1

    def follow(self, told: list[str]) -> asyncio.Task[None]:
        return asyncio.create_task(self.shared.follow(lambda _, key: told.append(key), lambda: told.append("lost")))


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_it_is_read_once_however_many_follow_and_only_while_they_do() -> None:
    async def main() -> None:
        channel = Channel()
        told: list[list[str]] = [[], [], []]
        tasks = []
        for one in told:
            tasks.append(channel.follow(one))
            await until(lambda: one == ["lost"])  # noqa: B023 - waited for at once
        assert channel.readers == 1
        channel.delete("session", "a")
        assert told == [["lost", "a"]] * 3
        await end(tasks[0])
        channel.delete("session", "b")
        assert [len(one) for one in told] == [2, 3, 3]
        assert channel.readers == 1
        await end(tasks[1])
        await end(tasks[2])
        assert (channel.readers, channel.opened) == (0, 1)
        again = channel.follow(told[0])
        await until(lambda: channel.readers == 1)
        await end(again)
        assert (channel.readers, channel.opened) == (0, 2)

    asyncio.run(main())


def test_its_end_is_the_end_for_all() -> None:
    async def main() -> None:
        channel = Channel()
        tasks = [channel.follow([]), channel.follow([])]
        await until(lambda: channel.readers == 1)
        channel.error = OSError("gone")
        channel.ended.set()
        for task in tasks:
            with pytest.raises(OSError, match="gone"):
                await task

    asyncio.run(main())
