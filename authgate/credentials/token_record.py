"""An access token as the store knows it: everything but the secret.

A record outlives its token by a month, so that whoever looks why a script fails finds "expired" and not "unknown".
"""

import hashlib
import json
import math
import re
import secrets
import string
from dataclasses import dataclass, field

from authgate.credentials.directory import is_name
from authgate.model import AccessRequest, Subject
from authgate.networks import NetworkSet, parse_network
from authgate.scopes import RequestScope, is_method, parse_reach
from authgate.stores import Record

KIND = "token"
VERSION = 1
PREFIX = "agt_"

# What programs may do at the listener `api`.
APIS = ("policy", "manage", "metrics")

MAX_LABEL = 100
# Paths, methods, networks and hosts, each.
MAX_PARTS = 100
# Seconds for which a record is kept after its token expired.
KEPT = 30 * 86400.0

_LETTERS = string.digits + string.ascii_letters
_ID_LENGTH = 14
# 62 ** 27 is over 2 ** 160.
_SECRET_LENGTH = 27
LENGTH = len(PREFIX) + _ID_LENGTH + 1 + _SECRET_LENGTH
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})")
_ID = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def parse(token: str) -> tuple[str, str] | None:
    """Return id and secret; None for what has not exactly the form of a token."""
    # Before the pattern: a client chooses the length.
    if len(token) != LENGTH:
        return None
    found = _FORM.fullmatch(token)
    return (found[1], found[2]) if found else None


def generate() -> tuple[str, str, str]:
    """Return a new token, with its id and the digest of its secret."""
    name, secret = ("".join(secrets.choice(_LETTERS) for _ in range(length)) for length in (_ID_LENGTH, _SECRET_LENGTH))
    return f"{PREFIX}{name}_{secret}", name, digest_of(secret)


def digest_of(secret: str) -> str:
    """Return what is stored of a secret. It has 160 random bits: nothing slower than SHA-256 is needed."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class TokenScope(RequestScope):
    """What a token may be used for.

    Args:
        api: for what at the listener `api`, of `APIS`.
    """

    api: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ApiScope:
    """What a token may be used for that opens no file."""

    api: frozenset[str]

    def covers(self, request: AccessRequest) -> bool:  # noqa: ARG002 - whichever it is
        """Tell that no request for a file is within it."""
        return False


@dataclass(frozen=True, slots=True)
class Token:
    """One token; the constructor raises ValueError for a part that means nothing.

    Args:
        source: of its owner; only people of the local source can own one.
        local: the owner is in the htpasswd file; else the site's `lookup` knows them.
        paths: as `parse_reach` reads them; none: every path.
        methods: none: every method.
        networks: none: from everywhere.
        hosts: none: every host.
        files: it opens files at all.
        created: seconds since the epoch.
        used: last, to within ten minutes; None: never.
        digest: SHA-256 of the secret, in hex.
    """

    id: str
    source: str
    name: str
    local: bool
    label: str
    paths: tuple[str, ...]
    methods: tuple[str, ...]
    networks: tuple[str, ...]
    hosts: tuple[str, ...]
    files: bool
    api: tuple[str, ...]
    created: float
    expires: float
    used: float | None
    digest: str = field(repr=False)
    scope: TokenScope | ApiScope = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile what it says.

        Raises:
            ValueError: it says something that means nothing.
        """
        if not is_name(self.name) or not is_label(self.label) or _DIGEST.fullmatch(self.digest) is None:
            raise ValueError("a name, a label or a digest that is none")
        if not set(self.api) <= set(APIS) or not all(map(is_method, self.methods)):
            raise ValueError("an unknown scope, or a method that is none")
        if max(map(len, (self.paths, self.methods, self.networks, self.hosts))) > MAX_PARTS:
            raise ValueError(f"over {MAX_PARTS} parts")
        api = frozenset(self.api)
        reach = TokenScope(
            tuple(parse_reach(path) for path in self.paths),
            frozenset(self.methods),
            NetworkSet(parse_network(network) for network in self.networks) if self.networks else None,
            frozenset(self.hosts),
            api,
        )
        object.__setattr__(self, "scope", reach if self.files else ApiScope(api))

    @property
    def owner(self) -> str:
        """Whose it is, as rules write it."""
        return Subject(self.source, self.name).id

    def record(self) -> Record:
        """Return its record."""
        said = {key: getattr(self, key) for key in _KEYS}
        value = json.dumps({"v": VERSION, **said}, separators=(",", ":")).encode()
        return Record(self.id, value, self.owner, self.expires + KEPT)


_TEXTS = ("source", "name", "label", "digest")
_LISTS = ("paths", "methods", "networks", "hosts", "api")
_FLAGS = ("local", "files")
_KEYS = (*_TEXTS, *_LISTS, *_FLAGS, "created", "expires", "used")


def decode(record: Record) -> Token | None:
    """Read a record; None when it is not exactly one that `Token.record` writes."""
    try:
        found = json.loads(record.value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"v", *_KEYS} or _ID.fullmatch(record.key) is None:
        return None
    version = found.pop("v")
    if type(version) is not int or version != VERSION:
        return None
    texts = [found[key] for key in _TEXTS]
    for key in _LISTS:
        if not isinstance(found[key], list):
            return None
        texts += found[key]
        found[key] = tuple(found[key])
    if not all(isinstance(text, str) for text in texts) or not all(type(found[key]) is bool for key in _FLAGS):
        return None
    moments = [found["created"], found["expires"], *([] if found["used"] is None else [found["used"]])]
    if not all(type(moment) is float and math.isfinite(moment) for moment in moments):
        return None
    try:
        return Token(record.key, **found)
    except ValueError:
        return None


def is_label(label: str) -> bool:
    """Tell whether a text may be a token's label."""
    return len(label) <= MAX_LABEL and label.isprintable()
