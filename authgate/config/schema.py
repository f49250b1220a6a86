"""What stands in a configuration file: its sections and the types of their values, checked by pydantic."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from authgate.config.files import LISTS, tables_of
from authgate.errors import Problem
from authgate.model import CredentialKind

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")


def _seconds(value: object) -> object:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not a duration; write a number and s, m, h or d, such as 30m")
    return int(found[1]) * _UNITS[found[2]]


def _members(value: object) -> object:
    texts = value.split(".") if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError('not the path of a member; write "realm_access.roles", or a list for names with dots in them')
    return tuple(texts)


Duration = Annotated[int, BeforeValidator(_seconds)]
Members = Annotated[tuple[str, ...], BeforeValidator(_members), Field(max_length=8)]
SourceName = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9-]{0,31}\z")]
# A token of RFC 9110 section 5.6.2, which a cookie's name is (RFC 6265 section 4.1.1).
CookieName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\z")]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+\z")]
Reference = Annotated[str, Field(strict=True, max_length=256, pattern=r"^\w+(?:\.\w+)*::\w+\z")]
_ADDRESS = r"(?:[0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}\]):[1-9][0-9]{0,4}"
Address = Annotated[str, Field(strict=True, pattern=rf"^{_ADDRESS}\z")]
SocketName = Annotated[str, Field(strict=True, pattern=r"^unix:[^\x00-\x1f\x7f]+\z")]
Where = Annotated[str, Field(strict=True, pattern=rf"^(?:unix:[^\x00-\x1f\x7f]+|{_ADDRESS})\z")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteTable(_Section):
    origin: Text
    cookie_domain: Text | None = None


class _Listen(_Section):
    check: Where = "unix:run/check.sock"
    check_secret_file: Text | None = None
    web: Where = "unix:run/web.sock"
    api: SocketName | None = None
    fastcgi: Address | None = None
    fastcgi_secret_file: Text | None = None
    deliver: SocketName | None = None
    group: Text | None = None


class _Users(_Section):
    htpasswd: Text | None = None
    groups: Text | None = None
    verify: Reference | None = None
    lookup: Reference | None = None
    server_login: Annotated[bool, Field(strict=True)] = False


class _Audit(_Section):
    file: Text | None = None
    allows: Annotated[bool, Field(strict=True)] = False


class _Session(_Section):
    idle_timeout: Duration = 30 * 60
    lifetime: Duration = 12 * 3600


class KeyTable(_Section):
    file: Text | None = None
    jwks: Text | None = None
    url: Text | None = None
    algorithm: Literal["HS256", "RS256", "PS256", "ES256", "EdDSA"] | None = None
    id: Text | None = None


class IssuerTable(_Section):
    source: SourceName
    issuer: Text
    audience: Text
    keys: list[KeyTable] = []
    cookie: CookieName | None = None
    bearer: Annotated[bool, Field(strict=True)] = True
    leeway: Duration = 30
    max_age: Duration | None = None
    user: Members = ("sub",)
    groups: Members | None = None
    name: Members = ("name",)
    email: Members = ("email",)


class ApplicationTable(_Section):
    source: SourceName
    kind: Literal["flask", "starlette", "django", "function"]
    cookie: CookieName | None = None
    secrets: tuple[Text, ...] = ()
    salt: Text | None = None
    digest: Literal["sha1", "sha256", "sha512"] | None = None
    max_age: Duration | None = None
    user: Members | None = None
    groups: Members | None = None
    function: Reference | None = None


class CertificatesTable(_Section):
    source: SourceName
    user: Text = "CN"
    groups: Text | None = None


class _Links(_Section):
    keys: Text | None = None


class File(_Section):
    store: Annotated[str, Field(strict=True, pattern=r"^(?:memory:|sqlite:[^\x00-\x1f\x7f]+)\z")] = (
        "sqlite:state/authgate.db"
    )
    # Stands between double quotes in WWW-Authenticate (RFC 9110 section 11.5) and on the login page.
    realm: Annotated[str, Field(strict=True, pattern=r"^[ !#-\[\]-~]{1,64}\z")] = "files"
    workers: Annotated[int, Field(strict=True, ge=1, le=64)] = 2
    # Stands at the head of every decision's id, which visitors see.
    node: Annotated[str, Field(strict=True, pattern=r"^[a-z0-9]{1,16}\z")] | None = None
    sites: list[SiteTable] = []
    listen: _Listen = _Listen()
    users: _Users = _Users()
    session: _Session = _Session()
    audit: _Audit = _Audit()
    issuers: list[IssuerTable] = []
    applications: list[ApplicationTable] = []
    certificates: CertificatesTable | None = None
    links: _Links = _Links()
    networks: dict[str, list[Text]] = {}
    trusted_proxies: list[Text] = []
    include: list[Text] = []


class PolicyTest(BaseModel):
    """One ``[[tests]]`` table: who asks for what, and what has to come out.

    Args:
        place: where it stands.
        subject: written ``as``; empty for anonymous.
        request: method and address, ``GET https://files.example.com/x``.
        rule: the rule that has to decide; None when any may.
        at: the moment of the request; None: now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str
    subject: Annotated[str, Field(strict=True, alias="as", max_length=256)] = ""
    groups: tuple[str, ...] | None = None
    claims: dict[str, str] = {}
    via: CredentialKind = CredentialKind.SESSION
    mfa: Annotated[bool, Field(strict=True)] = False
    ip: str | None = None
    request: Annotated[str, Field(strict=True)]
    expect: Literal["allow", "refuse", "login"]
    rule: str | None = None
    at: AwareDatetime | None = None


