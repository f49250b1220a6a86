"""What an access token costs: the same file by a session, and by a token as Bearer and as the password of Basic.

Through nginx with wrk, and as decisions within one process, where nothing else is measured.
"""

import asyncio
import tempfile
import time
from base64 import b64encode
from pathlib import Path

from click.testing import CliRunner

from authgate.cli.token import token
from authgate.credentials import Credentials, Presented
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.brakes import Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.passwords import Passwords
from authgate.credentials.people import People
from authgate.credentials.session import KIND, Sessions, decode
from authgate.credentials.token_record import KIND as TOKEN_KIND
from authgate.credentials.token_record import Token, generate
from authgate.credentials.tokens import Tokens
from authgate.model import Subject
from authgate.pdp import Pdp
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from benchmarks.pairs import median_ratio, requests_per_second
from benchmarks.site import measured_site
from tests.credentials.people import HOME, SITE, logins, sha, users
from tests.policies import compiled, request
from tests.stores.following import until

SECONDS = 5
PATH = "/d1/file.txt"
# Decisions in one measurement.
DECISIONS = 20_000


def main() -> None:
    """Print the figures."""
    asyncio.run(_within_a_process())
    _through_nginx()


def _through_nginx() -> None:
    with measured_site() as site:
        # Beside its configuration, which has the same name.
        config = str(site.authgate.output.with_suffix(".toml"))
        arguments = ["create", "--owner", "user0", "--path", "/d1/**", "--config", config]
        text = CliRunner().invoke(token, arguments).stdout.strip()
        url = site.url("authgate", PATH)

        def by(header: str) -> float:
            return requests_per_second(url, seconds=SECONDS, headers=[header])

        for scheme, header in _headers(text).items():
            ratio = median_ratio(lambda: by(f"Authorization: {header}"), lambda: by(site.cookie))  # noqa: B023
            print(f"{scheme} / session, requests: {ratio}")


async def _within_a_process() -> None:
    clock = time.time
    store = MemoryStore(clock)
    with tempfile.TemporaryDirectory() as name:
        loaded = users(Path(name), f"alice:{sha('secret')}\n", "staff: alice\n")
    records = CachedRecords(store, KIND, decode, 10)
    sessions = Sessions(records, store, loaded, 1800, 43200, clock)
    tokens = Tokens(store, loaded, People(Directory(), clock), Brakes(store, clock), clock)
    following = [asyncio.create_task(records.run()), asyncio.create_task(tokens.run())]
    await until(lambda: store.up)
    await asyncio.sleep(0)
    passwords = Passwords(loaded)
    basic = BasicVerifier(loaded, logins(loaded, passwords), clock, tokens=tokens)
    pdp = Pdp(
        compiled({"paths": ["/x/**"], "allow": ["group:staff"]}), (SITE,), Credentials(sessions, basic, tokens=tokens)
    )
    text, key, digest = generate()
    now = clock()
    made = Token(key, "", "alice", True, "", ("/x/**",), ("GET",), (), (), True, (), now, now + 3600, None, digest)
    await store.put(TOKEN_KIND, made.record())
    cookie = Presented(f"{SITE.session_cookie}={await sessions.begin(Subject('', 'alice'), SITE)}", "", "", HOME)
    asked = request("/x/file.txt")
    for scheme, header in _headers(text).items():
        presented = Presented("", header, "", HOME)
        for one in (cookie, presented, presented):
            # Cold once, and then from every memory.
            await pdp.evaluate(asked, one)
            await asyncio.sleep(0)

        def decisions(one: Presented) -> float:
            began = time.perf_counter()
            for _ in range(DECISIONS):
                given = pdp.evaluate_at_once(asked, one)
                if given is None or not given.decision.allowed:
                    raise RuntimeError("not from memory, or not allowed: the figure would mean nothing")
            return DECISIONS / (time.perf_counter() - began)

        ratio = median_ratio(lambda: decisions(presented), lambda: decisions(cookie))  # noqa: B023
        print(f"{scheme} / session, decisions: {ratio}")
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    passwords.close()


def _headers(text: str) -> dict[str, str]:
    return {"Bearer": f"Bearer {text}", "Basic": "Basic " + b64encode(f"script:{text}".encode()).decode()}


if __name__ == "__main__":
    main()
