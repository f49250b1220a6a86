"""What the claims of a token mean: whether it counts now, and who it is about. Nothing is verified here."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from authgate.config.sources import DataPath, IssuerSettings
from authgate.credentials.directory import is_name
from authgate.errors import CredentialError
from authgate.model import Reason, Subject

MAX_PAIRS = 100
MAX_VALUE = 1024
# The last second of the year 9999: what lies after it is no moment, but a mistake or an attempt.
_LAST = 253402300799
# These are about one token, not about somebody.
_OF_THE_TOKEN = frozenset({"exp", "nbf", "iat", "jti"})


class Claims(NamedTuple):
    """What a token says, vetted.

    Args:
        jti: empty when it has none.
        issued: ``iat``; None when it has none.
        begins: it counts from then on, in seconds since the epoch.
        ends: it does not count from then on.
        second_factor: the issuer says that more than one factor was used.
    """

    subject: Subject
    jti: str
    issued: float | None
    begins: float
    ends: float
    second_factor: bool

    def failure(self, now: float) -> Reason | None:
        """Say why it does not count now; None when it does."""
        if now >= self.ends:
            return Reason.EXPIRED
        return Reason.BAD_CREDENTIAL if now < self.begins else None


def read_claims(claims: Mapping[str, object], settings: IssuerSettings) -> Claims | None:
    """Return what the claims of this issuer's token mean; None when they are not as they have to be."""
    try:
        _check_addressed(claims, settings)
        jti = _text(claims.get("jti", ""))
        _text(claims.get("sub", ""))
        issued, begins, ends = _times(claims, settings)
        subject = _subject(claims, settings)
    except CredentialError:
        return None
    methods = claims.get("amr")
    # RFC 8176 section 2: "Multiple-factor authentication".
    second_factor = isinstance(methods, list) and "mfa" in methods
    return Claims(subject, jti, issued, begins, ends, second_factor)


def is_name_elsewhere(name: str) -> bool:
    """Tell whether a name may be that of a user or group of another source: there it may hold ``/``."""
    return is_name(name.replace("/", "_"))


def member(values: Mapping[str, object], path: DataPath) -> object:
    """Return the member at the end of a path; None when there is none.

    Raises:
        CredentialError: something on the way is no object, or null stands at the end.
    """
    found: object = values
    for name in path:
        if not isinstance(found, Mapping):
            raise CredentialError("not an object")
        if name not in found:
            return None
        found = found[name]
    if found is None:
        raise CredentialError("null")
    return found


def _check_addressed(claims: Mapping[str, object], settings: IssuerSettings) -> None:
    if claims.get("iss") != settings.issuer:
        raise CredentialError("of another issuer")
    # RFC 7519 section 4.1.3: an array of strings, or in the special case of one audience a string.
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in audiences) or settings.audience not in audiences:
        raise CredentialError("for somebody else")


def _times(claims: Mapping[str, object], settings: IssuerSettings) -> tuple[float | None, float, float]:
    expires = _moment(claims["exp"]) if "exp" in claims else None
    if expires is None:
        raise CredentialError("without end")
    issued = _moment(claims["iat"]) if "iat" in claims else None
    begins = max(_moment(claims["nbf"]) if "nbf" in claims else 0.0, issued or 0.0) - settings.leeway
    ends = expires
    if settings.max_age is not None:
        if issued is None:
            raise CredentialError("without age")
        ends = min(ends, issued + settings.max_age)
    # RFC 7519 section 4.1.4: "on or after which the JWT MUST NOT be accepted".
    return issued, begins, ends + settings.leeway


def _moment(value: object) -> float:
    # A bool is an int to Python, not to JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST:
        raise CredentialError("not a moment")
    return float(value)


def _subject(claims: Mapping[str, object], settings: IssuerSettings) -> Subject:
    name = _text(member(claims, settings.user))
    if not is_name_elsewhere(name):
        raise CredentialError("names nobody")
    groups = None if settings.groups is None else _groups(member(claims, settings.groups))
    return Subject(settings.source, name, groups, _pairs(claims, settings))


def _groups(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    names = [_text(name) for name in (value if isinstance(value, list) else [value])]
    if not all(map(is_name_elsewhere, names)):
        raise CredentialError("not groups")
    return frozenset(names)


def _pairs(claims: Mapping[str, object], settings: IssuerSettings) -> frozenset[tuple[str, str]]:
    """Return what the atom ``claim`` can ask for.

    Too many are an error: a rule that refuses those who have a claim must not be blind to it.
    """
    # `name` and `email` are told to applications: only what is configured may say them.
    apart = {*_OF_THE_TOKEN, "name", "email", *((settings.groups or ())[:1])}
    pairs = {(name, text) for name, value in claims.items() if name not in apart for text in _texts(value) if name}
    for name, path in (("name", settings.name), ("email", settings.email)):
        value = member(claims, path)
        if value is not None and _text(value):
            pairs.add((name, _text(value)))
    if len(pairs) > MAX_PAIRS or any(len(part.encode()) > MAX_VALUE for pair in pairs for part in pair):
        raise CredentialError("too much")
    return frozenset(pairs)


def _texts(value: object) -> Iterable[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            yield one
        elif isinstance(one, bool | int | float):
            yield json.dumps(one)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise CredentialError("not a text")
    return value
