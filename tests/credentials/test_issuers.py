"""Where the keys of an issuer come from."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authgate.config.sources import KeySource
from authgate.credentials.issuers import MAX_TRIES, Issuer
from authgate.errors import ConfigError
from tests.clock import MovableClock
from tests.credentials.key_server import saying, serving
from tests.credentials.people import write
from tests.credentials.tokens import ONE, OTHER, SECRET, key_set, part, settings, signer, source
from tests.stores.following import until


def pem(path: Path) -> Path:
    """Write the public key of ONE."""
    path.write_bytes(ONE.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def issuer(*keys: KeySource) -> Issuer:
    return Issuer(settings(*keys), MovableClock())


def settle(made: Issuer) -> None:
    """Let changed files be noticed, and settle."""
    for now in (0.0, 0.5, 1.6):
        made.poll(now)


def test_keys_of_all_places_are_in_force(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)
    (tmp_path / "set").write_bytes(key_set(OTHER))
    file = KeySource("k", pem(tmp_path / "pem"), None, "", "ES256", "pem")
    made = issuer(file, source(jwks=tmp_path / "set"), source(file=secret, algorithm="HS256"))
    made.load()
    assert [(key.id, key.algorithm) for key in made.keys] == [("pem", "ES256"), ("other", "ES256"), ("", "HS256")]
    assert not made.lacks_keys
    assert not made.may_learn


def test_a_key_is_found_by_its_id_and_algorithm(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(key_set(ONE, OTHER))
    made = issuer(source(jwks=tmp_path / "set"), source(file=pem(tmp_path / "pem"), algorithm="ES256"))
    made.load()

    def found(algorithm: str, kid: str | None) -> list[str]:
        return [key.id for key in made.candidates(algorithm, kid)]

    # A key without an id may have signed anything.
    assert found("ES256", "one") == ["one", ""]
    assert found("ES256", "strange") == [""]
    assert found("ES256", None) == ["one", "other", ""]
    assert found("RS256", "one") == found("none", None) == found("HS256", "one") == []


def test_few_keys_are_tried(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(key_set(*(signer(f"k{n}") for n in range(20))))
    made = issuer(source(jwks=tmp_path / "set"))
    made.load()
    assert len(made.keys) == 20
    assert len(made.candidates("ES256", None)) == MAX_TRIES


def test_what_is_wrong_in_every_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(b"no set")
    made = issuer(source(jwks=tmp_path / "set"), source(file=tmp_path / "missing", algorithm="ES256"))
    with pytest.raises(ConfigError) as caught:
        made.load()
    assert len(caught.value.problems) == 2


def test_a_secret_is_only_where_its_owner_alone_may_read(tmp_path: Path) -> None:
    content = {"keys": [{"kty": "oct", "k": part(SECRET), "alg": "HS256"}]}
    for name, octets, keys in (
        ("set", json.dumps(content).encode(), source(jwks=tmp_path / "set")),
        ("secret", SECRET, source(file=tmp_path / "secret", algorithm="HS256")),
    ):
        path = tmp_path / name
        path.write_bytes(octets)
        path.chmod(0o644)
        with pytest.raises(ConfigError, match="open to others") as caught:
            issuer(keys).load()
        assert SECRET.decode() not in str(caught.value)
        path.chmod(0o600)
        made = issuer(keys)
        made.load()
        assert [key.algorithm for key in made.keys] == ["HS256"]
        assert SECRET.decode() not in repr((made.keys, vars(made)))


def test_changed_files_are_taken_over_and_broken_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.write_bytes(key_set(ONE))
    made = issuer(source(jwks=path))
    made.load()
    settle(made)
    before = made.keys
    made.poll(2.0)
    assert made.keys is before
    write(path, key_set(OTHER))
    settle(made)
    assert [key.id for key in made.keys] == ["other"]
    assert [key.id for key in made.candidates("ES256", "one")] == []
    write(path, b"{")
    settle(made)
    assert [key.id for key in made.keys] == ["other"]


def test_what_is_fetched_is_added_to_what_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "set").write_bytes(key_set(ONE))
        async with serving(saying(key_set(OTHER))) as server:
            made = Issuer(settings(source(jwks=tmp_path / "set"), source(url=server.url())), MovableClock())
            made.load()
            assert ([key.id for key in made.keys], made.lacks_keys) == (["one"], True)
            task = asyncio.create_task(made.run())
            await until(lambda: not made.lacks_keys)
            assert [key.id for key in made.keys] == ["one", "other"]
            # A second file's change leaves the fetched ones alone.
            write(tmp_path / "set", key_set(signer("new")))
            settle(made)
            assert [key.id for key in made.keys] == ["new", "other"]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_secret_that_is_fetched_is_none() -> None:
    async def main() -> None:
        keys = [{"kty": "oct", "k": part(SECRET), "alg": "HS256"}, ONE.jwk]
        async with serving(saying(json.dumps({"keys": keys}).encode())) as server:
            made = Issuer(settings(source(url=server.url())), MovableClock())
            await made.learn()
            assert (made.keys, made.lacks_keys) == ((), True)

    asyncio.run(main())


def test_without_an_address_nothing_runs_and_nothing_ends() -> None:
    async def main() -> None:
        task = asyncio.create_task(issuer().run())
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
