"""What clients send and files hold as credentials: read exactly, or refused."""

import json
import re
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authgate.credentials import basic, hashes
from authgate.credentials.htpasswd import name_problem, parse_groups, parse_htpasswd, split_members
from authgate.credentials.session import SessionData, decode, encode
from authgate.errors import ConfigError
from authgate.stores import Record
from tests.credentials.people import cheap, sha
from tests.properties.amounts import tried

HASHES = [cheap("a"), sha("b"), "$2y$05$kQIRMPM0qiTVgNRZR86x9evYXpJDZ58PRpwUYSB67eKh8lbKaHW9m", "$apr1$$" + "a" * 22]
PIECES = [
    b"alice",
    b"bob",
    b":",
    b":",
    b"\n",
    b"\n",
    b" ",
    b"\t",
    b"#",
    b"\\",
    b'"',
    b"'",
    b"/",
    b"\xff",
    b"\0",
    b"\r",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    *(text.encode() for text in HASHES),
]
FILES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=20).map(b"".join)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name_problem(name) is None
)


def _quotes_no_hash(error: ConfigError, place: str) -> None:
    assert error.problems
    assert all(problem.place.startswith(place) for problem in error.problems)
    assert not any(line in str(error) for line in HASHES)


@tried(400)
@given(FILES)
@example(b"alice" + HASHES[1].encode() + b":")
def test_any_file_is_users_or_refused_with_its_lines(content: bytes) -> None:
    try:
        users = parse_htpasswd(content, "users")
    except ConfigError as error:
        _quotes_no_hash(error, "users: line ")
        return
    assert all(name_problem(name) is None and hashes.problem(line) is None for name, line in users.items())
    assert all(f"{name}:{line}".encode() in content for name, line in users.items())


@tried(200)
@given(st.dictionaries(NAMES, st.sampled_from(HASHES), max_size=6))
def test_users_are_those_that_were_written(users: dict[str, str]) -> None:
    content = "# people\n\n" + "".join(f"{name}:{line}\n" for name, line in users.items())

    assert parse_htpasswd(content.encode(), "users") == users


@tried(400)
@given(FILES)
def test_any_file_is_groups_or_refused_with_its_lines(content: bytes) -> None:
    try:
        groups = parse_groups(content, "groups")
    except ConfigError as error:
        _quotes_no_hash(error, "groups: line ")
        return
    assert all(name_problem(group) is None for names in groups.values() for group in names)


@tried(200)
@given(
    st.dictionaries(NAMES, st.lists(NAMES.filter(lambda name: not re.search(r"[\"'\\]", name)), max_size=4), max_size=4)
)
def test_groups_have_the_members_that_were_written(groups: dict[str, list[str]]) -> None:
    content = "".join(f"{group}: " + " ".join(f'"{name}"' for name in names) + "\n" for group, names in groups.items())

    found = parse_groups(content.encode(), "groups")

    assert found == {
        name: frozenset(group for group, names in groups.items() if name in names)
        for names in groups.values()
        for name in names
    }


@tried(200)
@given(st.text(st.sampled_from("ab \t\"'\\\u00a0\n"), max_size=20))
def test_no_part_of_a_line_of_members_is_passed_over(text: str) -> None:
    members = split_members(text)

    if members is not None:
        assert re.sub(r"[\"'\s]", "", "".join(members)) == re.sub(r"[\"'\s]", "", text)


@tried(400)
@given(
    st.one_of(
        st.lists(
            st.sampled_from(
                [
                    "$",
                    "argon2id",
                    "2y",
                    "05",
                    "v=19",
                    "m=8,t=1,p=1",
                    "apr1",
                    "5",
                    "6",
                    "rounds=1000",
                    "{SHA}",
                    "{SSHA}",
                    "a" * 22,
                    "a" * 43,
                    "A" * 27 + "=",
                    "\n",
                    "\u0661",
                ]
            ),
            max_size=8,
        ).map("".join),
        st.sampled_from(HASHES).flatmap(
            lambda line: st.integers(0, len(line)).map(lambda at: line[:at] + "!" + line[at + 1 :])
        ),
        st.text(max_size=60),
    )
)
@example("")
@example(HASHES[1] + "\n")
def test_any_text_is_a_hash_or_no_password_is_equal_to_it(line: str) -> None:
    problem = hashes.problem(line)

    if hashes.scheme(line) is None:
        assert problem is not None
        assert not hashes.verify(line, b"a")
        assert not hashes.verify(line, line.encode(errors="ignore"))
    assert problem is None or len(line) < 13 or line not in problem


