"""Who a token proves, as Bearer and in a cookie."""

import asyncio
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from authgate.credentials.issuers import Issuer
from authgate.credentials.jwt import BAD, EXPIRED, REVOKED, UNKNOWN, JwtCookie, JwtVerifier
from authgate.credentials.revocations import GRACE, KIND, Revocation, Revocations
from authgate.errors import StoreUnavailable
from authgate.model import NOBODY, CredentialKind, Identity
from authgate.stores import Record
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import write
from tests.credentials.tokens import (
    ONE,
    OTHER,
    SECRET,
    by_hand,
    claims,
    followed,
    issuer,
    key_set,
    part,
    settings,
    signer,
    source,
    verifying,
)
from tests.stores.following import until

Scenario = Callable[[JwtVerifier, MovableClock], Awaitable[None]]


def run(folder: Path, scenario: Scenario, *, content: bytes | None = None, **more: object) -> None:
    async def main() -> None:
        clock = MovableClock()
        async with verifying([issuer(folder, clock, content, **more)], clock) as verifier:
            await scenario(verifier, clock)

    asyncio.run(main())


def vectors(name: str) -> dict[str, Any]:
    folder = os.environ.get("AUTHGATE_VECTORS")
    if not folder:
        pytest.skip("AUTHGATE_VECTORS names no folder of vectors")
    found: dict[str, Any] = json.loads((Path(folder) / "jwt" / name).read_text())
    return found


# What the vectors leave to us.
DECIDED = {
    "att-36": True,  # without kid each key of the algorithm is tried
    "att-41": False,  # b64 changes what is signed: refused with and without crit
    "att-42": False,  # zip means nothing in a JWS, so its author meant something else
    "att-43": True,  # an access token (RFC 9068) says who somebody is as well
    "att-52": True,  # another text of the same claims; tokens are revoked by jti, not by their text
    "att-53": False,  # not canonical
    "att-81": False,  # issued in the future, beyond the leeway
    "att-91": False,  # names nobody
    "att-92": False,  # control characters are in no name
}


def test_composed_attacks(tmp_path: Path) -> None:
    document = vectors("attacks_composed.json")
    expected = document["expected_config"]
    keys = json.dumps(document["jwks"]).encode()
    wrong = []
    seen = set()

    async def main() -> None:
        clock = MovableClock(expected["now"])
        for case in document["cases"]:
            names = {"issuer": expected["issuer"], "audience": expected["audience"], "source": "partner"}
            made = issuer(tmp_path, clock, keys, **names, leeway=float(case.get("leeway", 0)))
            async with verifying([made], clock) as verifier:
                found = verifier.peek(case["token"])
                valid = DECIDED[case["id"]] if case["valid"] == "policy" else case["valid"]
                seen.add(case["valid"])
                good = found is not None and found.failure is None and found.subject is not None
                if good is not valid or (good and found != await verifier.verify(case["token"])):
                    wrong.append((case["id"], case["name"], found))

    asyncio.run(main())
    assert wrong == []
    assert seen == {True, False, "policy"}
    assert len(document["cases"]) == 93


# Where our rules are stricter than tink's, whose options can do without.
STRICTER = {
    "tink-031": "iat in the future is refused always, not only when that is asked for",
    "tink-050": "a type other than JWT and at+jwt is refused; none can be configured",
    "tink-052": "the same",
    "tink-053": "the same",
}


def tink(case: Mapping[str, Any]) -> tuple[str, dict[str, object], float]:
    """Return a case's token with what we require added where it has none, its settings, and its moment.

    Our rules: exp, iss, aud and sub have to be there. The MAC is made anew, the rest is the case's, byte by byte.
    """
    validator = case["validator"]
    now = float(validator.get("fixed_now", 1_700_000_000))
    if case["token"] is None:
        header, payload = b'{"alg":"HS256"}', b'{"a":' * 110_000 + b'""' + b"}" * 110_000
    else:
        header, payload = (urlsafe_b64decode(text + "==") for text in case["token"].split(".")[:2])
    issuer_of_it, audience = "https://tink.example", "files"
    if b'"iss"' in payload:
        issuer_of_it = "joe" if validator.get("ignore_issuer") else validator.get("expected_issuer", issuer_of_it)
    if b'"aud"' in payload:
        audience = "joe" if validator.get("ignore_audiences") else validator.get("expected_audience", audience)
    required = {"exp": now + 600, "iss": issuer_of_it, "aud": audience, "sub": "alice"}
    added = {name: value for name, value in required.items() if f'"{name}"'.encode() not in payload}
    if payload.endswith(b"}") and added:
        payload = payload[:-1] + b"," + json.dumps(added).encode()[1:]
    options: dict[str, object] = {"issuer": issuer_of_it, "audience": audience}
    options["leeway"] = float(validator.get("clock_skew", 0))
    return by_hand(header, payload, SECRET), options, now


