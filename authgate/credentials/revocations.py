"""Tokens that are revoked before they expire: one by its ``jti``, somebody's, or all that were issued before a moment.

Every worker has all of them in memory: a token comes with each request, and the store cannot be asked each time.

Rules of this module:
1. Nobody is let in by a token before the revocations have been read once.
2. A change is read at once, one record; a loss of the channel reads everything again.
3. While that does not succeed, what was known goes on to count, for a minute; then nothing is known.
"""

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from authgate.errors import StoreUnavailable
from authgate.stores import Clock, Record, Store

KIND = "revocation"

# Some 300 bytes each in every worker. The command line refuses more; one worker reads a few that were written at once.
MAX_REVOCATIONS = 100_000
_SLACK = 1000
# Seconds for which a record is kept when nobody says when the last token that it hits ends.
LONGEST = 400 * 86400.0
# Seconds for which what was read counts while the store is away.
GRACE = 60.0
# Seconds before another try.
_PAUSE = 0.05
# Records decoded in one go; more would keep the event loop from answering.
_BATCH = 500

_log = logging.getLogger("authgate")


@dataclass(frozen=True, slots=True)
class Revocation:
    """What is revoked.

    Args:
        source: of one issuer.
        jti: of one token; empty: of any.
        name: whose tokens; empty: everybody's.
        before: only tokens issued before, in seconds since the epoch; None: whenever they were issued.
    """

    source: str
    jti: str = ""
    name: str = ""
    before: float | None = None

    @property
    def key(self) -> str:
        """Return the key of its record: what is revoked twice is one record."""
        return hashlib.sha256(_encode(self)).hexdigest()

    def record(self, expires: float) -> Record:
        """Return its record.

        Args:
            expires: no token that it hits counts from then on.
        """
        return Record(self.key, _encode(self), self.source, expires)


def decode(record: Record) -> Revocation | None:
    """Read a record; None when it is not exactly one that was written here."""
    try:
        found = json.loads(record.value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"source", "jti", "name", "before"}:
        return None
    before = found["before"]
    if not all(isinstance(found[key], str) for key in ("source", "jti", "name")):
        return None
    if before is not None and not (type(before) is float and math.isfinite(before)):
        return None
    return Revocation(**found)


def _encode(revocation: Revocation) -> bytes:
    return json.dumps(asdict(revocation), sort_keys=True, separators=(",", ":")).encode()


class _Table:
    """Revocations, found by what a token says."""

    def __init__(self) -> None:
        self._all: dict[str, tuple[Revocation, float]] = {}
        self._by_jti: dict[tuple[str, str], str] = {}
        self._by_name: dict[tuple[str, str], set[str]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, key: str, revocation: Revocation, expires: float) -> None:
        self._all[key] = revocation, expires
        if revocation.jti:
            self._by_jti[revocation.source, revocation.jti] = key
        else:
            self._by_name.setdefault((revocation.source, revocation.name), set()).add(key)

    def remove(self, key: str) -> None:
        found = self._all.pop(key, None)
        if found is None:
            return
        revocation = found[0]
        if revocation.jti:
            del self._by_jti[revocation.source, revocation.jti]
        else:
            self._by_name[revocation.source, revocation.name].discard(key)

    def hits(self, source: str, name: str, jti: str, issued: float | None, now: float) -> bool:
        keys: list[str] = []
        if jti and (source, jti) in self._by_jti:
            keys.append(self._by_jti[source, jti])
        for whose in (name, ""):
            keys += self._by_name.get((source, whose), ())
        return any(_is_hit(*self._all[key], issued, now) for key in keys)


def _is_hit(revocation: Revocation, expires: float, issued: float | None, now: float) -> bool:
    before = revocation.before
    # A token that does not say when it was issued may be as old as any.
    return now < expires and (before is None or issued is None or issued < before)


class Revocations:
    """Every revocation in force, in memory, as the store has it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._table = _Table()
        self._changed: set[str] = set()
        self._woken = asyncio.Event()
        self._read = asyncio.Event()
        # How often the channel was lost, and how often it had been when everything was read last.
        self._losses = 0
        self._losses_covered = -1
        self._good_at = float("-inf")

    @property
    def count(self) -> int:
        """How many are in memory."""
        return len(self._table)

    @property
    def known(self) -> bool:
        """True when what is in memory can be believed."""
        # The distance: a clock that was set back makes nothing fresher.
        return self._is_whole or abs(self._clock() - self._good_at) < GRACE

    async def wait(self) -> None:
        """Return when they have been read once."""
        await self._read.wait()

    def hits(self, source: str, name: str, jti: str, issued: float | None) -> bool:
        """Tell whether a token is revoked.

        Args:
            issued: None when it does not say.
        """
        return bool(len(self._table)) and self._table.hits(source, name, jti, issued, self._clock())

    async def run(self) -> None:
        """Follow the store until cancelled."""
        tasks = [
            asyncio.create_task(self._store.follow(self._on_deleted, self._on_lost)),
            asyncio.create_task(self._keep()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._on_lost()

    @property
    def _is_whole(self) -> bool:
        return self._losses_covered == self._losses

    def _on_deleted(self, kind: str, key: str) -> None:
        if kind == KIND:
            self._changed.add(key)
            self._woken.set()

    def _on_lost(self) -> None:
        if self._is_whole:
            self._good_at = self._clock()
        self._losses += 1
        self._woken.set()

    async def _keep(self) -> None:
        away = False
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._read_changed()
                if not self._is_whole:
                    await self._read_all()
            except StoreUnavailable as error:
                if not away:
                    _log.error("revocations cannot be read: %s", error)
                away = True
                self._on_lost()
            if not self._is_whole:
                # While the store is away, the channel is lost again at each of its tries.
                await asyncio.sleep(_PAUSE)
            elif away:
                away = False
                _log.warning("revocations can be read again")

    async def _read_changed(self) -> None:
        while self._changed and self._is_whole:
            key = self._changed.pop()
            record = await self._store.get(KIND, key)
            if record is None:
                self._table.remove(key)
            else:
                self._table.add(key, _understood(record), record.expires)
        if len(self._table) > MAX_REVOCATIONS + _SLACK:
            # Those that have expired may still be in memory: the store knows.
            self._on_lost()

    async def _read_all(self) -> None:
        losses, began = self._losses, self._clock()
        self._changed.clear()
        records = await self._store.scan(KIND)
        if len(records) > MAX_REVOCATIONS + _SLACK:
            raise StoreUnavailable(f"{len(records):,} are more than the {MAX_REVOCATIONS:,} that can be kept")
        table = _Table()
        for batch in _batches(records):
            for record in batch:
                table.add(record.key, _understood(record), record.expires)
            await asyncio.sleep(0)
        self._table = table
        self._losses_covered = losses
        self._good_at = began
        self._read.set()


def _understood(record: Record) -> Revocation:
    revocation = decode(record)
    if revocation is None:
        # Whatever it revokes must not be let in.
        raise StoreUnavailable(f"the revocation {record.key[:12]} is not one that this authgate understands")
    return revocation


def _batches(records: list[Record]) -> Iterable[list[Record]]:
    return (records[start : start + _BATCH] for start in range(0, len(records), _BATCH))
