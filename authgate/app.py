"""The applications of one worker process, and what keeps the facts behind them current."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp

from authgate.config import Settings
from authgate.credentials import Credentials
from authgate.credentials.applications import ApplicationCookie, wanted_by_applications
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.brakes import Brakes
from authgate.credentials.certificate import Certificates
from authgate.credentials.directory import Directory, wanted
from authgate.credentials.issuers import Issuer
from authgate.credentials.jwt import JwtCookie, JwtVerifier
from authgate.credentials.links import Links, watch_keys
from authgate.credentials.logins import Logins
from authgate.credentials.passwords import Passwords
from authgate.credentials.people import People
from authgate.credentials.revocations import Revocations
from authgate.credentials.server import ServerLogin
from authgate.credentials.session import KIND, SessionData, Sessions, decode
from authgate.credentials.tokens import Tokens
from authgate.credentials.users import LocalUsers
from authgate.delivery import create_deliver
from authgate.errors import StoreUnavailable
from authgate.handlers import Handlers, load_functions, wanted_handlers
from authgate.observe.arrivals import log_arrivals
from authgate.observe.audit import Audit
from authgate.observe.board import Row
from authgate.observe.metrics import Counts
from authgate.pdp import Pdp
from authgate.protocols.authorizer import Authorizer
from authgate.protocols.forward import create_forward
from authgate.protocols.peers import Peers, guarded_check, guarded_web
from authgate.protocols.subrequest import create_check
from authgate.stores import Store
from authgate.stores.cache import CachedRecords
from authgate.stores.opening import open_store
from authgate.web import create_web

log = logging.getLogger("authgate")

# A change of the user or group file acts within 2 s of a complete write; for 1 s of them it must stand unchanged.
TICK = 0.25

# Expired records go in small steps, so that no login waits long for its turn. Every worker does it, which is harmless.
_PURGE_EVERY = 10.0
_PURGE_LIMIT = 500

# Some 500 bytes each. Who is pushed out costs one read of the store.
CACHED_SESSIONS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Everything of one worker process.

    Args:
        applications: by listener, ``check``, ``web`` and ``deliver``.
        authorizer: for the listener ``fastcgi``.
        counts: None: nobody asks for figures.
    """

    applications: Mapping[str, ASGIApp]
    authorizer: Authorizer
    store: Store
    sessions: CachedRecords[SessionData]
    users: LocalUsers
    passwords: Passwords
    directory: Directory
    brakes: Brakes
    logins: Logins
    handlers: Handlers
    issuers: tuple[Issuer, ...]
    applications_of_others: tuple[ApplicationCookie, ...]
    revocations: Revocations
    links: Links | None
    tokens: Tokens
    audit: Audit
    counts: Counts | None

    async def setup(self) -> None:
        """Let the site's handlers prepare themselves.

        Raises:
            ConfigError: one of them cannot.
        """
        await self.handlers.setup()

    async def run(self) -> None:
        """Hear of revocations, watch the user files and clear away what expired, until cancelled.

        Returns or raises only when one of these ended, which none may do: whoever awaits this must then stop serving.
        """
        tasks = [
            asyncio.create_task(self.sessions.run(), name="following the store"),
            asyncio.create_task(self._tick(), name="watching the users"),
            asyncio.create_task(self._purge(), name="purging"),
            asyncio.create_task(self.tokens.run(), name="following tokens"),
            *(
                asyncio.create_task(issuer.run(), name=f"fetching keys of {issuer.settings.source}")
                for issuer in self.issuers
            ),
        ]
        if self.issuers or self.links:
            tasks.append(asyncio.create_task(self.revocations.run(), name="following revocations"))
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
        self.passwords.close()
        self.directory.close()
        for cookie in self.applications_of_others:
            cookie.close()
        await self.handlers.close()
        await self.store.aclose()
        self.audit.close()
        self._publish()

    def reopen(self) -> None:
        """Open the audit file again: it was moved away."""
        self.audit.reopen()

    def problems(self) -> list[str]:
        """Say what keeps this worker from deciding as it should."""
        return [] if self.store.up else ["the store cannot be followed, so that sessions may be unknown"]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.users.poll(now)
            if self.links:
                self.links.poll(now)
            for issuer in self.issuers:
                issuer.poll(now)
            for cookie in self.applications_of_others:
                cookie.poll(now)
            self._publish()

    def _publish(self) -> None:
        if self.counts is None:
            return
        figures = {
            "session_cache_entries": len(self.sessions),
            "session_cache_misses": self.sessions.misses,
            "password_verifications": self.logins.verifications,
            "password_wrong": self.logins.wrong,
            "password_busy": self.logins.refused_busy,
            "brakes_engaged": self.brakes.engaged,
            "store_operations": self.store.operations,
            "store_errors": self.store.errors,
            "workers_following": int(self.store.up),
            "audit_lines": self.audit.written,
            "audit_dropped": self.audit.dropped,
        }
        self.counts.publish(figures, self.handlers.asked)

    async def _purge(self) -> None:
        while True:
            try:
                await self.store.purge(time.time(), _PURGE_LIMIT)
            except StoreUnavailable as error:
                log.warning("expired records stay for now: %s", error)
            await asyncio.sleep(_PURGE_EVERY)


