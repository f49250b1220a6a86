import re
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from passlib.hash import ldap_salted_sha1, md5_crypt

from authgate.credentials import hashes
from tests.credentials.people import cheap, sha
from tests.servers import require

SALT, DIGEST = "c29tZXNhbHRzb21l", "A" * 43


def argon(memory: int = 65536, passes: int = 3, lanes: int = 4, salt: str = SALT, digest: str = DIGEST) -> str:
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}"


# As the scheme's own form, with parameters that cost little.
CHEAP_FORMS = {
    "argon2id": re.compile(
        r"\$argon2id\$v=19\$m=(8|16|64),t=[1-3],p=[1-3]\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
    ),
    "bcrypt": re.compile(r"\$2[aby]\$04\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]"),
    "sha256-crypt": re.compile(r"\$5(\$rounds=1[0-9]{3})?\$[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}"),
    "sha512-crypt": re.compile(r"\$6(\$rounds=1[0-9]{3})?\$[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}"),
}

KNOWN = {
    "argon2id": cheap("geheim"),
    "bcrypt": "$2y$05$kQIRMPM0qiTVgNRZR86x9evYXpJDZ58PRpwUYSB67eKh8lbKaHW9m",
    "sha1": sha("geheim"),
    "ssha1": ldap_salted_sha1.hash("geheim"),
    "md5-crypt": md5_crypt.hash("geheim"),
}


@pytest.mark.parametrize("name", ["argon2id", "sha1", "ssha1", "md5-crypt"])
def test_known_hash_verifies_its_password_and_no_other(name: str) -> None:
    line = KNOWN[name]

    found = hashes.scheme(line)

    assert found is not None
    assert found.name == name
    assert hashes.problem(line) is None
    assert hashes.verify(line, b"geheim")
    assert not hashes.verify(line, b"Geheim")
    assert not hashes.verify(line, b"")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (("-B", "-C", "5"), "bcrypt"),
        (("-m",), "apr1"),
        (("-s",), "sha1"),
        (("-d",), "des-crypt"),
        (("-2",), "sha256-crypt"),
        (("-5",), "sha512-crypt"),
        (("-5", "-r", "2000"), "sha512-crypt"),
    ],
)
def test_line_made_by_htpasswd_verifies(option: tuple[str, ...], name: str) -> None:
    line = made_by_htpasswd(*option, password="grün 42")

    found = hashes.scheme(line)

    assert found is not None
    assert found.name == name
    assert hashes.problem(line) is None
    assert hashes.verify(line, "grün 42".encode())
    assert not hashes.verify(line, "grün 43".encode())


def test_bcrypt_line_of_a_long_password_goes_on_working_as_htpasswd_made_it() -> None:
    """bcrypt reads 72 bytes; the bcrypt package raises for more, which must be neither an error nor a refusal."""
    line = made_by_htpasswd("-B", "-C", "5", password="x" * 71 + "yz")

    assert hashes.verify(line, b"x" * 71 + b"yz")
    assert not hashes.verify(line, b"x" * 71 + b"zz")


def test_password_that_is_not_ascii_or_looks_like_a_hash_is_only_a_password() -> None:
    for password in ("пароль", "{SHA}", cheap("a"), "a:b"):
        assert hashes.verify(cheap(password), password.encode())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "geheim",
        "correct horse battery staple",
        "{PLAIN}geheim",
        "$argon2i$v=19$m=65536,t=3,p=4$" + SALT + "$" + DIGEST,
        "$argon2d$v=19$m=65536,t=3,p=4$" + SALT + "$" + DIGEST,
        "$argon2id$v=16$m=65536,t=3,p=4$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$t=3,m=65536,p=4$" + SALT + "$" + DIGEST,
        argon() + "\n",
        " " + argon(),
        argon(digest="A" * 10),
        argon().replace("65536", "\uff16\uff15\uff15\uff13\uff16"),
        KNOWN["bcrypt"].replace("$2y$", "$2x$"),
        KNOWN["bcrypt"].replace("$2y$", "$2$"),
        KNOWN["bcrypt"][:-1],
        KNOWN["bcrypt"] + "a",
        KNOWN["bcrypt"][:28] + "/" + KNOWN["bcrypt"][29:],
        KNOWN["sha1"][:-1],
        KNOWN["sha1"].lower(),
        "{SSHA}" + "A" * 20,
        "$apr1$abc$short",
        "$6$rounds=999$abc$" + "a" * 86,
        "$6$rounds=05000$abc$" + "a" * 86,
        "$5$abc$" + "a" * 86,
        "$y$j9T$abc$" + "a" * 43,
        "$2b$05$" + "\u0660" * 53,
        "0123456789abcd",
        "passwordpassz",  # thirteen letters, the last with more bits than DES has
    ],
)
def test_line_that_is_no_known_hash_is_refused_and_matches_nothing(line: str) -> None:
    assert hashes.problem(line) is not None
    assert not hashes.verify(line, line.encode())
    assert not hashes.verify(line, b"")


@pytest.mark.parametrize(
    "line",
    [
        argon(memory=8 * 1024 * 1024),
        argon(memory=256 * 1024, passes=5),
        argon(passes=4_000_000_000),
        argon(lanes=200),
        argon(memory=8, lanes=4),
        "$2y$31$" + KNOWN["bcrypt"][7:],
        "$2y$15$" + KNOWN["bcrypt"][7:],
        "$2y$03$" + KNOWN["bcrypt"][7:],
        "$6$rounds=999999999$abc$" + "a" * 86,
        "$5$rounds=1000001$abc$" + "a" * 43,
        argon(salt="c29tZXNhbHRzb21lA"),
        argon(digest="A" * 42 + "B"),
        "{SSHA}" + "A" * 33,
        "{SSHA}" + "A" * 34,
        "{SSHA}" + "A" * 33 + "B==",
        "{SSHA}" + "A" * 48 + "=",
    ],
)
def test_hash_whose_parameters_would_stop_a_worker_or_never_match_is_refused(line: str) -> None:
    what = hashes.problem(line)

    assert what is not None
    # Known, and refused for a reason of its own.
    assert "plain text" not in what
    assert "$" not in what


@pytest.mark.parametrize("scheme", hashes.SCHEMES, ids=lambda scheme: scheme.name)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=strategies.data())
def test_hash_that_is_accepted_verifies_without_an_error(scheme: hashes.Scheme, data: strategies.DataObject) -> None:
    """What is accepted at start is executed at each login, where an exception would be a way to stop them all."""
    line = data.draw(strategies.from_regex(CHEAP_FORMS.get(scheme.name, scheme.form), fullmatch=True))

    if hashes.problem(line) is None:
        assert hashes.scheme(line) == scheme
        assert hashes.verify(line, b"\xff geheim" * 10) is False


def test_recognising_a_huge_line_takes_no_time() -> None:
    """No regex here backtracks: a bad line in a file of 64 MiB must not keep a worker from starting."""
    start = time.process_time()

    for head in ("", "$6$", "{SSHA}", "$argon2id$v=19$m=1,t=1,p=1$"):
        assert hashes.problem(head + "A" * 1_000_000) is not None

    assert time.process_time() - start < 0.5


def made_by_htpasswd(*options: str, password: str) -> str:
    program = require("htpasswd")
    done = subprocess.run([program, "-nb", *options, "alice", password], capture_output=True, text=True, check=True)
    return done.stdout.strip().removeprefix("alice:")
