"""Threads for those of a site's own functions that are without ``async``."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread

# At a time in one pool. A function that hangs keeps its thread: when all are taken, the next requests that need one are
# refused at once instead of waiting behind it.
THREADS = 8


class Threads:
    """A bounded pool.

    Not a ThreadPoolExecutor: at its end the process would wait for a function that hangs.
    """

    def __init__(self, name: str = "authgate-handler") -> None:
        self._name = name
        self._free = BoundedSemaphore(THREADS)
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = 0

    def run(self, work: Callable[[], object]) -> Future[object] | None:
        """Run `work`, which may not raise, in a thread; None when all are taken."""
        if self._started < THREADS:
            Thread(target=self._serve, name=self._name, daemon=True).start()
            self._started += 1
        if not self._free.acquire(blocking=False):
            return None
        future: Future[object] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                result = work()
                self._free.release()
                future.set_result(result)
            else:
                self._free.release()

        self._work.put(job)
        return future

    def close(self) -> None:
        """Let each thread end after what it does now."""
        for _ in range(self._started):
            self._work.put(None)

    def _serve(self) -> None:
        while (job := self._work.get()) is not None:
            job()
