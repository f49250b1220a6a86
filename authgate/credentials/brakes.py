"""Brakes on guessing: who sent too many wrong passwords lately has to wait.

Rules of this module:
1. Wrong passwords are counted by client address, and by client address and name; never by name alone, or anybody could
   lock out anybody. An IPv6 client has a whole /64 to choose addresses from, so that counts as one.
2. The counters are in the store, one for all workers. An attempt is tested before its password is verified and counted
   when that was wrong; attempts under way count too, or a hundred at once would all be the first.
3. A brake that holds is remembered here until it lets go: a stream of attempts then costs the store nothing.
4. Time is up ten minutes after the first wrong password of a count, however many came since.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from limits import RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter

from authgate.errors import Busy, StoreUnavailable, TooManyAttempts
from authgate.networks import Address
from authgate.stores import Clock, Counters

T = TypeVar("T")

MINUTES = 10
BY_CLIENT_AND_NAME = 10
BY_CLIENT = 100

# Brakes remembered in one process; beyond that the one that was looked at least is asked of the store again.
REMEMBERED = 10_000

_WINDOW = MINUTES * 60.0
_CLIENT = RateLimitItemPerMinute(BY_CLIENT, MINUTES, namespace="password")
_CLIENT_AND_NAME = RateLimitItemPerMinute(BY_CLIENT_AND_NAME, MINUTES, namespace="password")
_IPV6_HOST_BITS = 64


class Brakes:
    """Counts wrong passwords and says who has to wait.

    `engaged` is how often a brake began to hold, as this process saw it.
    """

    def __init__(self, counters: Counters, clock: Clock, capacity: int = REMEMBERED) -> None:
        self.engaged = 0
        self._limiter = FixedWindowRateLimiter(_CounterStorage(counters, clock))
        self._clock = clock
        self._capacity = capacity
        self._until: OrderedDict[str, float] = OrderedDict()
        self._trying: Counter[str] = Counter()

    def remaining(self, address: Address | None, name: str) -> float:
        """Return for how many seconds a brake that is remembered still holds; 0 when none does."""
        if not self._until:
            return 0.0
        return max(self._holds(key) for _, key in _keys(address, name))

    async def attempt(self, address: Address | None, name: str, prove: Callable[[], Awaitable[T | None]]) -> T | None:
        """Return what `prove` does, unless a brake holds; None from it is a wrong password.

        Raises:
            TooManyAttempts: a brake holds.
            Busy: so many are under way that one more would be too many if all of them were wrong.
            StoreUnavailable: what was counted cannot be read, or a wrong password not be counted.
        """
        client, client_and_name = limits = _keys(address, name)
        keys = [key for _, key in limits]
        held = max(map(self._holds, keys))
        if held:
            raise TooManyAttempts(held)
        self._trying.update(keys)
        # With those that came before, not with those that come while this one waits.
        costs = [self._trying[key] for key in keys]
        try:
            for (limit, key), cost in zip(limits, costs, strict=True):
                await self._test(limit, key, cost)
            proved = await prove()
            if proved is None:
                await self._limiter.hit(*client)
                await self._limiter.hit(*client_and_name)
            else:
                # Not the client's own count: whoever has an account could clear it between two guesses at others.
                with suppress(StoreUnavailable):  # it ends by itself
                    await self._limiter.clear(*client_and_name)
        finally:
            for key in keys:
                self._trying[key] -= 1
                if not self._trying[key]:
                    del self._trying[key]
        return proved

    async def _test(self, limit: RateLimitItemPerMinute, key: str, cost: int) -> None:
        if await self._limiter.test(limit, key, cost=cost):
            return
        ends, left = await self._limiter.get_window_stats(limit, key)
        seconds = ends - self._clock()
        if left or seconds <= 0:
            raise Busy("more passwords of one client are being verified than may be wrong")
        self._remember(key, ends)
        raise TooManyAttempts(seconds)

    def _remember(self, key: str, until: float) -> None:
        self.engaged += key not in self._until
        self._until[key] = until
        self._until.move_to_end(key)
        if len(self._until) > self._capacity:
            self._until.popitem(last=False)

    def _holds(self, key: str) -> float:
        until = self._until.get(key)
        if until is None:
            return 0.0
        seconds = until - self._clock()
        # Longer than any brake: the clock was set back.
        if 0 < seconds <= _WINDOW:
            self._until.move_to_end(key)
            return seconds
        del self._until[key]
        return 0.0


def _keys(address: Address | None, name: str) -> tuple[tuple[RateLimitItemPerMinute, str], ...]:
    client = _client(address)
    # As one: LDAP and many a database take ALICE and alice for the same. The store learns neither names nor addresses.
    spelling = name.strip().casefold()
    return (_CLIENT, _digest(client)), (_CLIENT_AND_NAME, _digest(f"{client}\0{spelling}"))


def _client(address: Address | None) -> str:
    if address is None:
        return "unknown"
    return str(address) if address.version == 4 else f"{int(address) >> _IPV6_HOST_BITS:x}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class _CounterStorage(Storage):
    """The store's counters as the package `limits` wants them."""

    STORAGE_SCHEME = None

    def __init__(self, counters: Counters, clock: Clock) -> None:
        super().__init__()
        self._counters = counters
        self._clock = clock

    @property
    def base_exceptions(self) -> type[Exception]:
        return StoreUnavailable

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        for _ in range(amount - 1):
            await self._counters.add(key, expiry)
        return (await self._counters.add(key, expiry)).number

    async def get(self, key: str) -> int:
        count = await self._counters.counted(key)
        # One that ends later than any can: the clock was set back.
        return count.number if count.ends <= self._clock() + _WINDOW else 0

    async def get_expiry(self, key: str) -> float:
        return (await self._counters.counted(key)).ends

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        return None

    async def clear(self, key: str) -> None:
        await self._counters.clear(key)
