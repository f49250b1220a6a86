import json
import re
from dataclasses import replace

import pytest

from authgate.credentials.token_record import KEPT, LENGTH, Token, decode, digest_of, generate, parse
from authgate.stores import Record
from tests.policies import request

NAME, SECRET = "0123456789abcd", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0"
TEXT, DIGEST = f"agt_{NAME}_{SECRET}", digest_of(SECRET)
TOKEN = Token(
    id=NAME,
    source="",
    name="alice",
    local=True,
    label="nightly: Käthe's",
    paths=("/reports/**", "/q3.csv"),
    methods=("GET",),
    networks=("10.0.0.0/8",),
    hosts=("files.example.com",),
    files=True,
    api=("metrics",),
    created=1_700_000_000.5,
    expires=1_700_086_400.5,
    used=None,
    digest=DIGEST,
)


def changed(**parts: object) -> Record:
    value = json.loads(TOKEN.record().value) | parts
    return replace(TOKEN.record(), value=json.dumps(value).encode())


def test_a_token_has_one_form_and_160_random_bits() -> None:
    assert re.fullmatch(r"agt_[0-9A-Za-z]{14}_[0-9A-Za-z]{27}", TEXT)
    assert len(TEXT) == LENGTH
    assert 62**27 > 2**160
    assert len({generate()[0] for _ in range(100)}) == 100


def test_parse_returns_id_and_secret() -> None:
    assert parse(TEXT) == (NAME, TEXT.rpartition("_")[2])
    assert digest_of(TEXT.rpartition("_")[2]) == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agt_",
        TEXT[:-1],
        TEXT + "x",
        TEXT + "\n",
        TEXT[:-1] + "\n",
        TEXT[:-1] + "\0",
        TEXT[:-1] + "ä",
        TEXT[:-1] + "_",
        TEXT[:-1] + "\ud800",
        "AGT_" + TEXT[4:],
        " " + TEXT[:-1],
        TEXT.replace("_", "-"),
        TEXT * 2,
        f"{TEXT}, {TEXT}",
        "agt_" + "x" * 8192,
        "agt_" + "_" * (LENGTH - 4),
    ],
)
def test_what_has_another_form_is_no_token(text: str) -> None:
    assert parse(text) is None


def test_a_record_is_read_as_it_was_written_and_holds_no_secret() -> None:
    record = TOKEN.record()

    assert decode(record) == TOKEN
    assert decode(replace(TOKEN, used=1_700_000_001.0).record()) == replace(TOKEN, used=1_700_000_001.0)
    assert (record.key, record.owner, record.expires) == (NAME, "alice", TOKEN.expires + KEPT)
    secret = TEXT.rpartition("_")[2]
    assert secret.encode() not in record.value
    assert secret not in repr(TOKEN)
    assert DIGEST not in repr(TOKEN)


@pytest.mark.parametrize(
    "parts",
    [
        {"v": 2},
        {"v": "1"},
        {"v": True},
        {"more": 1},
        {"source": None},
        {"name": ""},
        {"name": "a/b"},
        {"name": 1},
        {"label": "a\nb"},
        {"label": "x" * 101},
        {"digest": ""},
        {"digest": DIGEST.upper() + "x"},
        {"local": 1},
        {"files": None},
        {"paths": "/x/**"},
        {"paths": [1]},
        {"paths": ["x"]},
        {"paths": ["/x/../y"]},
        {"paths": ["/x"] * 101},
        {"methods": ["get"]},
        {"networks": ["office"]},
        {"networks": ["10.0.0.1/8"]},
        {"api": ["root"]},
        {"api": None},
        {"created": 1},
        {"expires": "9999999999"},
        {"expires": float("inf")},
        {"expires": float("nan")},
        {"used": True},
    ],
    ids=str,
)
def test_a_record_that_is_not_exactly_one_is_none(parts: dict[str, object]) -> None:
    assert decode(changed()) == TOKEN
    assert decode(changed(**parts)) is None


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b"null", b"[" * 100_000])
def test_what_is_no_record_is_none(value: bytes) -> None:
    assert decode(replace(TOKEN.record(), value=value)) is None


def test_the_key_has_to_be_an_id() -> None:
    assert decode(replace(TOKEN.record(), key="x")) is None


def test_scope_is_what_the_token_says() -> None:
    reach = TOKEN.scope

    assert reach.covers(request("/reports/q3.csv", ip="10.1.2.3"))
    assert reach.covers(request("/q3.csv", method="HEAD", ip="10.1.2.3"))
    for other in (
        request("/reports2/q3.csv", ip="10.1.2.3"),
        request("/reports/q3.csv", ip="192.0.2.1"),
        request("/reports/q3.csv", ip=None),
        request("/reports/q3.csv", method="PUT", ip="10.1.2.3"),
        request("/reports/q3.csv", host="docs.example.com", ip="10.1.2.3"),
    ):
        assert not reach.covers(other)
    assert reach.api == {"metrics"}


def test_a_token_that_says_nothing_reaches_everything_and_one_without_files_nothing() -> None:
    free = replace(TOKEN, paths=(), methods=(), networks=(), hosts=(), api=())

    assert free.scope.covers(request("/any/thing", method="DELETE", ip=None))
    assert not replace(free, files=False, api=("metrics",)).scope.covers(request("/any/thing"))
