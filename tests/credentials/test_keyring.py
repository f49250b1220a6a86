import os
from pathlib import Path

import pytest

from authgate.config.sources import KeySource
from authgate.credentials.keyring import make_key, read_ring, read_source
from authgate.errors import ConfigError
from authgate.keys import COOKIE, State
from authgate.keys.ring import Ring, created, render, render_public

SECRET = "x" * 40


def source(*, file: Path | None = None, jwks: Path | None = None, algorithm: str = "") -> KeySource:
    return KeySource("authgate.toml: issuers[0].keys[0]", file, jwks, "", algorithm, "k1" if file else "")


def ring(algorithm: str = "ES256") -> Ring:
    return Ring(tuple(make_key(algorithm, COOKIE, state, 1_700_000_000.0) for state in (State.CURRENT, State.NEXT)))


def write(file: Path, content: bytes, mode: int) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_secrets_are_read_where_only_the_owner_reads(tmp_path: Path, mode: int) -> None:
    (key,) = read_source(source(file=write(tmp_path / "a", SECRET.encode(), mode), algorithm="HS256"))

    assert (key.id, key.material) == ("k1", SECRET.encode())
    for algorithm in ("ES256", "HS256"):
        states = [
            one.state for one in read_source(source(jwks=write(tmp_path / algorithm, render(ring(algorithm)), mode)))
        ]
        assert states == [State.CURRENT, State.NEXT]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o610])
def test_secrets_that_others_may_read_or_write_are_refused(tmp_path: Path, mode: int) -> None:
    files = [
        source(file=write(tmp_path / "secret", SECRET.encode(), mode), algorithm="HS256"),
        source(jwks=write(tmp_path / "hs256", render(ring("HS256")), mode)),
        source(jwks=write(tmp_path / "es256", render(ring()), mode)),
    ]
    for one in files:
        with pytest.raises(ConfigError, match="open to others than its owner") as caught:
            read_source(one)
        assert SECRET not in str(caught.value)


def test_public_keys_may_be_read_by_everybody(tmp_path: Path) -> None:
    keys = read_source(source(jwks=write(tmp_path / "public", render_public(ring()), 0o644)))

    assert [key.is_secret for key in keys] == [False, False]


def test_keys_that_are_fetched_are_in_no_file() -> None:
    assert read_source(KeySource("place", None, None, "https://partner.example/keys", "", "")) == ()


def test_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("nowhere", "fifo", "folder"):
        with pytest.raises(ConfigError, match=name):
            read_source(source(jwks=tmp_path / name))
        with pytest.raises(ConfigError, match=name):
            read_ring(tmp_path / name)


def test_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "huge", b"", 0o600)
    os.truncate(file, 10**12)

    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        read_source(source(jwks=file))


def test_id_says_when_a_key_was_made() -> None:
    first, second = (make_key("EdDSA", COOKIE, State.NEXT, now).key for now in (1_700_000_000.9, 1_700_000_001.0))

    assert first.id < second.id
    moment = created(first)
    assert moment is not None
    assert moment.timestamp() == 1_700_000_000
