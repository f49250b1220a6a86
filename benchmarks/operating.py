"""What operation costs: figures, the audit, passwords, and somebody who guesses them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path

import httpx
from passlib.hash import bcrypt

from authgate.credentials.passwords import hash_password
from benchmarks.pairs import median_ratio, requests_per_second
from benchmarks.site import HALF_REFUSED, Measured, measured_site
from tests.load import load

SECONDS = 4
# Questions a second of a person with a session, while others guess.
CALM = 200
GUESSES = 100

_API = 'api = "unix:run/api.sock"'
_AUDIT = '[audit]\nfile = "audit.log"\nallows = true'


def main() -> None:
    """Print the figures."""
    _watched()
    slow, slower = hash_password("secret"), bcrypt.using(rounds=12).hash("secret")
    people = {f"argon{n}": slow for n in range(GUESSES)} | {f"bcrypt{n}": slower for n in range(50)}
    with measured_site(passwords=people) as site:
        _basic(site)
        _guessing(site)


def _watched() -> None:
    """Compare with a service that counts and writes nothing."""
    with ExitStack() as stack:
        plain = stack.enter_context(measured_site(program="benchmarks.unwatched"))
        counted = stack.enter_context(measured_site(listen=_API))
        audited = stack.enter_context(measured_site(_AUDIT, listen=_API))

        def rate(site: Measured, *, half: bool) -> float:
            headers = [HALF_REFUSED] if half else []
            url = site.url("authgate")
            return requests_per_second(url, seconds=SECONDS, script=site.script, headers=headers, refusals=half)

        for site in (plain, counted, audited):
            rate(site, half=False)  # every session into the cache
        ratio = median_ratio(lambda: rate(counted, half=False), lambda: rate(plain, half=False))
        print(f"metrics, all allowed, with / without: {ratio}")
        ratio = median_ratio(lambda: rate(audited, half=True), lambda: rate(plain, half=True))
        print(f"metrics and audit of everything, half refused, with / without: {ratio}")


def _basic(site: Measured) -> None:
    def rate(header: str) -> float:
        return requests_per_second(site.url("authgate"), seconds=SECONDS, headers=[header])

    # user0 with the password that all have, in base64.
    basic = "Authorization: Basic dXNlcjA6c2VjcmV0"
    rate(basic)
    print(f"Basic, verified before / session: {median_ratio(lambda: rate(basic), lambda: rate(site.cookie))}")


def _guessing(site: Measured) -> None:
    """Print how long answers to somebody with a session take while passwords are guessed."""
    name, _, value = site.cookie.partition(": ")
    folder = Path(site.script).parent

    def calm(what: str, disturbance: Coroutine[None, None, Counter[str]]) -> None:
        with load(folder, site.url("authgate"), rate=CALM, connections=8, headers={name: value}) as measured:
            answers = asyncio.run(disturbance)
        said = ", ".join(f"{count} {reason}" for reason, count in answers.most_common())
        print(f"  {measured.p99:5.1f} ms (longest {measured.longest:5.1f} ms) {what}{said}")

    print(f"of {CALM} answers a second to a session, 99 % came within")
    calm("undisturbed", _nothing())
    calm("with 50 wrong bcrypt-12 passwords at once: ", _at_once(site))
    calm(f"with {GUESSES} wrong passwords a second, until the brake: ", _stream(site, braked=False))
    calm(f"with {GUESSES} wrong passwords a second, after it: ", _stream(site, braked=True))
    calm("undisturbed", _nothing())


async def _nothing() -> Counter[str]:
    await asyncio.sleep(SECONDS)
    return Counter()


async def _at_once(site: Measured) -> Counter[str]:
    async with _client(site) as client:
        return Counter(await asyncio.gather(*(_guess(client, f"bcrypt{n}", "wrong") for n in range(50))))


async def _stream(site: Measured, *, braked: bool) -> Counter[str]:
    """Guess until the first brake, or for SECONDS behind it."""
    tasks: list[asyncio.Task[str]] = []
    end = time.monotonic() + (SECONDS if braked else 30)
    async with _client(site) as client:
        while time.monotonic() < end:
            number = len(tasks)
            guess = _guess(client, f"argon{number % GUESSES}", f"wrong{number}{braked}")
            tasks.append(asyncio.create_task(guess))
            await asyncio.sleep(1 / GUESSES)
            if not braked and "too_many_attempts" in {task.result() for task in tasks if task.done()}:
                break
        return Counter(await asyncio.gather(*tasks))


async def _guess(client: httpx.AsyncClient, name: str, password: str) -> str:
    """Return the reason of the answer."""
    answer = await client.get("/d0/file.txt", auth=(name, password), headers={"Accept": "application/json"})
    if answer.status_code == 401:
        return "bad_credential"
    if "json" not in answer.headers["content-type"]:
        return f"status {answer.status_code}"
    reason: str = json.loads(answer.content)["reason"]
    return reason


def _client(site: Measured) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=GUESSES)
    return httpx.AsyncClient(base_url=site.url("authgate", ""), trust_env=False, timeout=30, limits=limits)


if __name__ == "__main__":
    main()
