"""Key sets that are fetched from an address that may be anything."""

import asyncio
import logging
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from authgate.credentials import jwks
from authgate.credentials.issuers import Issuer
from authgate.credentials.jwks import EXTRA, KEPT, MAX_SIZE, FetchError, RemoteKeys, fetch
from authgate.credentials.jwt import BAD, UNKNOWN
from authgate.errors import ConfigError, Problem
from authgate.keys import Key, parse_key_set
from authgate.model import Identity
from tests import servers
from tests.clock import MovableClock
from tests.credentials.key_server import Answer, KeyServer, saying, serving, writing
from tests.credentials.tokens import ONE, OTHER, claims, key_set, part, settings, source, verifying
from tests.stores.following import until

GOOD = key_set(ONE)


def refused(answer: Answer) -> str:
    """Return why what a server answers is refused."""

    async def main() -> str:
        async with serving(answer) as server:
            with pytest.raises(FetchError) as caught:
                await fetch(server.url())
            return str(caught.value)

    return asyncio.run(main())


def test_what_an_address_answers_is_fetched() -> None:
    async def main() -> None:
        async with serving(saying(GOOD, "Cache-Control: public, max-age=900\r\n")) as server:
            fetched = await fetch(server.url())
            assert (fetched.body, fetched.max_age) == (GOOD, 900)
            (request,) = server.requests
            assert request.startswith(b"GET /keys?a=b HTTP/1.1\r\n")
            assert f"host: 127.0.0.1:{server.port}".encode() in request.lower()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", None),
        ("Cache-Control: no-store\r\n", None),
        ("Cache-Control: s-maxage=5\r\n", None),
        ("Cache-Control: x-max-age=5\r\n", None),
        ("Cache-Control: max-age=-5\r\n", None),
        ("Cache-Control: max-age=99999999999\r\n", None),
        ("Cache-Control: MAX-AGE=5\r\n", 5),
        ("Cache-Control: public\r\nCache-Control: max-age=7\r\n", 7),
    ],
)
def test_how_long_it_is_fresh(head: str, expected: float | None) -> None:
    async def main() -> None:
        async with serving(saying(GOOD, head)) as server:
            assert (await fetch(server.url())).max_age == expected

    asyncio.run(main())


def test_a_chunked_answer_is_read() -> None:
    async def main() -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        async with serving(writing(b"HTTP/1.1 103 Early Hints\r\n\r\n" + chunked)) as server:
            assert (await fetch(server.url())).body == b"{}"

    asyncio.run(main())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "500 Oh", "204 No", "404 Not"])
def test_nothing_but_200_counts_and_no_redirect_is_followed(status: str) -> None:
    async def main() -> None:
        async with serving(saying(GOOD)) as target:
            redirecting = saying(GOOD, f"Location: {target.url()}\r\n", status)
            async with serving(redirecting) as server:
                with pytest.raises(FetchError, match=status[:3]):
                    await fetch(server.url())
                assert target.requests == []

    asyncio.run(main())


def test_a_huge_answer_is_cut() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    assert "over 262144 bytes" in refused(endless)
    assert "over 262144 bytes" in refused(saying(b" " * (MAX_SIZE + 1)))


def test_a_slow_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "DEADLINE", 0.2)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    assert "no whole answer" in refused(drip)
    assert "no whole answer" in refused(silent)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_no_answer_is_refused(content: bytes) -> None:
    assert refused(writing(content))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://127.0.0.1:99999/", "https://nowhere.invalid/keys"])
