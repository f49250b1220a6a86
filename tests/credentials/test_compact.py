"""What is a token at all, before anything is verified."""

import json
import time

import pytest

from authgate.credentials.compact import MAX_DEPTH, MAX_KID, MAX_TOKEN, parse_token
from tests.credentials.tokens import by_hand, part

HEADER = b'{"alg":"HS256","typ":"JWT"}'
PAYLOAD = b'{"sub":"alice"}'


def deep(levels: int) -> bytes:
    """Return an object that is nested so deeply."""
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_a_token_is_taken_apart() -> None:
    token = by_hand(b'{"alg":"HS256","kid":"k1"}', PAYLOAD)
    found = parse_token(token)
    assert found
    assert (found.algorithm, found.kid, found.claims) == ("HS256", "k1", {"sub": "alice"})
    assert found.message.decode() == token.rpartition(".")[0]
    assert part(found.signature) == token.rpartition(".")[2]


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"HS256"}',
        b'{"alg":"HS256","typ":"jwt"}',
        b'{"alg":"HS256","typ":"at+jwt"}',
        b'{"alg":"HS256","typ":"application/AT+JWT"}',
        b'{"alg":"HS256","kid":"' + b"k" * MAX_KID + b'"}',
        b'{"alg":"none"}',  # no key has it
        # Never looked at (RFC 8725 section 3.10): a key or an address that a token brings.
        b'{"alg":"HS256","jku":"https://evil.example","jwk":{},"x5c":[],"x5u":"https://evil.example"}',
        b' {"alg": "HS256"}\n',
    ],
)
def test_a_header_that_is_understood(header: bytes) -> None:
    assert parse_token(by_hand(header, PAYLOAD)) is not None


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b'{"alg":null}',
        b'{"alg":["HS256"]}',
        b'{"alg":"HS256","typ":"JWE"}',
        b'{"alg":"HS256","typ":null}',
        b'{"alg":"HS256","typ":5}',
        b'{"alg":"HS256","kid":""}',
        b'{"alg":"HS256","kid":null}',
        b'{"alg":"HS256","kid":7}',
        b'{"alg":"HS256","kid":"' + b"k" * (MAX_KID + 1) + b'"}',
        b'{"alg":"HS256","crit":[]}',
        b'{"alg":"HS256","crit":["exp"]}',
        b'{"alg":"HS256","b64":true}',
        b'{"alg":"HS256","zip":"DEF"}',
        b'{"alg":"none","alg":"HS256"}',
        b'["HS256"]',
        b"",
    ],
)
def test_a_header_that_is_refused(header: bytes) -> None:
    assert parse_token(by_hand(header, PAYLOAD)) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'"text"',
        b"null",
        b"",
        b'{"sub":"alice","sub":"bob"}',
        b'{"a":{"b":1,"b":2}}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":-Infinity}',
        b'{"exp":1e400}',
        b'{"exp":' + b"9" * 5000 + b"}",
        b'\xef\xbb\xbf{"sub":"alice"}',
        '{"sub":"alice"}'.encode("utf-16"),
        '{"sub":"alice"}'.encode("utf-16-le"),
        '{"sub":"alice"}'.encode("utf-32"),
        b'{"sub":"\xc3"}',
        b'{"sub":"\xed\xa0\x80"}',
        b'{"sub":"\\ud834"}',
        b'{"\\udd1e":1}',
        b'{"a":["x",{"b":"\\ud834"}]}',
        b'{"sub":"a\nb"}',
        b'{"sub":"alice"}{}',
        b'{"sub":"alice",}',
        b"{'sub':'alice'}",
        deep(MAX_DEPTH + 2),
        deep(1000),
        b"[" * 6000,
        b'{"a":"' + b'\\"' * 2500,
    ],
)
def test_a_payload_that_is_refused(payload: bytes) -> None:
    began = time.perf_counter()
    assert parse_token(by_hand(HEADER, payload)) is None
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("payload", [b"{}", deep(MAX_DEPTH), '{"sub":"ü𝄞"}'.encode(), b'{"sub":"\\ud834\\udd1e"}'])
def test_a_payload_that_is_read(payload: bytes) -> None:
    found = parse_token(by_hand(HEADER, payload))
    assert found
    assert found.claims == json.loads(payload)


@pytest.mark.parametrize("change", ["{}.x", " {}", "{}\n", "{}=", ".{}", "{}.", "\u00e9{}", "{}\ud800"])
def test_what_stands_around_a_token_is_refused(change: str) -> None:
    assert parse_token(change.format(by_hand(HEADER, PAYLOAD))) is None


def test_every_other_last_character_is_another_token_or_none() -> None:
    """RFC 4648 section 3.5: bits that mean nothing must be zero, else one token had several texts."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = by_hand(HEADER, PAYLOAD)
    read = [found for last in alphabet if (found := parse_token(token[:-1] + last))]
    assert len(read) == len({found.signature for found in read}) == 16


def test_a_part_of_impossible_length_is_refused() -> None:
    header, payload, _ = by_hand(HEADER, PAYLOAD).split(".")
    assert parse_token(f"{header}.{payload}.AAAAA") is None
    assert parse_token(f"{header}.{payload}.") is None


def test_the_size_of_a_token_is_bounded() -> None:
    def of(size: int) -> str:
        return by_hand(HEADER, b'{"a":"' + b"x" * size + b'"}')

    fits = max(size for size in range(5000, 6200) if len(of(size)) <= MAX_TOKEN)
    assert parse_token(of(fits)) is not None
    assert parse_token(of(fits + 3)) is None