def test_tink_validation(tmp_path: Path) -> None:
    document = vectors("tink_jwt_validation.json")
    wrong = []
    valid = 0

    async def main() -> None:
        nonlocal valid
        secret = {"kty": "oct", "alg": "HS256", "k": part(SECRET)}
        keys = json.dumps({"keys": [document["key"], secret]}).encode()
        for case in document["cases"]:
            token, options, now = tink(case)
            clock = MovableClock(now)
            async with verifying([issuer(tmp_path, clock, keys, **options)], clock) as verifier:
                # None has everything that we require.
                if case["token"] is not None and verifier.peek(case["token"]) != BAD:
                    wrong.append((case["id"], "as it is"))
                found = verifier.peek(token)
                good = found is not None and found.failure is None
                valid += good
                if good is not (case["valid"] and case["id"] not in STRICTER):
                    wrong.append((case["id"], case["test"]))

    asyncio.run(main())
    assert wrong == []
    assert valid == sum(case["valid"] for case in document["cases"]) - len(STRICTER) == 22


def test_somebody_is_proved(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        found = verifier.peek(ONE.sign(claims(clock.now, groups=["staff"], amr=["mfa"])))
        assert found
        assert found.subject
        assert (found.subject.id, found.subject.groups) == ("partner/alice", frozenset({"staff"}))
        assert found == Identity(found.subject, CredentialKind.JWT, None, second_factor=True)

    run(tmp_path, scenario)


def test_a_verifier_that_remembers_nothing_is_there_all_the_same(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        assert verifier.remembered == 0
        assert bool(verifier)

    run(tmp_path, scenario)


def test_each_algorithm(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    ed_key = ed25519.Ed25519PrivateKey.generate()
    rsa_jwk = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)
    ed_jwk = jwt.algorithms.OKPAlgorithm.to_jwk(ed_key.public_key(), as_dict=True)
    content = json.dumps(
        {
            "keys": [
                {**rsa_jwk, "alg": "RS256", "kid": "rs"},
                {**rsa_jwk, "alg": "PS256", "kid": "ps"},
                {**ed_jwk, "alg": "EdDSA", "kid": "ed"},
                {"kty": "oct", "k": part(SECRET), "alg": "HS256", "kid": "hs"},
                ONE.jwk,
            ]
        }
    ).encode()

    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        keys: dict[str, Any] = {"RS256": rsa_key, "PS256": rsa_key, "EdDSA": ed_key, "HS256": SECRET, "ES256": ONE.key}
        ids = {"RS256": "rs", "PS256": "ps", "EdDSA": "ed", "HS256": "hs", "ES256": "one"}
        for algorithm, key in keys.items():
            for kid in ids.values():
                token = jwt.encode(claims(clock.now), key, algorithm, headers={"kid": kid})
                found = verifier.peek(token)
                assert found
                # A key has one algorithm, and another's id leads to no other key.
                assert (found.failure is None) == (kid == ids[algorithm]), (algorithm, kid)

    run(tmp_path, scenario, content=content)


def test_without_an_id_every_key_of_the_algorithm_is_tried_but_not_without_end(tmp_path: Path) -> None:
    others = [signer(f"k{n}") for n in range(9)]

    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        tokens = [jwt.encode(claims(clock.now), one.key, "ES256") for one in others]
        assert [verifier.peek(token) == BAD for token in tokens] == [False] * 8 + [True]
        assert verifier.peek(others[8].sign(claims(clock.now))) != BAD

    run(tmp_path, scenario, content=key_set(*others))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        good = ONE.sign(claims(clock.now))
        assert verifier.peek(ONE.sign(claims(clock.now, exp=int(clock.now) - 31))) == EXPIRED
        forged = signer("one")
        # Nobody learns from the answer whether a forged token would be in time.
        assert verifier.peek(forged.sign(claims(clock.now, exp=int(clock.now) - 31))) == BAD
        for token in (
            forged.sign(claims(clock.now)),
            ONE.sign(claims(clock.now, iss="https://other.example.com")),
            ONE.sign(claims(clock.now, aud="other")),
            good[:-5],
            good + "A",
            "",
            "x" * 100_000,
            "\ud800" * 10,
            "\xff.\xff.\xff",
        ):
            assert verifier.peek(token) == BAD
            assert await verifier.verify(token) == BAD

    run(tmp_path, scenario)


def test_every_flipped_character_is_refused(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        good = ONE.sign(claims(clock.now))
        verifier.peek(good)
        for index, character in enumerate(good):
            changed = good[:index] + ("A" if character != "A" else "B") + good[index + 1 :]
            assert verifier.peek(changed) == BAD, index
        assert verifier.peek(good) != BAD

    run(tmp_path, scenario)


def test_a_remembered_token_ends_in_time(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        token = ONE.sign(claims(clock.now))
        first = verifier.peek(token)
        clock.advance(629)
        assert verifier.peek(token) is first is not None
        clock.advance(1)
        assert verifier.peek(token) == EXPIRED
        # The clock was set back to before it was issued.
        clock.advance(-700)
        assert verifier.peek(token) == BAD

    run(tmp_path, scenario)


def test_maximum_age_counts(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        token = ONE.sign(claims(clock.now, exp=int(clock.now) + 86400))
        assert verifier.peek(token) != EXPIRED
        clock.advance(90)
        assert verifier.peek(token) == EXPIRED

    run(tmp_path, scenario, max_age=60.0)


def test_few_tokens_are_remembered_and_no_bad_one(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        made = issuer(tmp_path, clock)
        store = MemoryStore(clock)
        revocations = Revocations(store, clock)
        verifier = JwtVerifier([made], revocations, clock, capacity=2)
        async with followed(revocations):
            for name in ("a", "b", "c"):
                verifier.peek(ONE.sign(claims(clock.now, sub=name)))
                verifier.peek(OTHER.sign(claims(clock.now, sub=name)))
            assert verifier.remembered == 2

    asyncio.run(main())


def test_a_key_that_is_gone_verifies_no_more_not_even_what_is_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        made = issuer(tmp_path, clock, key_set(ONE, OTHER))
        async with verifying([made], clock) as verifier:
            tokens = [one.sign(claims(clock.now)) for one in (ONE, OTHER)]
            assert BAD not in [verifier.peek(token) for token in tokens]
            write(tmp_path / "partner.jwks.json", key_set(ONE))
            for now in (0.0, 0.5, 1.6):
                made.poll(now)
            assert [verifier.peek(token) == BAD for token in tokens] == [False, True]

    asyncio.run(main())


def test_a_token_is_bearer_only_where_that_is_allowed(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        assert verifier.peek(ONE.sign(claims(clock.now))) == BAD

    run(tmp_path, scenario, bearer=False)


def test_each_issuer_has_its_own_keys(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        first = issuer(tmp_path, clock, key_set(ONE))
        second = issuer(tmp_path, clock, key_set(OTHER), source="shop", issuer="https://shop.example.com", cookie="s")
        async with verifying([first, second], clock) as verifier:
            for one, name, expected in (
                (ONE, first.settings.issuer, "partner/alice"),
                (OTHER, second.settings.issuer, "shop/alice"),
                (ONE, second.settings.issuer, None),
                (OTHER, first.settings.issuer, None),
            ):
                found = verifier.peek(one.sign(claims(clock.now, iss=name)))
                assert found
                assert found.subject
                assert found.subject.id == (expected or "")
            # In the cookie of one issuer the other's token, remembered already or not, is nothing.
            fresh = OTHER.sign(claims(clock.now, iss=second.settings.issuer, sub="bob"))
            known = OTHER.sign(claims(clock.now, iss=second.settings.issuer))
            for token in (fresh, known):
                assert JwtCookie(verifier, first).peek(token) is NOBODY
                assert JwtCookie(verifier, second).peek(token) is not NOBODY

    asyncio.run(main())


def test_a_cookie_that_proves_nothing_is_absent(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        made = issuer(tmp_path, clock, bearer=False)
        async with verifying([made], clock) as verifier:
            cookie = JwtCookie(verifier, made)
            assert cookie.name == "partner_token"
            for value in (
                "",
                "a.b.c",
                "x" * 10_000,
                OTHER.sign(claims(clock.now)),
                ONE.sign(claims(clock.now, exp=int(clock.now) - 60)),
                ONE.sign(claims(clock.now, iss="https://other.example.com")),
                ONE.sign(claims(clock.now, sub=None)),
                by_hand(b'{"alg":"none"}', json.dumps(claims(clock.now)).encode()),
            ):
                assert cookie.peek(value) is NOBODY
                assert await cookie.verify(value) is NOBODY
            found = cookie.peek(ONE.sign(claims(clock.now)))
            assert found
            assert found.subject
            assert found.subject.name == "alice"

    asyncio.run(main())


def test_a_revoked_token_is_refused_at_once_and_its_cookie_is_bad(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        made = issuer(tmp_path, clock)
        store = MemoryStore(clock)
        async with verifying([made], clock, store) as verifier:
            token, other = (ONE.sign(claims(clock.now, jti=jti)) for jti in ("t1", "t2"))
            cookie = JwtCookie(verifier, made)
            assert REVOKED not in (verifier.peek(token), verifier.peek(other), cookie.peek(token))
            await store.announce(KIND, Revocation("partner", jti="t1").record(clock.now + 600))
            await until(lambda: verifier.peek(token) == REVOKED)
            assert cookie.peek(token) == REVOKED
            assert await cookie.verify(token) == REVOKED
            assert verifier.peek(other) != REVOKED
            # Expired is what it is then, and the cookie is nothing any more.
            clock.advance(10_000)
            assert verifier.peek(token) == EXPIRED
            assert cookie.peek(token) is NOBODY

    asyncio.run(main())


class AwayStore(MemoryStore):
    """A memory store that can be away."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.away = True

    async def scan(self, kind: str, owner: str | None = None) -> list[Record]:
        if self.away:
            raise StoreUnavailable("away")
        return await super().scan(kind, owner)


def test_nobody_is_let_in_before_the_revocations_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.credentials.jwt.PATIENCE", 0.05)

    async def main() -> None:
        clock = MovableClock()
        made = issuer(tmp_path, clock)
        store = AwayStore(clock)
        revocations = Revocations(store, clock)
        verifier = JwtVerifier([made], revocations, clock)
        good, bad = ONE.sign(claims(clock.now)), OTHER.sign(claims(clock.now))
        task = asyncio.create_task(revocations.run())
        for _ in range(2):  # remembered from the first time on
            assert verifier.peek(good) is None
            assert await verifier.verify(good) == UNKNOWN
        assert await JwtCookie(verifier, made).verify(good) == UNKNOWN
        assert verifier.peek(bad) == BAD
        waiting = asyncio.create_task(verifier.verify(good))
        store.away = False
        await until(lambda: revocations.known)
        assert (await waiting).failure in {None, UNKNOWN.failure}
        assert (await verifier.verify(good)).failure is None
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_while_the_store_is_away_what_was_read_counts_for_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        made = issuer(tmp_path, clock)
        store = AwayStore(clock)
        store.away = False
        async with verifying([made], clock, store) as verifier:
            token = ONE.sign(claims(clock.now))
            store.away = True
            for _, on_lost in store._followers:
                on_lost()
            clock.advance(GRACE - 1)
            assert verifier.peek(token) not in (None, UNKNOWN, BAD)
            clock.advance(2)
            assert verifier.peek(token) is None
            assert await verifier.verify(token) == UNKNOWN
            store.away = False
            await until(lambda: verifier.peek(token) is not None)

    asyncio.run(main())


def test_keys_that_cannot_be_fetched_let_nobody_in_and_log_nobody_out(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovableClock()
        made = Issuer(settings(source(url="http://127.0.0.1:1/keys")), clock)
        made.load()
        async with verifying([made], clock) as verifier:
            good = ONE.sign(claims(clock.now))
            assert verifier.peek(good) is None
            assert await verifier.verify(good) == UNKNOWN
            # The half minute in which nobody is asked again.
            assert verifier.peek(good) == UNKNOWN
            assert JwtCookie(verifier, made).peek(good) == UNKNOWN
            # What would be refused with any key is refused without.
            for bad in ("x", ONE.sign(claims(clock.now, aud="other"))):
                assert verifier.peek(bad) == BAD
                assert JwtCookie(verifier, made).peek(bad) is NOBODY
            expired = ONE.sign(claims(clock.now, exp=int(clock.now) - 60))
            assert JwtCookie(verifier, made).peek(expired) is NOBODY

    asyncio.run(main())


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    async def scenario(verifier: JwtVerifier, clock: MovableClock) -> None:
        token = ONE.sign(claims(clock.now))
        found = verifier.peek(token)
        assert token.rpartition(".")[2] not in repr((found, verifier, vars(verifier)))

    run(tmp_path, scenario)
