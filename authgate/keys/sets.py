"""JSON Web Key Sets (RFC 7517 section 5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from authgate.errors import ConfigError, Problem
from authgate.keys.jwk import PRIVATE, parse_jwk
from authgate.keys.key import Key
from authgate.keys.strict import parse_json

MAX_BYTES = 256 * 1024
MAX_KEYS = 100


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of a set that can be used.

    Args:
        left_out: why the others cannot: "Implementations SHOULD ignore JWKs within a JWK Set that use "kty" values that
            are not understood [...], are missing required members, or for which values are out of the supported ranges"
            (RFC 7517 section 5).
    """

    keys: tuple[Key, ...]
    left_out: tuple[Problem, ...]


def parse_key_set(
    content: bytes, place: str, algorithm: str = "", purpose: str = "", *, secret: bool = False
) -> tuple[Key, ...]:
    """Return the keys of a JSON Web Key Set that may verify signatures.

    Args:
        algorithm: of keys that do not say theirs, and the only one that counts; empty: each key's own.
        purpose: other keys of authgate's own are left out.
        secret: it comes from where secrets may be, a file for its owner only; else one that has any is refused.

    Raises:
        ConfigError: it is none, or no key in it can be used.
    """
    found = read_key_set(content, place, algorithm, purpose, secret=secret)
    if not found.keys:
        raise ConfigError(found.left_out or [Problem(place, "there is no key in it")])
    return found.keys


def read_key_set(content: bytes, place: str, algorithm: str = "", purpose: str = "", *, secret: bool = False) -> KeySet:
    """Return what `parse_key_set` does, and what was left out.

    Raises:
        ConfigError: it is no set, or not one that may be trusted.
    """
    keys: list[Key] = []
    left_out: list[Problem] = []
    taken: set[tuple[str, str]] = set()
    for number, members in enumerate(parse_members(content, place)):
        here = f"{place}: keys[{number}]"
        _refuse_secret(members, here, secret=secret)
        key = parse_jwk(members, algorithm)
        if isinstance(key, str):
            left_out.append(Problem(here, key))
            continue
        if key.purpose not in {"", purpose}:
            left_out.append(Problem(here, "it is for another purpose"))
            continue
        # Which of them is meant could not be said; without an id each is tried.
        if key.id and (key.id, key.algorithm) in taken:
            raise ConfigError([Problem(here, f'a second key "{key.id}" for {key.algorithm}')])
        taken.add((key.id, key.algorithm))
        keys.append(key)
    return KeySet(tuple(keys), tuple(left_out))


def parse_members(content: bytes, place: str) -> list[Mapping[str, object]]:
    """Return the keys of a set as they are written.

    Raises:
        ConfigError: it is no set.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError([Problem(place, f"larger than {MAX_BYTES // 1024} KiB")])
    try:
        parsed = parse_json(content)
    except ValueError as error:
        # json.JSONDecodeError says where; the others are our own words, or about UTF-8. None quotes what it read.
        what = f"not JSON in UTF-8: {type(error).__name__}" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError([Problem(place, f"not a JSON Web Key Set: {what}")]) from None
    keys = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        hint = 'one key alone is written {"keys": [{"kty": ...}]}'
        raise ConfigError([Problem(place, "not a JSON Web Key Set", hint)])
    if len(keys) > MAX_KEYS:
        raise ConfigError([Problem(place, f"more than {MAX_KEYS} keys")])
    return keys


def _refuse_secret(members: Mapping[str, object], place: str, *, secret: bool) -> None:
    # One that others can read is one that they can sign with, whatever the key says it is for. And another's private
    # key is not ours to have: only a ring of authgate's own says its purpose.
    private = any(name in members for name in PRIVATE) and not (secret and members.get("purpose"))
    if private or (members.get("kty") == "oct" and not secret):
        hint = "whoever published it has to make new keys, and to publish their public parts only"
        raise ConfigError([Problem(place, "a private or secret key where it must not be", hint)])
