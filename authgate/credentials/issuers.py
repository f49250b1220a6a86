"""Issuers of tokens: their keys, read from files or fetched, and what their claims mean."""

import asyncio
from collections.abc import Sequence
from itertools import chain, islice

from authgate.config.sources import IssuerSettings, KeySource
from authgate.credentials.jwks import RemoteKeys
from authgate.credentials.keyring import parse_source
from authgate.credentials.watched import Watched, load_all
from authgate.keys import COOKIE, Key, parse_key_set
from authgate.stores import Clock

# Keys that one token is tried with, when it does not say which is its own.
MAX_TRIES = 8

_Keys = tuple[Key, ...]


class Issuer:
    """One issuer; `keys` are those in force, another object whenever they may be others."""

    def __init__(self, settings: IssuerSettings, clock: Clock) -> None:
        self.settings = settings
        self.keys: _Keys = ()
        self._by_id: dict[str, list[Key]] = {}
        self._files = [_watched(source) for source in settings.keys if not source.url]
        self._remote = [self._fetched(source, clock) for source in settings.keys if source.url]
        self._out_of_date: frozenset[int] = frozenset()

    def load(self) -> None:
        """Read the key files now.

        Raises:
            ConfigError: one of them is wrong.
        """
        load_all(self._files)
        self._rebuild()

    def poll(self, now: float) -> None:
        """Take over changed key files, and let go of keys that were fetched too long ago; never raises.

        Args:
            now: seconds by a monotonic clock.
        """
        changed = [file.poll(now) for file in self._files]
        if any(changed) or self._old() != self._out_of_date:
            self._rebuild()

    async def run(self) -> None:
        """Fetch what has to be fetched, again and again, until cancelled; never raises for a URL that is away."""
        if not self._remote:
            await asyncio.Event().wait()
        tasks = [asyncio.create_task(remote.run()) for remote in self._remote]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    @property
    def lacks_keys(self) -> bool:
        """True when there are keys that could not be had, so that nobody can say whose signature is wrong."""
        return bool(self._old())

    @property
    def may_learn(self) -> bool:
        """True when `learn` may bring a key that is not there."""
        return any(remote.may_learn for remote in self._remote)

    async def learn(self) -> None:
        """Fetch keys out of turn, as far as that is allowed now; or wait for who does."""
        await asyncio.gather(*(remote.learn() for remote in self._remote))

    def candidates(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """Return the keys that may have signed a token; one without an id may have signed any."""
        named = self.keys if kid is None else chain(self._by_id.get(kid, ()), self._by_id.get("", ()))
        return tuple(islice((key for key in named if key.algorithm == algorithm), MAX_TRIES))

    def _fetched(self, source: KeySource, clock: Clock) -> RemoteKeys:
        def parse(content: bytes) -> _Keys:
            # No secret may come from there: who can fetch it can sign.
            return parse_key_set(content, source.place, source.algorithm, COOKIE)

        return RemoteKeys(source.url, parse, self._rebuild, clock)

    def _old(self) -> frozenset[int]:
        return frozenset(index for index, remote in enumerate(self._remote) if remote.keys is None)

    def _rebuild(self) -> None:
        self._out_of_date = self._old()
        self.keys = (
            *chain.from_iterable(file.parsed for file in self._files),
            *chain.from_iterable(remote.keys or () for remote in self._remote),
        )
        self._by_id = {}
        for key in self.keys:
            self._by_id.setdefault(key.id, []).append(key)


def _watched(source: KeySource) -> Watched[_Keys]:
    def parse(content: bytes, name: str) -> _Keys:
        return parse_source(source, content, name)

    return Watched(source.file or source.jwks, parse, ())
