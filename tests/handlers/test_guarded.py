"""What a site's own function raises is a value, with and without what the exception says."""

import asyncio

from authgate.handlers.guarded import Raised, start
from authgate.handlers.threads import THREADS, Threads


def _fails(secret: str) -> None:
    raise ValueError(f"not {secret}")


async def _fails_later(secret: str) -> None:
    _fails(secret)


def test_outline_has_the_frames_and_the_kind_but_not_what_the_exception_says() -> None:
    async def run() -> None:
        threads = Threads()
        for function in (_fails, _fails_later):
            waiting = start(function, ("wonderland",), threads)
            assert waiting is not None
            raised = await waiting
            assert isinstance(raised, Raised)
            assert raised.traceback.endswith("ValueError: not wonderland\n")
            assert raised.outline.endswith("ValueError")
            assert "wonderland" not in raised.outline
            assert __file__ in raised.outline
        threads.close()

    asyncio.run(run())


def test_none_is_started_when_all_threads_are_taken() -> None:
    async def run() -> None:
        threads, event = Threads(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            asyncio.run_coroutine_threadsafe(event.wait(), loop).result(10)

        started = [start(wait, (), threads) for _ in range(THREADS)]
        assert start(wait, (), threads) is None
        # One with `async` needs no thread.
        other = start(event.wait, (), threads)
        event.set()
        assert other is not None
        assert await other is True
        await asyncio.gather(*(waiting for waiting in started if waiting))
        threads.close()

    asyncio.run(run())
