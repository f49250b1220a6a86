"""The process that Apache's ``RewriteMap prg:`` starts: it decides by itself, from the store that the service uses.

Rules of this process:
1. Nothing but answers is ever written where Apache reads them: `take_pipes` gives whatever else prints there to stderr.
2. Apache asks one question at a time and waits for ever. Each is answered within `DEADLINE`, refused if need be; what
   is found out later is dropped.
3. Apache writes a question only when it has read the answer before. If one lies unread, whoever asked is dead, and the
   next to ask will take it, for a refusal: the nonce is another's. That question gets no answer of its own, and then
   question and answer go together again.
4. Deletions are heard here as in every worker. When that ends, so does this process, and Apache opens nothing.
"""

import asyncio
import gc
import logging
import os
import signal
import stat
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Any, Self

import uvloop

from authgate.app import CACHED_SESSIONS, TICK
from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.credentials.session import KIND, SessionData, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.errors import ConfigError, Problem, StoreUnavailable
from authgate.observe.audit import Audit
from authgate.pdp import Pdp
from authgate.protocols.rewritemap import Lines, RewriteMap
from authgate.server.status import read_status
from authgate.server.worker import log_problems
from authgate.stores import Store
from authgate.stores.cache import CachedRecords
from authgate.stores.opening import open_store

log = logging.getLogger("authgate")

# All of Apache waits for each answer: 50 ms, less what a busy machine needs to say so.
DEADLINE = 0.04

_ENDED, _FAILED = 0, 1

# After SIGTERM: Apache sends it at a restart, while its old processes still finish their requests, and kills after 3 s.
_QUIET = 0.2

# At the start questions wait in the pipe for the store no longer than this.
_WARM = 1.0

_PIECE = 1 << 13
_LOOK_EVERY = 1.0

# While another policy is read in a thread, answers wait this long for their turn, several times each.
_SWITCH = 0.0005

_ELSEWHERE = "protect this site by the FastCGI authorizer or by X-Sendfile"


def take_pipes() -> tuple[int, int]:
    """Return descriptors of standard input and output, and leave in their place /dev/null and stderr."""
    questions, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return questions, answers


def require_sessions(settings: Settings) -> Settings:
    """Return `settings` when sessions and files are all that a decision needs.

    Raises:
        ConfigError: with everything that this process cannot ask while Apache waits.
    """
    file, problems = settings.path.name, []
    for key, value in (
        ("verify", settings.verify),
        ("lookup", settings.lookup),
        ("server_login", settings.server_login),
    ):
        if value:
            problems.append(Problem(f"{file}: users.{key}", "authgate rewritemap cannot ask for that", _ELSEWHERE))
    for rule in settings.policy.rules:
        asked = sorted({handler for term in rule.terms for handler in term.handlers})
        if asked:
            message = f"authgate rewritemap asks no handler, and this rule asks {', '.join(asked)}"
            problems.append(Problem(rule.place, message, _ELSEWHERE))
        if any(term.asks_link for term in rule.terms):
            message = "authgate rewritemap takes no uses of links, and this rule looks at links"
            problems.append(Problem(rule.place, message, _ELSEWHERE))
    path = Path(settings.store.removeprefix("sqlite:"))
    if settings.store == "memory:":
        message = "the sessions of memory: live inside the running service"
        problems.append(Problem(f"{file}: store", message, 'write store = "sqlite:state/authgate.db"'))
    elif not path.exists():
        # Made here it would be of this process's user, and the service could perhaps not write it.
        hint = "start authgate first; what systemd's service finds in $STATE_DIRECTORY needs an absolute path here"
        problems.append(Problem(f"{file}: store", f"{path} does not exist", hint))
    if problems:
        raise ConfigError(problems)
    return settings