def test_an_address_that_is_away_is_an_error_of_its_own(url: str) -> None:
    with pytest.raises(FetchError):
        asyncio.run(fetch(url))


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(servers.require("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def main() -> None:
        async with serving(saying(GOOD), context) as server:
            with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
                await fetch(server.url("https"))
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert (await fetch(server.url("https"))).body == GOOD
            # The certificate is one for a name, and this is another.
            with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
                await fetch(server.url("https").replace("localhost", "127.0.0.1"))

    asyncio.run(main())


class Remote:
    """Keys at a server, and how often they were others."""

    def __init__(self, server: KeyServer, clock: MovableClock) -> None:
        self.changes = 0
        self.keys = RemoteKeys(server.url(), self.parse, self.changed, clock)
        self.clock = clock
        self.server = server

    def parse(self, content: bytes) -> tuple[Key, ...]:
        return parse_key_set(content, "keys")

    def changed(self) -> None:
        self.changes += 1

    async def fetched(self) -> list[str] | None:
        """Fetch once, whatever is allowed, and return the ids."""
        self.clock.advance(EXTRA)
        await self.keys.learn()
        return None if self.keys.keys is None else [key.id for key in self.keys.keys]


def run(scenario: Callable[[Remote], Awaitable[None]], answer: Answer | None = None) -> None:
    async def main() -> None:
        async with serving(answer or saying(GOOD)) as server:
            await scenario(Remote(server, MovableClock()))

    asyncio.run(main())


@pytest.mark.parametrize(
    "bad",
    [
        saying(b"<!doctype html>", "Content-Type: text/html\r\n"),
        saying(b'{"keys": []}'),
        saying(b'{"keys": [{"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "alg": "HS256"}]}'),
        saying(b"", status="500 Oh"),
        writing(b""),
    ],
    ids=["html", "empty", "secret", "500", "closed"],
)
def test_the_last_good_set_stays_while_the_address_is_wrong_for_a_day(
    bad: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(remote: Remote) -> None:
        assert remote.keys.keys is None
        assert await remote.fetched() == ["one"]
        remote.server.answer = bad
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert await remote.fetched() == ["one"]
            assert len(caplog.messages) == 1
            # What a query holds may be a secret.
            assert "a=b" not in caplog.text
            remote.clock.advance(KEPT)
            assert await remote.fetched() is None
            remote.server.answer = saying(GOOD)
            assert await remote.fetched() == ["one"]
            assert caplog.messages[1:] == [f"{remote.server.url()[:-4]}: the keys can be fetched again"]
        assert remote.changes == 2

    run(scenario)


def test_a_set_that_did_not_change_is_the_same_set() -> None:
    async def scenario(remote: Remote) -> None:
        await remote.fetched()
        before = remote.keys.keys
        await remote.fetched()
        assert remote.keys.keys is before
        remote.server.answer = saying(key_set(ONE, OTHER))
        assert await remote.fetched() == ["one", "other"]
        assert (remote.changes, remote.keys.fetches) == (2, 3)

    run(scenario)


def test_it_is_fetched_at_start_and_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "SHORTEST", 0.01)

    async def scenario(remote: Remote) -> None:
        task = asyncio.create_task(remote.keys.run())
        await until(lambda: remote.keys.fetches > 3)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run(scenario, saying(GOOD, "Cache-Control: max-age=0\r\n"))


@pytest.mark.parametrize(
    ("head", "least", "most"),
    [
        ("", 270, 300),
        ("Cache-Control: max-age=1\r\n", 54, 60),
        ("Cache-Control: max-age=600\r\n", 540, 600),
        ("Cache-Control: max-age=86400\r\n", 3240, 3600),
    ],
)
def test_the_answer_says_when_it_is_fetched_again_within_bounds(head: str, least: float, most: float) -> None:
    async def scenario(remote: Remote) -> None:
        pauses = {await remote.keys._fetch() for _ in range(5)}
        assert len(pauses) == 5
        assert all(least <= pause <= most for pause in pauses)

    run(scenario, saying(GOOD, head))


def test_failures_are_tried_again_soon_and_then_less_often() -> None:
    async def scenario(remote: Remote) -> None:
        pauses = [await remote.keys._fetch() for _ in range(8)]
        assert 1.8 <= pauses[0] <= 2.2
        assert 54 <= pauses[-1] <= 66

    run(scenario, saying(b"", status="500 Oh"))


def test_ten_thousand_unknown_keys_cause_one_fetch() -> None:
    async def main() -> None:
        clock = MovableClock()
        async with serving(saying(GOOD)) as server:
            made = Issuer(settings(source(url=server.url())), clock)
            async with verifying([made], clock) as verifier:
                good = ONE.sign(claims(clock.now))
                assert (await verifier.verify(good)).failure is None
                assert len(server.requests) == 1
                clock.advance(EXTRA)
                token = OTHER.sign(claims(clock.now), {"kid": "k0000"})
                _, payload, signature = token.split(".")

                def unknown(number: int) -> str:
                    header = f'{{"alg":"ES256","kid":"k{number:04}"}}'.encode()
                    return f"{part(header)}.{payload}.{signature}"

                # At once, while the address hangs: all of them wait for the same answer.
                server.hold = asyncio.Event()
                many = [asyncio.create_task(verifier.verify(unknown(n))) for n in range(100)]
                await until(lambda: len(server.requests) == 2)
                server.hold.set()
                assert {identity.failure for identity in await asyncio.gather(*many)} == {BAD.failure}
                for number in range(10_000):
                    found: Identity | None = verifier.peek(unknown(number))
                    assert found == BAD
                assert len(server.requests) == 2
                assert verifier.peek(good) not in (None, BAD)
                clock.advance(EXTRA)
                assert verifier.peek(unknown(1)) is None
                assert await verifier.verify(unknown(1)) == BAD
                assert len(server.requests) == 3

    asyncio.run(main())


def test_what_is_wrong_anyway_causes_no_fetch() -> None:
    async def main() -> None:
        clock = MovableClock()
        async with serving(saying(GOOD)) as server:
            made = Issuer(settings(source(url=server.url())), clock)
            async with verifying([made], clock) as verifier:
                await verifier.verify(ONE.sign(claims(clock.now)))
                clock.advance(EXTRA)
                for token in (
                    OTHER.sign(claims(clock.now, exp=int(clock.now) - 60)),
                    OTHER.sign(claims(clock.now, aud="other")),
                    OTHER.sign(claims(clock.now, iss="https://evil.example")),
                    # A wrong signature by a key that is known.
                    OTHER.sign(claims(clock.now), {"kid": "one"}),
                    OTHER.sign(claims(clock.now), {}),
                    "x.y.z",
                ):
                    assert await verifier.verify(token) == BAD
                assert len(server.requests) == 1

    asyncio.run(main())


def test_a_rotated_key_is_learned_by_its_first_token_and_the_lost_one_refused_at_the_next_request() -> None:
    async def main() -> None:
        clock = MovableClock()
        async with serving(saying(GOOD)) as server:
            made = Issuer(settings(source(url=server.url())), clock)
            async with verifying([made], clock) as verifier:
                old = ONE.sign(claims(clock.now))
                assert (await verifier.verify(old)).failure is None
                server.answer = saying(key_set(OTHER))
                clock.advance(EXTRA)
                assert (await verifier.verify(OTHER.sign(claims(clock.now)))).failure is None
                assert verifier.peek(old) == BAD

    asyncio.run(main())


def test_keys_that_are_too_old_are_let_go() -> None:
    async def main() -> None:
        clock = MovableClock()
        async with serving(saying(GOOD)) as server:
            made = Issuer(settings(source(url=server.url())), clock)
            async with verifying([made], clock) as verifier:
                await verifier.verify(ONE.sign(claims(clock.now)))
                server.answer = saying(b"", status="500 Oh")
                clock.advance(KEPT - 1)
                made.poll(0)
                good = ONE.sign(claims(clock.now))
                assert verifier.peek(good) not in (None, BAD, UNKNOWN)
                clock.advance(1)
                made.poll(1)
                assert await verifier.verify(good) == UNKNOWN

    asyncio.run(main())


def test_a_client_that_goes_away_does_not_end_the_fetch() -> None:
    async def scenario(remote: Remote) -> None:
        remote.server.hold = asyncio.Event()
        waiting = asyncio.create_task(remote.keys.learn())
        await until(lambda: len(remote.server.requests) == 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        remote.server.hold.set()
        await until(lambda: remote.keys.keys is not None)

    run(scenario)


def test_an_error_of_the_keys_is_told_without_them(caplog: pytest.LogCaptureFixture) -> None:
    def parse(content: bytes) -> tuple[Key, ...]:
        raise ConfigError([Problem("issuers[0]", "no good")])

    async def main() -> None:
        async with serving(saying(GOOD)) as server:
            remote = RemoteKeys(server.url(), parse, lambda: None, MovableClock())
            await remote.learn()
            assert remote.keys is None

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "no keys: issuers[0]: no good" in caplog.text