# Basic

OCTETS = st.binary(max_size=30) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(str.encode)


@tried(400)
@given(
    st.one_of(
        st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
        st.builds(
            lambda scheme, octets, junk, at: scheme + (text := b64encode(octets).decode())[:at] + junk + text[at:],
            st.sampled_from(["Basic ", "basic  ", "BASIC\t", "Bearer ", "Basic", ""]),
            OCTETS,
            st.sampled_from(["", "", "", "=", " ", "\n", "-", "_", "A"]),
            st.integers(0, 40),
        ),
    )
)
def test_any_header_is_a_name_and_a_password_in_one_way_or_refused(header: str) -> None:
    read = basic.parse(header)

    if read is None:
        return
    name, password = read
    assert name
    assert ":" not in name
    assert not re.search(r"[\x00-\x1f\x7f]", name + password)
    assert header[:6].lower() == "basic "
    assert header[6:].strip(" ") == b64encode(f"{name}:{password}".encode()).decode()


PRINTED = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: re.sub(r"[\x00-\x1f\x7f]", "", text)
)


@tried(200)
@given(PRINTED.map(lambda text: text.replace(":", "")).filter(bool), PRINTED)
def test_name_and_password_are_those_that_were_sent(name: str, password: str) -> None:
    assert basic.parse("Basic " + b64encode(f"{name}:{password}".encode()).decode()) == (name, password)


# Sessions

TIMES = st.floats(allow_nan=False)
SESSIONS = st.one_of(
    st.builds(SessionData, st.text(), st.text(), st.text(), st.text(), TIMES, TIMES),
    st.builds(
        SessionData,
        st.text(),
        st.text(),
        st.none(),
        st.text(),
        TIMES,
        TIMES,
        st.none() | st.frozensets(st.text(max_size=5), max_size=3),
        st.frozensets(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3),
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def read(value: bytes) -> SessionData | None:
    return decode(Record("key", value, "alice", 0.0))


@tried(200)
@given(SESSIONS)
def test_a_session_is_read_as_it_was_written(data: SessionData) -> None:
    assert read(encode(data)) == data


@tried(400)
@given(
    SESSIONS,
    st.sampled_from(["v", "source", "name", "fingerprint", "scope", "created", "seen", "groups", "claims", "more"]),
    st.one_of(st.none(), JSON, st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=2)),
    st.booleans(),
)
def test_a_record_with_a_value_changed_is_a_session_of_the_right_types_or_none(
    data: SessionData, key: str, value: object, left_out: bool
) -> None:
    record = json.loads(encode(data))
    record[key] = value
    if left_out:
        del record[key]

    found = read(json.dumps(record).encode())

    if found is not None:
        assert isinstance(found.source, str)
        assert isinstance(found.name, str)
        assert isinstance(found.scope, str)
        assert isinstance(found.created, float)
        assert isinstance(found.seen, float)
        assert found.fingerprint is None or isinstance(found.fingerprint, str)
        assert read(encode(found)) == found or found.created != found.created or found.seen != found.seen


@tried(300)
@given(SESSIONS, st.integers(0, 400), st.binary(max_size=3))
@example(SessionData("", "a", "f", "host:a", 0.0, 0.0), 0, b"[" * 3)
def test_any_bytes_are_a_session_or_none(data: SessionData, at: int, junk: bytes) -> None:
    whole = encode(data)

    for value in (whole[:at] + junk + whole[at + len(junk) :], junk, whole[:at], whole + junk):
        found = read(value)
        assert found is None or isinstance(found, SessionData)


@pytest.mark.parametrize("value", [b"[" * 200_000, b'{"v":' * 100_000, b"1" * 10_000, b"\xff\xfe{\0}\0", b"nul", b""])
def test_records_that_are_hard_to_read_are_none(value: bytes) -> None:
    assert read(value) is None