def create_worker(settings: Settings, row: Row | None = None) -> Worker:
    """Build what one worker process needs. To be called in that process: connections and keys are not shared.

    Args:
        row: where it counts; None: it does not.

    Raises:
        ConfigError: a file that the configuration names is wrong.
    """
    clock = time.time
    users = LocalUsers(settings.htpasswd, settings.groups)
    users.load()
    sources = settings.sources
    wants = [
        *wanted_handlers(settings.policy.handlers),
        *wanted(settings.verify, settings.lookup),
        *wanted_by_applications(sources.applications),
    ]
    code = load_functions(wants, settings.path.parent.absolute())
    handlers = Handlers({name: code.functions[name] for name in settings.policy.handlers}, code.modules)
    directory = Directory(code.functions.get(settings.verify or ""), code.functions.get(settings.lookup or ""))
    store = open_store(settings.store, clock)
    people = People(directory, clock)
    records = CachedRecords(store, KIND, decode, CACHED_SESSIONS)
    sessions = Sessions(records, store, users, settings.idle_timeout, settings.lifetime, clock, people)
    passwords = Passwords(users)
    brakes = Brakes(store, clock)
    logins = Logins(users, passwords, directory, brakes)
    server = ServerLogin(users, people) if settings.server_login else None
    issuers = tuple(Issuer(one, clock) for one in sources.issuers)
    applications = tuple(
        ApplicationCookie(one, clock, code.functions.get(one.function)) for one in sources.applications
    )
    for issuer in issuers:
        issuer.load()
    for application in applications:
        application.load()
    revocations = Revocations(store, clock)
    verifier = JwtVerifier(issuers, revocations, clock)
    tokens = Tokens(store, users, people, brakes, clock)
    links = Links(settings.links, store, revocations, clock) if settings.links else None
    if links:
        links.load()
    credentials = Credentials(
        sessions,
        BasicVerifier(users, logins, clock, tokens=tokens),
        server,
        verifier if any(issuer.settings.bearer for issuer in issuers) else None,
        Certificates(sources.certificates, clock) if sources.certificates else None,
        [*(JwtCookie(verifier, issuer) for issuer in issuers if issuer.settings.cookie), *applications],
        tokens,
    )
    audit = Audit(settings, clock)
    counts = Counts(row) if row else None
    pdp = Pdp(
        settings.policy,
        settings.sites,
        credentials,
        handlers,
        node=settings.node,
        counts=counts,
        audit=audit,
        links=links,
    )
    at_check, at_web = (
        Peers(port is not None, settings.check_secret, settings.trusted_proxies)
        for port in (settings.check_port, settings.web_port)
    )
    forward = create_forward(pdp, settings.realm, clock, at_check)
    check = create_check(pdp, settings.realm, clock, settings.version, forward)
    web = create_web(settings, credentials, sessions, logins, clock, audit)
    if at_check.on_port:
        check = guarded_check(check, at_check, pdp)
    if at_web.on_port:
        web = guarded_web(web, at_web, pdp)
    deliver = create_deliver(settings, pdp, credentials, clock)
    return Worker(
        applications={
            "check": log_arrivals(check) if settings.log_requests else check,
            "web": web,
            "deliver": log_arrivals(deliver) if settings.log_requests else deliver,
        },
        authorizer=Authorizer(pdp, settings.realm, clock, settings.fastcgi_secret),
        store=store,
        sessions=records,
        users=users,
        passwords=passwords,
        directory=directory,
        brakes=brakes,
        logins=logins,
        handlers=handlers,
        issuers=issuers,
        applications_of_others=applications,
        revocations=revocations,
        links=links,
        tokens=tokens,
        audit=audit,
        counts=counts,
    )


def examine(settings: Settings) -> None:
    """Read the files that the configuration names once, so that what is wrong with them is said before the start.

    Raises:
        ConfigError: with the problems of all of them.
    """
    LocalUsers(settings.htpasswd, settings.groups).load()
    for issuer in settings.sources.issuers:
        Issuer(issuer, time.time).load()
    for application in settings.sources.applications:
        ApplicationCookie(application, time.time).load()
    if settings.sources.certificates:
        Certificates(settings.sources.certificates, time.time)
    watch_keys(settings.links).load()
