"""What a link costs: a decision by an uncounted link and by a session, and how many uses a second SQLite counts."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path

from authgate.credentials import Credentials, Presented
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.brakes import Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.keyring import make_key
from authgate.credentials.link_format import ALGORITHM, make_id, sign_link
from authgate.credentials.links import Links
from authgate.credentials.logins import Logins
from authgate.credentials.passwords import Passwords
from authgate.credentials.revocations import Revocations
from authgate.credentials.session import KIND, SessionData, Sessions, decode
from authgate.credentials.users import LocalUsers
from authgate.keys import LINK, State
from authgate.keys.ring import Ring, render
from authgate.model import AccessRequest, Site, Subject
from authgate.networks import parse_address
from authgate.pdp import Pdp
from authgate.policy import compile_policy
from authgate.stores.cache import CachedRecords
from authgate.stores.sqlite import SqliteStore
from benchmarks.pairs import median_ratio
from tests import servers

SITE = Site("https", "files.example.com")
ROUND = 20_000
COUNTED = 5_000
AT_ONCE = 16


def main() -> None:
    """Print the figures."""
    with servers.open_folder() as folder:
        asyncio.run(_measure(folder))


async def _measure(folder: Path) -> None:
    key = make_key(ALGORITHM, LINK, State.CURRENT, time.time())
    ring = folder / "links.jwks"
    ring.touch(mode=0o600)
    ring.write_bytes(render(Ring((key,))))
    (folder / "users").write_text(f"alice:{{SHA}}{b64encode(bytes(20)).decode()}\n")
    store = SqliteStore(folder / "authgate.db", time.time)
    users = LocalUsers(folder / "users", None)
    users.load()
    revocations = Revocations(store, time.time)
    records: CachedRecords[SessionData] = CachedRecords(store, KIND, decode, 1000)
    following = [asyncio.create_task(revocations.run()), asyncio.create_task(records.run())]
    await revocations.wait()
    links = Links(ring, store, revocations, time.time)
    links.load()
    sessions = Sessions(records, store, users, 1800, 43200, time.time)
    passwords = Passwords(users)
    basic = BasicVerifier(users, Logins(users, passwords, Directory(), Brakes(store, time.time)), time.time)
    rule = {"name": "files", "paths": ["/d1/**"], "allow": ["link", "user:alice"]}
    pdp = Pdp(compile_policy([("rules[0]", rule)], [SITE], {}), (SITE,), Credentials(sessions, basic), links=links)

    def by_link(number: int, uses: int | None = None) -> AccessRequest:
        claims: dict[str, object] = {"id": make_id(), "host": SITE.host, "path": "/d1/**", "exp": time.time() + 3600}
        link = sign_link(key.key, claims | ({"uses": uses} if uses else {}))
        return _request(number)._replace(query=f"ag={link}")

    value = await sessions.begin(Subject("", "alice"), SITE)
    cookie = Presented(f"{SITE.session_cookie}={value}", "")
    asked, nothing = _request(1), Presented("", "")
    linked = by_link(1)
    await pdp.evaluate(asked, cookie)
    ratio = median_ratio(lambda: _rate(pdp, linked, nothing), lambda: _rate(pdp, asked, cookie))
    print(f"uncounted link warm / session, decisions in one worker: {ratio}")
    each = [by_link(number) for number in range(2000)]
    print(f"uncounted link, first seen: {_each(lambda one: pdp.evaluate_at_once(one, nothing), each) * 1e6:.0f} us")

    counted = by_link(1, uses=COUNTED)
    clients = [counted._replace(address=parse_address(f"10.0.{a}.{b}")) for a, b in product(range(20), range(250))]
    print(f"counted link, each a new unit, SQLite: {await _admitted(pdp, clients):,.0f} admissions/s")
    print(f"counted link, units that stand: {await _admitted(pdp, clients):,.0f} admissions/s")
    for task in following:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    passwords.close()
    await store.aclose()


def _request(number: int) -> AccessRequest:
    address = parse_address("192.0.2.1")
    return AccessRequest("GET", SITE.host, f"/d1/file{number}.txt", "https", address, time.time())


def _rate(pdp: Pdp, asked: AccessRequest, presented: Presented) -> float:
    started = time.perf_counter()
    for _ in range(ROUND):
        answer = pdp.evaluate_at_once(asked, presented)
        if answer is None or not answer.decision.allowed:
            raise RuntimeError("not admitted: the figure would be that of something else")
    return ROUND / (time.perf_counter() - started)


def _each(work: Callable[[AccessRequest], object], requests: Sequence[AccessRequest]) -> float:
    started = time.perf_counter()
    for one in requests:
        work(one)
    return (time.perf_counter() - started) / len(requests)


async def _admitted(pdp: Pdp, requests: Sequence[AccessRequest]) -> float:
    """Return admissions a second, so many clients asking at a time."""
    waiting = list(requests)

    async def client() -> None:
        while waiting:
            answer = await pdp.evaluate(waiting.pop(), Presented("", ""))
            if not answer.decision.allowed:
                raise RuntimeError(f"{answer.decision.reason}: the figure would be that of something else")

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return len(requests) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
