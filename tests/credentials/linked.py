"""Links, and the ring that signs them, for tests."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from authgate.credentials.keyring import make_key
from authgate.credentials.link_format import ALGORITHM, sign_link
from authgate.credentials.links import Links
from authgate.credentials.revocations import Revocations
from authgate.keys import LINK, State
from authgate.keys.ring import Entry, Ring, render
from authgate.model import AccessRequest
from authgate.stores import Store
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import write
from tests.credentials.tokens import followed
from tests.policies import request

HOST = "files.example.com"


@dataclass(frozen=True)
class Signer:
    """A ring in a file."""

    file: Path
    ring: Ring

    def sign(self, path: str, state: State = State.CURRENT, **more: object) -> str:
        """Return a link that counts for ten minutes of a `MovableClock`."""
        claims = {"id": "a", "host": HOST, "path": path, "exp": MovableClock().now + 600, **more}
        entry = self.ring.find(state)
        assert entry
        return sign_link(entry.key, claims)


def made(state: State, purpose: str = LINK, algorithm: str = ALGORITHM) -> Entry:
    """Return a new key."""
    return make_key(algorithm, purpose, state, time.time())


def signer(folder: Path, *entries: Entry, mode: int = 0o600) -> Signer:
    """Write a ring, of one key that signs unless told otherwise."""
    file = folder / "links.jwks"
    ring = Ring(entries or (made(State.CURRENT),))
    file.touch(mode=0o600)
    write(file, render(ring))
    file.chmod(mode)
    return Signer(file, ring)


@asynccontextmanager
async def following(
    signing: Signer, clock: MovableClock, store: Store | None = None, **limits: int
) -> AsyncIterator[Links]:
    """Give links whose revocations have been read and are followed."""
    store = store or MemoryStore(clock)
    revocations = Revocations(store, clock)
    links = Links(signing.file, store, revocations, clock, **limits)
    links.load()
    async with followed(revocations):
        yield links


def carrying(link: str, path: str = "/pub/a", *, method: str = "GET", ip: str | None = "192.0.2.1") -> AccessRequest:
    """Return a request with a link in its query."""
    return request(path, method=method, ip=ip)._replace(query=f"ag={link}")


def settle(links: Links, clock: MovableClock) -> None:
    """Poll four times a second, as a worker does, until a change of the ring counts."""
    for _ in range(8):
        links.poll(clock.now)
        clock.advance(0.25)


async def at_once(*requests: AccessRequest, workers: list[Links]) -> list[str]:
    """Use links, all at the same time and spread over workers; return what became of it."""

    async def use(number: int, asked: AccessRequest) -> str:
        links = workers[number % len(workers)]
        link = links.look(asked)
        assert link
        return (await links.use(link, asked)).name

    return await asyncio.gather(*(use(number, asked) for number, asked in enumerate(requests)))