def run(settings: Settings, load: Callable[[], Settings], questions: int, answers: int) -> int:
    """Answer until Apache ends; return the exit status.

    Args:
        load: reads the configuration again, when the service did.
        questions: descriptor to read from.
        answers: descriptor to write to.

    Raises:
        ConfigError: a file that the configuration names is wrong.
    """
    sys.setswitchinterval(_SWITCH)
    decider = _Decider.create(settings)

    async def answer() -> int:
        return await _Program(decider, load, questions, answers).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(answer())


@dataclass(frozen=True, slots=True)
class _Decider:
    """One policy, and what keeps the facts behind it current."""

    settings: Settings
    users: LocalUsers
    store: Store
    records: CachedRecords[SessionData]
    audit: Audit
    map: RewriteMap

    @classmethod
    def create(cls, settings: Settings) -> Self:
        """Build it; may take long.

        Raises:
            ConfigError: a file that the configuration names is wrong.
        """
        clock = time.time
        users = LocalUsers(settings.htpasswd, settings.groups)
        users.load()
        store = open_store(settings.store, clock)
        records = CachedRecords(store, KIND, decode, CACHED_SESSIONS)
        sessions = Sessions(records, store, users, settings.idle_timeout, settings.lifetime, clock)
        audit = Audit(settings, clock)
        pdp = Pdp(
            settings.policy,
            settings.sites,
            Credentials(sessions, None),
            node=settings.node,
            deadline=DEADLINE,
            audit=audit,
        )
        # As in a worker: a full collection would walk through all rules, and nobody is answered meanwhile.
        gc.freeze()
        return cls(settings, users, store, records, audit, RewriteMap(pdp, clock))

    async def run(self) -> None:
        """Hear of revocations and watch the user files until cancelled; returns or raises only on a failure."""
        following = asyncio.create_task(self.records.run())
        watching = asyncio.create_task(self._watch())
        try:
            done, _ = await asyncio.wait([following, watching], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (following, watching):
                task.cancel()
            await asyncio.wait([following, watching])

    async def warm(self) -> None:
        """Have the store opened: the first question shall not wait for that."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_WARM):
                await self.store.get(KIND, "")

    async def aclose(self) -> None:
        """Release threads, files and connections."""
        await self.store.aclose()
        await asyncio.to_thread(self.audit.close)

    async def _watch(self) -> None:
        audited = _which_file(self.settings.audit_file)
        while True:
            await asyncio.sleep(TICK)
            self.users.poll(time.monotonic())
            found = _which_file(self.settings.audit_file)
            if found != audited:
                # The service is told by SIGUSR1 that the file was moved away; this process is not.
                self.audit.reopen()
                audited = found


class _Program:
    """Questions in, answers out, by the policy that the service has."""

    def __init__(self, decider: _Decider, load: Callable[[], Settings], questions: int, answers: int) -> None:
        self._decider = decider
        self._load = load
        self._questions = questions
        self._answers = answers
        self._lines = Lines()
        self._waiting: deque[bytes] = deque()
        self._answering: asyncio.Task[bytes] | None = None
        self._asked = 0.0
        self._unread = array("i", [0])
        self._is_pipe = stat.S_ISFIFO(os.fstat(answers).st_mode)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._status = _ENDED
        self._following = self._begin("watching store and users", decider.run())

    async def run(self) -> int:
        """Answer until standard input ends, or something without which nothing may be answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._leave)
        # Apache would wait for ever for an answer that a defect in here has swallowed.
        self._loop.set_exception_handler(self._on_exception)
        looking = self._begin("following the service", self._follow_the_service())
        settings = self._decider.settings
        try:
            await self._decider.warm()
            self._listen()
            log.info("rewritemap: ready, policy %s (%d rules)", settings.version, len(settings.policy.rules))
            await self._ended.wait()
        finally:
            self._loop.remove_reader(self._questions)
            for task in (looking, self._following):
                task.cancel()
            await asyncio.wait([looking, self._following])
            await self._decider.aclose()
        return self._status

    def _begin(self, what: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Have something done that may end only by being cancelled; else this process ends."""
        task = asyncio.create_task(work, name=what)
        task.add_done_callback(self._require_cancelled)
        return task

    def _require_cancelled(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._fail(f"{task.get_name()} ended by itself", task.exception())

    def _fail(self, what: str, why: BaseException | None) -> None:
        log.error("rewritemap: %s", what, exc_info=why)
        self._status = _FAILED
        self._ended.set()

    def _on_exception(self, loop: asyncio.AbstractEventLoop, said: dict[str, Any]) -> None:
        if "handle" in said:
            self._fail(said["message"], said.get("exception"))
        else:
            loop.default_exception_handler(said)

    def _leave(self) -> None:
        self._asked = self._loop.time()
        self._end_when_quiet()

    def _end_when_quiet(self) -> None:
        if self._loop.time() - self._asked >= _QUIET:
            self._ended.set()
        else:
            self._loop.call_later(_QUIET, self._end_when_quiet)

    def _listen(self) -> None:
        try:
            self._loop.add_reader(self._questions, self._read)
        except OSError as error:
            message = f"standard input: {(error.strerror or str(error)).lower()}"
            raise ConfigError(
                [Problem("", message, "Apache starts this command: RewriteMap authgate prg:...")]
            ) from None

    def _read(self) -> None:
        piece = os.read(self._questions, _PIECE)
        if not piece:
            self._ended.set()
            return
        self._asked = self._loop.time()
        lines = self._lines.feed(piece)
        if lines and self._is_unread():
            log.warning("rewritemap: an answer was not read; the next question is refused")
            del lines[0]
        self._waiting += lines
        self._answer()

    def _is_unread(self) -> bool:
        """Tell whether an answer lies in the pipe; both of its ends can be asked (pipe(7))."""
        if self._is_pipe:
            ioctl(self._answers, FIONREAD, self._unread)
        return self._unread[0] > 0

    def _answer(self) -> None:
        while self._waiting:
            line = self._waiting.popleft()
            said = self._decider.map.answer_at_once(line)
            if said is None:
                self._loop.remove_reader(self._questions)
                self._answering = asyncio.create_task(self._decider.map.answer(line))
                self._answering.add_done_callback(self._answered)
                return
            self._write(said)

    def _answered(self, task: asyncio.Task[bytes]) -> None:
        self._answering = None
        if self._ended.is_set():
            return
        self._write(task.result())
        self._listen()
        self._answer()

    def _write(self, said: bytes) -> None:
        try:
            os.write(self._answers, said)
        except BrokenPipeError:
            self._ended.set()

    async def _follow_the_service(self) -> None:
        """Take over each policy that the service takes over: no signal of it, or of Apache, comes here."""
        tried = None
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            status = read_status(self._decider.settings.check_socket)
            if status is None or status.version == self._decider.settings.version:
                continue
            reload = (status.pid, status.finished, status.version)
            if reload != tried:
                tried = reload
                await self._take_over(status.version)

    async def _take_over(self, version: str) -> None:
        try:
            # In a thread: reading 100,000 rules takes seconds.
            decider = await asyncio.to_thread(self._create, version)
        except ConfigError as error:
            log_problems(error)
            log.warning("rewritemap: policy %s stays in force", self._decider.settings.version)
            return
        await decider.warm()
        former, following = self._decider, self._following
        self._decider, self._following = decider, self._begin("watching store and users", decider.run())
        following.cancel()
        await asyncio.wait([following] if self._answering is None else [following, self._answering])
        await former.aclose()
        log.info("rewritemap: policy %s (%d rules)", version, len(decider.settings.policy.rules))

    def _create(self, version: str) -> _Decider:
        settings = self._load()
        if settings.version != version:
            message = f"holds policy {settings.version}, and the service has {version}"
            raise ConfigError([Problem(str(settings.path), message, "authgate reload")])
        return _Decider.create(settings)


def _which_file(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None
