"""Key sets (RFC 7517 section 5) that are fetched, and fetched again.

Rules of this module:
1. A fetch is bounded in everything: 3 s in all, 256 KiB, no redirect, 200 and a key set or nothing.
2. What was fetched last stays in use while the address is away, for a day.
3. What clients send causes one fetch in 30 s at most, whatever they invent: a token with an unknown ``kid`` may be the
   first one after a rotation.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from random import uniform
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from authgate import __version__
from authgate.errors import AuthgateError, ConfigError
from authgate.keys import Key
from authgate.stores import Clock

DEADLINE = 3.0
MAX_SIZE = 256 * 1024
# Seconds between two fetches when the answer does not say, and the least and most that it can ask for.
USUAL, SHORTEST, LONGEST = 300.0, 60.0, 3600.0
# Seconds between two that unknown keys cause.
EXTRA = 30.0
# Seconds for which a set is good without a new one.
KEPT = 86400.0
# Seconds before the first and the next tries again after a failure.
_AGAIN, _AGAIN_AT_MOST = 2.0, 60.0

_MAX_AGE = re.compile(r'(?:^|[\s,])max-age="?([0-9]{1,9})"?(?=$|[\s,])', re.IGNORECASE)
_READ = 65536
_log = logging.getLogger("authgate")


class FetchError(AuthgateError):
    """What is at an address could not be had."""


class Fetched(NamedTuple):
    """What an address answered.

    Args:
        max_age: as Cache-Control says; None when it does not.
    """

    body: bytes
    max_age: float | None


class RemoteKeys:
    """The keys at one address.

    Args:
        parse: raises ConfigError for what is no key set.
        on_change: called when they are others than before.
    """

    def __init__(
        self, url: str, parse: Callable[[bytes], tuple[Key, ...]], on_change: Callable[[], None], clock: Clock
    ) -> None:
        self.fetches = 0
        self._url = url
        # A query may hold a password.
        self._name = url.partition("?")[0]
        self._parse = parse
        self._on_change = on_change
        self._clock = clock
        self._keys: tuple[Key, ...] | None = None
        self._body = b""
        self._fetched = float("-inf")
        self._extra = float("-inf")
        self._failures = 0
        self._fetching: asyncio.Task[float] | None = None

    @property
    def keys(self) -> tuple[Key, ...] | None:
        """The keys that were fetched last; None when that is too long ago, or never was."""
        # The distance: after the clock was set back they are no younger.
        return self._keys if abs(self._clock() - self._fetched) < KEPT else None

    @property
    def may_learn(self) -> bool:
        """True when `learn` may bring other keys."""
        return self._fetching is not None or not 0 <= self._clock() - self._extra < EXTRA

    async def run(self) -> None:
        """Fetch again and again, until cancelled."""
        try:
            while True:
                pause = await self._fetch()
                await asyncio.sleep(pause)
        finally:
            if self._fetching is not None:
                self._fetching.cancel()

    async def learn(self) -> None:
        """Fetch out of turn, if that is allowed now; else wait for the fetch that is under way."""
        if not self.may_learn:
            return
        if self._fetching is None:
            self._extra = self._clock()
        await self._fetch()

    async def _fetch(self) -> float:
        """Fetch, or join who does; return the seconds until the next one."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_now())
            self._fetching.add_done_callback(self._over)
        # A client that goes away must not take the keys from the others.
        return await asyncio.shield(self._fetching)

    def _over(self, task: asyncio.Task[float]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()

    async def _fetch_now(self) -> float:
        self.fetches += 1
        began = self._clock()
        try:
            fetched = await fetch(self._url)
            keys = self._keys if self._keys is not None and fetched.body == self._body else self._parse(fetched.body)
        except (FetchError, ConfigError) as error:
            self._failures += 1
            if self._failures == 1:
                left = "" if self.keys is None else "; the keys fetched before stay in use for a day"
                _log.error("%s: no keys: %s%s", self._name, error, left)
            return min(_AGAIN * 2.0 ** min(self._failures - 1, 10), _AGAIN_AT_MOST) * uniform(0.9, 1.1)  # noqa: S311 - spreads load
        if self._failures:
            _log.warning("%s: the keys can be fetched again", self._name)
        self._failures = 0
        changed = keys is not self._keys or self.keys is None
        self._keys, self._body, self._fetched = keys, fetched.body, began
        if changed:
            self._on_change()
        pause = USUAL if fetched.max_age is None else min(max(fetched.max_age, SHORTEST), LONGEST)
        return pause * uniform(0.9, 1.0)  # noqa: S311 - spreads load


async def fetch(url: str) -> Fetched:
    """Return what is at an address of which the configuration has vouched for the form.

    Raises:
        FetchError: there is nothing, or not as it has to be.
    """
    try:
        async with asyncio.timeout(DEADLINE):
            return await _fetch(url)
    except TimeoutError:
        raise FetchError(f"no whole answer in {DEADLINE:g} s") from None
    except h11.RemoteProtocolError as error:
        raise FetchError(f"no HTTP: {error}") from error
    except h11.LocalProtocolError as error:
        raise FetchError(f"cannot be asked for: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a host name that is none
        raise FetchError(str(error) or type(error).__name__) from error


async def _fetch(url: str) -> Fetched:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    # In a thread: it reads the certificates of the whole world. Each time, so that new ones count.
    context = await asyncio.to_thread(ssl.create_default_context) if secure else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=context, limit=_READ
    )
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [
            ("Host", parts.netloc),
            ("Accept", "application/jwk-set+json, application/json"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", f"authgate/{__version__}"),
            ("Connection", "close"),
        ]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(connection.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _receive(connection, reader)
    finally:
        # Not close: a server that does not answer the end of TLS would keep us.
        writer.transport.abort()


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader) -> Fetched:
    body = bytearray()
    max_age: float | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Response):
            if event.status_code != 200:
                raise FetchError(f"answered {event.status_code}")
            fields = event.headers
            if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in fields):
                raise FetchError("answered with something compressed, which nobody asked for")
            max_age = _max_age(b",".join(value for name, value in fields if name == b"cache-control"))
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_SIZE:
                raise FetchError(f"answered over {MAX_SIZE} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return Fetched(bytes(body), max_age)
        elif not isinstance(event, h11.InformationalResponse):
            raise FetchError("closed without an answer")


def _max_age(control: bytes) -> float | None:
    found = _MAX_AGE.search(control.decode("latin-1"))
    return float(found[1]) if found else None
