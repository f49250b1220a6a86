"""The password hashes that may stand in an htpasswd file: recognised strictly, bounded, verified.

A line is recognised by its whole form, never by trying, so that a plain-text password is reported at start and not
compared with. Parameters are bounded because a line is executed: one that asks for 8 GiB or for 10^9 rounds would stop
a worker at the first login.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from passlib.hash import (
    apr_md5_crypt,
    bcrypt,
    des_crypt,
    ldap_salted_sha1,
    ldap_sha1,
    md5_crypt,
    sha256_crypt,
    sha512_crypt,
)

# Each bound keeps one verification below about a second on one slow core.
MAX_ARGON2_MEMORY = 256 * 1024  # KiB; two are verified at a time in each worker
MAX_ARGON2_WORK = 1024 * 1024  # KiB x passes; RFC 9106's low-memory profile needs 192 x 1024
MAX_ARGON2_LANES = 16
MAX_BCRYPT_COST = 14
MAX_SHA_CRYPT_ROUNDS = 1_000_000

# bcrypt reads 72 bytes and no more; htpasswd and crypt(3) cut silently, the bcrypt package raises ValueError since
# version 5. Cut here, so that a line made by htpasswd from a longer password goes on working.
BCRYPT_LENGTH = 72

# The parameters of a verification come from the line.
_ARGON2 = argon2.PasswordHasher()

HINT = "set the password again with: authgate user passwd NAME"

_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[1-9][0-9]{0,9}),t=(?P<passes>[1-9][0-9]{0,9}),p=(?P<lanes>[1-9][0-9]{0,9})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<digest>[A-Za-z0-9+/]{22,86})"
)
# The last character of bcrypt's salt and digest carries two and four bits: others were not written by bcrypt.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
_SHA_CRYPT_SALT = r"\$(?:rounds=(?P<rounds>[1-9][0-9]{3,9})\$)?[./A-Za-z0-9]{0,16}\$"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of hash: its name for people, its exact form, its bounds, its verification."""

    name: str
    form: re.Pattern[str]
    verify: Callable[[bytes, str], bool]
    problem: Callable[[Mapping[str, str | None]], str | None] = lambda _: None


def _argon2id_problem(found: Mapping[str, str | None]) -> str | None:
    memory, passes, lanes = (int(found[name] or 0) for name in ("memory", "passes", "lanes"))
    if memory > MAX_ARGON2_MEMORY:
        return f"argon2id with more than {MAX_ARGON2_MEMORY} KiB of memory"
    if memory * passes > MAX_ARGON2_WORK:
        return f"argon2id with more than {MAX_ARGON2_WORK} KiB x passes of work"
    # RFC 9106 section 3.1: "Memory size m MUST be an integer number of kibibytes from 8*p to 2^(32)-1".
    if lanes > MAX_ARGON2_LANES or memory < 8 * lanes:
        return f"argon2id with {lanes} lanes (at most {MAX_ARGON2_LANES}, each needs 8 KiB)"
    if not all(_decoded_length(found[name] or "") for name in ("salt", "digest")):
        return "argon2id with a salt or digest that is not base64"
    return None


def _decoded_length(text: str) -> int:
    """Return how many bytes unpadded base64 stands for; 0 when no encoder wrote it so (RFC 4648 section 3.5)."""
    if len(text) % 4 == 1:
        return 0
    data = b64decode(text + "=" * (-len(text) % 4))
    return len(data) if b64encode(data).rstrip(b"=") == text.encode() else 0


def _ssha_problem(found: Mapping[str, str | None]) -> str | None:
    data = found["data"] or ""
    salt = _decoded_length(data.rstrip("=")) - 20
    if len(data) % 4 or not 4 <= salt <= 16:
        return "SSHA that is not base64 of a digest and a salt of 4 to 16 bytes"
    return None


def _bcrypt_problem(found: Mapping[str, str | None]) -> str | None:
    cost = int(found["cost"] or 0)
    if not 4 <= cost <= MAX_BCRYPT_COST:
        return f"bcrypt with cost {cost} (4 to {MAX_BCRYPT_COST} are accepted)"
    return None


def _sha_crypt_problem(found: Mapping[str, str | None]) -> str | None:
    if int(found["rounds"] or 0) > MAX_SHA_CRYPT_ROUNDS:
        return f"SHA-crypt with more than {MAX_SHA_CRYPT_ROUNDS} rounds"
    return None


def _verify_argon2id(password: bytes, line: str) -> bool:
    try:
        return _ARGON2.verify(line, password)
    except (VerificationError, InvalidHashError):
        return False


SCHEMES = (
    Scheme("argon2id", _ARGON2ID, _verify_argon2id, _argon2id_problem),
    Scheme(
        "bcrypt",
        _BCRYPT,
        lambda password, line: bool(bcrypt.verify(password[:BCRYPT_LENGTH], line)),
        _bcrypt_problem,
    ),
    Scheme(
        "apr1",
        re.compile(r"\$apr1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"),
        lambda password, line: bool(apr_md5_crypt.verify(password, line)),
    ),
    Scheme(
        "sha1",
        re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}="),
        lambda password, line: bool(ldap_sha1.verify(password, line)),
    ),
    Scheme(
        "ssha1",  # base64 of a SHA-1, 20 bytes, and its salt
        re.compile(r"\{SSHA\}(?P<data>[A-Za-z0-9+/]{32,48}={0,2})"),
        lambda password, line: bool(ldap_salted_sha1.verify(password, line)),
        _ssha_problem,
    ),
    Scheme(
        "sha512-crypt",
        re.compile(r"\$6" + _SHA_CRYPT_SALT + r"[./A-Za-z0-9]{86}"),
        lambda password, line: bool(sha512_crypt.verify(password, line)),
        _sha_crypt_problem,
    ),
    Scheme(
        "sha256-crypt",
        re.compile(r"\$5" + _SHA_CRYPT_SALT + r"[./A-Za-z0-9]{43}"),
        lambda password, line: bool(sha256_crypt.verify(password, line)),
        _sha_crypt_problem,
    ),
    Scheme(
        "md5-crypt",
        re.compile(r"\$1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"),
        lambda password, line: bool(md5_crypt.verify(password, line)),
    ),
    Scheme(
        # Without prefix: the last character carries four bits, which tells three of four 13-letter passwords apart.
        "des-crypt",
        re.compile(r"[./A-Za-z0-9]{12}[.26AEIMQUYcgkosw]"),
        lambda password, line: bool(des_crypt.verify(password, line)),
    ),
)


def scheme(line: str) -> Scheme | None:
    """Return the scheme whose form the line has; None for anything else, plain text for instance."""
    for candidate in SCHEMES:
        if candidate.form.fullmatch(line):
            return candidate
    return None


def problem(line: str) -> str | None:
    """Return what is wrong with a hash, without quoting it; None when it can be verified."""
    found = scheme(line)
    if found is None:
        return "this is not a password hash that authgate knows (plain text, perhaps)"
    match = found.form.fullmatch(line)
    return found.problem(match.groupdict()) if match else None


def verify(line: str, password: bytes) -> bool:
    """Tell whether the password is the one that the hash was made from. Slow on purpose; call it in a thread.

    Args:
        line: a hash without `problem`; anything else is never equal to a password.
        password: without NUL bytes, which crypt(3) takes for the end.
    """
    found = scheme(line)
    return found is not None and found.verify(password, line)
