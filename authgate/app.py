"""The applications of one worker process, and what keeps the facts behind them current."""

import asyncio
import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import KIND, SessionData, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.errors import StoreUnavailable
from authgate.handlers import Handlers, load_handlers
from authgate.pdp import Pdp
from authgate.protocols.subrequest import create_check
from authgate.stores import Store
from authgate.stores.cache import CachedRecords
from authgate.stores.opening import open_store
from authgate.web import create_web

log = logging.getLogger("authgate")

# A change of the user or group file acts within 2 s of a complete write; for 1 s of them it must stand unchanged.
_POLL_USERS = 0.25

# Expired records go in small steps, so that no login waits long for its turn. Every worker does it, which is harmless.
_PURGE_EVERY = 10.0
_PURGE_LIMIT = 500

# Some 500 bytes each. Who is pushed out costs one read of the store.
_CACHED_SESSIONS = 50_000


class Worker:
    """Everything of one worker process.

    Args:
        applications: by listener, ``check`` and ``web``.
    """

    def __init__(
        self,
        applications: Mapping[str, ASGIApp],
        store: Store,
        sessions: CachedRecords[SessionData],
        users: LocalUsers,
        passwords: Passwords,
        handlers: Handlers,
    ) -> None:
        self.applications = applications
        self._store = store
        self._sessions = sessions
        self._users = users
        self._passwords = passwords
        self._handlers = handlers

    async def setup(self) -> None:
        """Let the site's handlers prepare themselves.

        Raises:
            ConfigError: one of them cannot.
        """
        await self._handlers.setup()

    async def run(self) -> None:
        """Hear of revocations, watch the user files and clear away what expired, until cancelled.

        Returns or raises only when one of these ended, which none may do: whoever awaits this must then stop serving.
        """
        tasks = [
            asyncio.create_task(self._sessions.run(), name="following the store"),
            asyncio.create_task(self._poll_users(), name="watching the users"),
            asyncio.create_task(self._purge(), name="purging"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            log.error("%s ended by itself", ", ".join(task.get_name() for task in done))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Release threads, files and connections."""
        self._passwords.close()
        await self._handlers.close()
        await self._store.aclose()

    async def _poll_users(self) -> None:
        while True:
            await asyncio.sleep(_POLL_USERS)
            self._users.poll(time.monotonic())

    async def _purge(self) -> None:
        while True:
            try:
                await self._store.purge(time.time(), _PURGE_LIMIT)
            except StoreUnavailable as error:
                log.warning("expired records stay for now: %s", error)
            await asyncio.sleep(_PURGE_EVERY)


def create_worker(settings: Settings) -> Worker:
    """Build what one worker process needs. To be called in that process: connections and keys are not shared.

    Raises:
        ConfigError: a file that the configuration names is wrong.
    """
    clock = time.time
    users = LocalUsers(settings.htpasswd, settings.groups)
    users.load()
    handlers = load_handlers(settings.policy.handlers, settings.path.parent.absolute())
    store = open_store(settings.store, clock)
    records = CachedRecords(store, KIND, decode, _CACHED_SESSIONS)
    sessions = Sessions(records, store, users, settings.idle_timeout, settings.lifetime, clock)
    passwords = Passwords(users)
    credentials = Credentials(sessions, BasicVerifier(users, passwords))
    pdp = Pdp(settings.policy, settings.sites, credentials, handlers)
    applications: Mapping[str, ASGIApp] = {
        "check": create_check(pdp, settings.realm, clock, settings.version),
        "web": create_web(settings, credentials, sessions, passwords, clock),
    }
    return Worker(applications, store, records, users, passwords, handlers)


def examine(settings: Settings) -> None:
    """Read the files that the configuration names once, so that what is wrong with them is said before the start.

    Raises:
        ConfigError: with the problems of all of them.
    """
    LocalUsers(settings.htpasswd, settings.groups).load()