_TEST_KEYS = [field.alias or name for name, field in PolicyTest.model_fields.items() if name != "place"]
# What pydantic's pattern errors cannot say in words.
_HINTS: Mapping[str, str] = {
    "store": 'write "memory:" or "sqlite:state/authgate.db"',
    "realm": "at most 64 printable ASCII characters, without quotes and backslashes",
    "listen.check": 'write "unix:run/check.sock", or an address and a port',
    "listen.web": 'write "unix:run/web.sock", or an address and a port',
    "listen.fastcgi": 'write "127.0.0.1:950"',
    "listen.deliver": 'write "unix:run/deliver.sock"',
    "listen.api": 'write "unix:run/api.sock"',
    "users.verify": 'write "package.module::function"',
    "users.lookup": 'write "package.module::function"',
    "node": "1 to 16 of a-z and 0-9",
    **{f"{table}.source": "a-z, 0-9 and -, a letter first" for table in ("issuers", "applications", "certificates")},
    **{f"{table}.cookie": "the name of a cookie, such as session" for table in ("issuers", "applications")},
}


def validate(values: Mapping[str, object], path: Path, problems: list[Problem]) -> File:
    """Return the settings; sections with problems are as if they were not written, so that all others are checked."""
    try:
        return File.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    problems += [_problem(detail["type"], detail["loc"], detail["msg"], path) for detail in details]
    wrong = {detail["loc"][0] for detail in details}
    sound = {key: value for key, value in values.items() if key not in wrong}
    networks = values.get("networks")
    if "networks" in wrong and isinstance(networks, dict):
        # The names exist, whatever is wrong with what they stand for.
        sound["networks"] = {name: [] for name in networks}
    return File.model_validate(sound)


def _problem(kind: str, loc: tuple[int | str, ...], message: str, path: Path) -> Problem:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    if kind == "extra_forbidden":
        parent, last = loc[:-1], str(loc[-1])
        known = _keys(parent)
        close = get_close_matches(last, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"the keys here are {', '.join(known)}"
        return Problem(f"{path.name}: {key}", "unknown key", hint)
    if kind == "value_error":
        what, _, hint = message.removeprefix("Value error, ").partition("; ")
        return Problem(f"{path.name}: {key}", what, hint)
    if kind == "string_pattern_mismatch":
        hint = _HINTS.get(".".join(part for part in loc if isinstance(part, str)), "control characters are not allowed")
        return Problem(f"{path.name}: {key}", "not valid", hint)
    return Problem(f"{path.name}: {key}", *_in_words(kind, message, key))


def _in_words(kind: str, message: str, key: str) -> tuple[str, str]:
    """Return what is wrong and a hint, where pydantic's own words are about Python."""
    if kind in {"model_type", "dict_type"}:
        return "not a section", f"write [{key}] on a line of its own, and its keys below"
    if key in {"sites", "issuers", "applications"} and kind == "list_type":
        return "not a list of tables", f"write [[{key}]], in double brackets"
    if kind in {"list_type", "tuple_type"}:
        return "not a list", 'write it in brackets: ["..."]'
    if kind == "timezone_aware":
        return "a moment without its zone", "write 2026-11-20T19:30:00+01:00"
    return ("missing" if kind == "missing" else message[:1].lower() + message[1:]), ""


def _keys(parent: tuple[int | str, ...]) -> list[str]:
    sections: Mapping[str, type[BaseModel]] = {
        "sites": SiteTable, "listen": _Listen, "users": _Users, "session": _Session, "audit": _Audit,
        "issuers": IssuerTable, "applications": ApplicationTable, "certificates": CertificatesTable,
        "links": _Links,
    }  # fmt: skip
    model = KeyTable if "keys" in parent else sections[str(parent[0])] if parent else File
    return [*model.model_fields, *([] if parent else LISTS)]


def read_tests(files: Mapping[str, Mapping[str, object]], problems: list[Problem]) -> tuple[PolicyTest, ...]:
    """Return the tests of all files; add what is wrong with others to `problems`."""
    tests: list[PolicyTest] = []
    for place, table in tables_of(files, "tests", problems):
        if not isinstance(table, dict):
            problems.append(Problem(place, "a test is a table", "write [[tests]] above its keys"))
            continue
        try:
            tests.append(PolicyTest.model_validate({**table, "place": place}))
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False, include_input=False):
                key = ".".join(map(str, detail["loc"]))
                if detail["type"] == "extra_forbidden":
                    message, hint = "unknown key", f"the keys are {', '.join(_TEST_KEYS)}"
                else:
                    message, hint = _in_words(detail["type"], detail["msg"], key)
                problems.append(Problem(f"{place}: {key}", message, hint))
    return tuple(tests)
