"""The parent process: forks the workers, replaces those that die, ends them with itself.

A reload starts a second generation of workers. They prepare themselves and wait; when all are ready, all of them are
told to serve and all of the first to end, so that a policy is in force in every worker or in none. The reload is over
when the last worker of the first generation has given its last decision.

The parent has no thread and no event loop, so that forking is safe, and it answers no request. What the workers
share, the listening sockets and the compiled policy, exists before the fork.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import NoReturn

from authgate.config import Settings
from authgate.errors import ConfigError
from authgate.observe.board import Row
from authgate.server.counting import Counting
from authgate.server.draining import DRAIN
from authgate.server.generation import Generation, Process
from authgate.server.progress import Progress
from authgate.server.sockets import Listener, Port
from authgate.server.worker import FAILED, GO, MISCONFIGURED, REOPEN, log_problems, pipe_to_parent, run_worker

log = logging.getLogger("authgate")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, REOPEN)

# A worker cancels what still runs after DRAIN seconds; one that is here later hangs.
_KILL_AFTER = DRAIN + 5.0
_NEVER = float("inf")

# How long a new generation may take until all its workers are ready, before it is given up.
_TAKE_OVER = 30.0

# What the listening sockets and their neighbours were made from, and so stays until the next start.
_FIXED = {
    "check_socket": "listen.check",
    "check_port": "listen.check",
    "web_socket": "listen.web",
    "web_port": "listen.web",
    "api_socket": "listen.api",
    "deliver_socket": "listen.deliver",
    "fastcgi": "listen.fastcgi",
    "fastcgi_secret": "listen.fastcgi_secret_file",
    "socket_group": "listen.group",
    "store": "store",
}


class Supervisor:
    """Runs the workers of one configuration after another until it is told to stop.

    Args:
        listeners: by name, ``check``, ``web`` and perhaps others; bound already.
        reload: reads the configuration again, for SIGHUP; may raise ConfigError.
    """

    def __init__(
        self, settings: Settings, listeners: Mapping[str, Listener | Port], reload: Callable[[], Settings]
    ) -> None:
        self._listeners = listeners
        self._reload = reload
        # The one that serves, and behind it the one that is to take over; none while stopping.
        self._generations = [Generation(settings, time.monotonic())]
        self._leaving: dict[int, Process] = {}
        self._progress = Progress(settings)
        self._counting = Counting(settings)
        self._caught: list[int] = []
        self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Workers read its one end and the parent alone holds the other: it closes with the parent, however that dies.
        self._life = os.pipe()
        self._status = 0

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; return the exit status."""
        with self._catching():
            while self._generations or self._leaving:
                for generation in self._generations:
                    while generation.missing and generation.next_start <= time.monotonic():
                        self._start(generation)
                self._tell()
                self._wait()
                self._reap()
                self._obey()
                self._take_over()
                self._reopen()
                self._kill_overdue()
        return self._status

    @contextmanager
    def _catching(self) -> Iterator[None]:
        def catch(number: int, _frame: FrameType | None) -> None:
            self._caught.append(number)

        before = {number: signal.signal(number, catch) for number in _SIGNALS}
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (*self._wakeup, *self._life):
                os.close(descriptor)

    # Workers begin

    def _start(self, generation: Generation) -> None:
        now = time.monotonic()
        row = self._counting.allot(generation.settings)
        read, write = os.pipe()
        os.set_blocking(read, False)
        # A signal between the fork and the worker's own handlers would run the parent's in the worker and be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(generation.settings, row, read, write)
            generation.processes[pid] = Process(now, read, row=row)
        except OSError as error:
            os.close(read)
            self._counting.release(row)
            generation.lose(now, now)
            log.warning("no worker can be started: %s", error.strerror)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(write)

    def _become_worker(self, settings: Settings, row: Row | None, read: int, write: int) -> NoReturn:
        status = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends the first two to all its processes; workers hear from their parent. The others are sent
            # to one that is ready, and have a meaning then.
            for number in (signal.SIGINT, signal.SIGHUP, GO, REOPEN):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for descriptor in (read, self._life[1], *self._wakeup, *self._pipes()):
                os.close(descriptor)
            sockets = {name: listener.socket for name, listener in self._listeners.items()}
            status = run_worker(settings, sockets, row, self._life[0], pipe_to_parent(write))
        finally:
            # Nothing of what the parent does at its end, such as removing the sockets, is a worker's business.
            os._exit(status)

    def _processes(self) -> dict[int, Process]:
        """Return all workers by process id."""
        found = dict(self._leaving)
        for generation in self._generations:
            found |= generation.processes
        return found

    def _pipes(self) -> dict[int, Process]:
        return {process.pipe: process for process in self._processes().values() if process.pipe is not None}

    # Something happens

    def _wait(self) -> None:
        """Sleep until a signal, a word of a worker or the next thing that is due."""
        due = [process.kill_at for process in self._leaving.values() if process.kill_at != _NEVER]
        due += [generation.next_start for generation in self._generations if generation.missing]
        due += [generation.born + _TAKE_OVER for generation in self._generations[1:]]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        pipes = self._pipes()
        readable, _, _ = select.select([self._wakeup[0], *pipes], [], [], timeout)
        for descriptor in readable:
            if descriptor == self._wakeup[0]:
                os.read(descriptor, 4096)
            else:
                _listen_to(pipes[descriptor])

    def _reap(self) -> None:
        running = [pid for generation in self._generations for pid in generation.processes]
        for pid in (*self._leaving, *running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(pid, os.waitstatus_to_exitcode(status))

    def _bury(self, pid: int, status: int) -> None:
        leaving = self._leaving.pop(pid, None)
        if leaving is not None:
            self._counting.release(leaving.row)
            _close(leaving)
            return
        generation = next(generation for generation in self._generations if pid in generation.processes)
        process = generation.processes.pop(pid)
        _listen_to(process)
        _close(process)
        self._counting.release(process.row)
        self._counting.ends += 1
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if generation is not self._generations[0]:
            self._give_up(f"worker {pid} {how}", process.complaint)
        elif status == MISCONFIGURED and not self._progress.started:
            self._stop(status)
        else:
            generation.lose(process.started, time.monotonic())
            log.error(
                "worker %d %s; another one starts%s", pid, how, f" in {generation.wait} s" * bool(generation.wait)
            )

    def _obey(self) -> None:
        while self._caught:
            number = self._caught.pop(0)
            if number == signal.SIGHUP and self._generations:
                self._begin_reload()
            elif number == REOPEN:
                for process in self._processes().values():
                    process.reopen = True
            elif number in (signal.SIGTERM, signal.SIGINT) and self._generations:
                self._stop(0)
            elif number in (signal.SIGTERM, signal.SIGINT):
                for process in self._leaving.values():
                    process.kill_at = 0.0

    # Workers end

    def _stop(self, status: int) -> None:
        self._status = status
        # At once, not when the last request has ended: nobody shall wait in a queue that nobody empties.
        for listener in self._listeners.values():
            listener.close()
        self._progress.end()
        while self._generations:
            self._dismiss(self._generations.pop())

    def _dismiss(self, generation: Generation) -> None:
        for pid, process in generation.processes.items():
            process.kill_at = time.monotonic() + _KILL_AFTER
            os.kill(pid, signal.SIGTERM)
            self._leaving[pid] = process

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for pid, process in self._leaving.items():
            if process.kill_at <= now:
                log.warning("worker %d is killed with requests still running", pid)
                os.kill(pid, signal.SIGKILL)
                process.kill_at = _NEVER
                if not self._generations:
                    self._status = self._status or FAILED

    # Another configuration

    def _begin_reload(self) -> None:
        self._progress.begin()
        current = self._generations[0].settings
        try:
            settings = self._reload()
        except ConfigError as error:
            log_problems(error)
            log.warning("the configuration was not reloaded; the one before stays in force")
            self._progress.fail(str(error))
            return
        changed = [name for name in _FIXED if getattr(settings, name) != getattr(current, name)]
        note = ""
        if changed:
            keys = ", ".join(dict.fromkeys(_FIXED[name] for name in changed))
            note = f"changed but not in force before the next start: {keys}"
            log.warning("%s", note)
            settings = replace(settings, **{name: getattr(current, name) for name in changed})
        for unfinished in self._generations[1:]:
            self._generations.remove(unfinished)
            self._dismiss(unfinished)
        self._generations.append(Generation(settings, time.monotonic(), note))

    def _take_over(self) -> None:
        """Let whoever is ready serve, and a new generation that is ready take the place of the old one."""
        for generation in self._generations[1:]:
            if generation.is_ready:
                self._dismiss(self._generations.pop(0))
            elif time.monotonic() >= generation.born + _TAKE_OVER:
                self._give_up(f"its workers were not ready within {_TAKE_OVER:.0f} s")
        for generation in self._generations[:1]:
            for pid, process in generation.processes.items():
                if process.ready and not process.told:
                    process.told = True
                    os.kill(pid, GO)

    def _reopen(self) -> None:
        """Tell whoever can hear it that the audit file was moved away.

        One that is not ready yet may have opened it before that, and is told when it is.
        """
        for pid, process in self._processes().items():
            if process.reopen and process.ready:
                process.reopen = False
                os.kill(pid, REOPEN)

    def _give_up(self, why: str, complaint: str = "") -> None:
        self._dismiss(self._generations.pop())
        log.error("the configuration was not reloaded, %s; the one before stays in force", why)
        self._progress.fail(f"{complaint}\n{why}" if complaint else why)

    def _tell(self) -> None:
        """Say in the status file, and when it is over in the log, how far a start or a reload has come."""
        if self._generations:
            deciding = [pid for pid, process in self._leaving.items() if process.deciding]
            self._progress.tell(self._generations, deciding)
            self._counting.publish(self._generations[0], self._progress)


def _listen_to(process: Process) -> None:
    """Hear what a worker has said; at the end of its words close the pipe."""
    while process.pipe is not None:
        try:
            said = os.read(process.pipe, 65536)
        except BlockingIOError:
            return
        process.hear(said.decode("utf-8", "replace"))
        if not said:
            _close(process)


def _close(process: Process) -> None:
    if process.pipe is not None:
        os.close(process.pipe)
        process.pipe = None
