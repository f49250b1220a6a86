"""Where people come from beside the local files: issuers of JWTs, applications, certificates; text to value."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from authgate.config.schema import ApplicationTable, CertificatesTable, File, IssuerTable, KeyTable
from authgate.errors import Problem

# Members of objects, from the outermost: ("realm_access", "roles").
DataPath = tuple[str, ...]

# Of each kind of application: the cookie's usual name, salt, digest, how many seconds it counts, and who it is about.
_USUAL = {
    "flask": ("session", "cookie-session", "sha1", 31 * 86400, None),
    "starlette": ("session", "", "sha1", 14 * 86400, None),
    "django": (
        "sessionid",
        "django.contrib.sessions.backends.signed_cookies",
        "sha256",
        14 * 86400,
        ("_auth_user_id",),
    ),
    "function": (None, "", "", 0, None),
}
_OWN_COOKIES = ("authgate", "__host-authgate", "__secure-authgate")
_URL = re.compile(r"https://[^\s/?#@\\]+(?:[/?][^\s#\\]*)?")
# A sidecar, or a test; what is sent there crosses no network.
_LOOPBACK_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?(?:[/?][^\s#\\]*)?")


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where one key of an issuer is, or several; exactly one of `file`, `jwks` and `url` is set.

    Args:
        place: where it is configured, for messages.
        file: a secret, or a PEM file with a public key.
        jwks: a JSON Web Key Set (RFC 7517 section 5) in a file.
        url: one that is fetched, and fetched again.
        algorithm: JWS algorithm (RFC 7518 section 3.1); empty: each JWK's own.
        id: ``kid`` of the key in `file`; empty: it has none.
    """

    place: str
    file: Path | None
    jwks: Path | None
    url: str
    algorithm: str
    id: str


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One who signs JWTs, and how its claims become people.

    Args:
        source: in rules, before the slash of ``partner/alice``.
        issuer: the claim ``iss``, exactly.
        audience: has to be in the claim ``aud``.
        cookie: accepted in this cookie too; empty: in none.
        bearer: accepted in ``Authorization: Bearer``.
        leeway: seconds by which the issuer's clock and ours may differ.
        max_age: seconds after ``iat``; None: ``exp`` alone counts.
        user: where the name is in the claims.
        groups: None: this source maps no groups.
    """

    place: str
    source: str
    issuer: str
    audience: str
    keys: tuple[KeySource, ...]
    cookie: str
    bearer: bool
    leeway: float
    max_age: float | None
    user: DataPath
    groups: DataPath | None
    name: DataPath
    email: DataPath


@dataclass(frozen=True, slots=True)
class ApplicationSettings:
    """An application whose login is accepted as it is.

    Args:
        kind: ``flask``, ``starlette``, ``django``; ``function``: the site's own reads the cookie.
        secrets: files with the application's secret keys, the one in use first.
        max_age: seconds after the cookie was signed.
        user: where the name is in the session's data.
        groups: None: this source maps no groups.
        function: ``package.module::function``; empty for the other kinds.
    """

    place: str
    source: str
    kind: str
    cookie: str
    secrets: tuple[Path, ...]
    salt: str
    digest: str
    max_age: float
    user: DataPath
    groups: DataPath | None
    function: str


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """How client certificates that the web server has verified become people.

    Args:
        user: the attribute of the subject that is the name, such as ``CN``; or ``email`` of the alternative names.
        groups: the attribute whose values are the groups; empty: this source maps none.
    """

    place: str
    source: str
    user: str
    groups: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Every source beside the local one."""

    issuers: tuple[IssuerSettings, ...] = ()
    applications: tuple[ApplicationSettings, ...] = ()
    certificates: CertificateSettings | None = None


def source_names(raw: File) -> frozenset[str]:
    """Return the names that rules may use, also of sources with a problem: they exist."""
    tables = (*raw.issuers, *raw.applications, *((raw.certificates,) if raw.certificates else ()))
    return frozenset(table.source for table in tables)


def read_sources(raw: File, path: Path, problems: list[Problem]) -> Sources:
    """Return the sources; add what is wrong with others to `problems`."""
    issuers = [
        _issuer(table, f"{path.name}: issuers[{n}]", path.parent, problems) for n, table in enumerate(raw.issuers)
    ]
    applications = [
        _application(table, f"{path.name}: applications[{n}]", path.parent, problems)
        for n, table in enumerate(raw.applications)
    ]
    _check_unique([(issuer.place, "issuer", issuer.issuer) for issuer in issuers], problems)
    cookies = [(issuer.place, "cookie", issuer.cookie) for issuer in issuers if issuer.cookie]
    _check_unique([*cookies, *((known.place, "cookie", known.cookie) for known in applications)], problems)
    certificates = _certificates(raw.certificates, f"{path.name}: certificates") if raw.certificates else None
    return Sources(tuple(issuers), tuple(applications), certificates)


def _issuer(table: IssuerTable, place: str, folder: Path, problems: list[Problem]) -> IssuerSettings:
    if not table.keys:
        problems.append(Problem(f"{place}.keys", "there is none", 'write keys = [{ jwks = "partner.jwks.json" }]'))
    if not table.bearer and table.cookie is None:
        problems.append(Problem(place, "accepted nowhere", 'write cookie = "NAME", or bearer = true'))
    _check_cookie(table.cookie or "", place, problems)
    keys = [_key(key, f"{place}.keys[{n}]", folder, problems) for n, key in enumerate(table.keys)]
    return IssuerSettings(
        place=place,
        source=table.source,
        issuer=table.issuer,
        audience=table.audience,
        keys=tuple(keys),
        cookie=table.cookie or "",
        bearer=table.bearer,
        leeway=table.leeway,
        max_age=table.max_age,
        user=table.user,
        groups=table.groups,
        name=table.name,
        email=table.email,
    )


def _key(table: KeyTable, place: str, folder: Path, problems: list[Problem]) -> KeySource:
    named = [key for key in ("file", "jwks", "url") if getattr(table, key) is not None]
    if len(named) != 1:
        problems.append(Problem(place, "not exactly one of file, jwks and url", 'write { jwks = "partner.jwks.json" }'))
    if table.file is not None and table.algorithm is None:
        hint = 'a key has one algorithm: write algorithm = "ES256"'
        problems.append(Problem(f"{place}.algorithm", "missing", hint))
    if table.id is not None and table.file is None:
        problems.append(Problem(f"{place}.id", "only for a file: the keys of a set say their own"))
    url = table.url or ""
    if url and not (_URL.fullmatch(url) or _LOOPBACK_URL.fullmatch(url)):
        hint = 'write "https://...", without user and fragment; http:// for 127.0.0.1 only'
        problems.append(Problem(f"{place}.url", f'"{url}" is no address keys could be trusted from', hint))
    return KeySource(
        place=place,
        file=folder / table.file if table.file else None,
        jwks=folder / table.jwks if table.jwks else None,
        url=url,
        algorithm=table.algorithm or "",
        id=table.id or "",
    )


def _application(table: ApplicationTable, place: str, folder: Path, problems: list[Problem]) -> ApplicationSettings:
    cookie, salt, digest, max_age, user = _USUAL[table.kind]
    if table.kind == "function":
        if table.function is None:
            problems.append(Problem(f"{place}.function", "missing", 'write function = "package.module::function"'))
        given = [key for key in ("secrets", "salt", "digest", "max_age") if getattr(table, key)]
        what = "the function itself verifies the cookie"
        problems += [Problem(f"{place}.{key}", what, "leave it out") for key in given]
    else:
        if not table.secrets:
            hint = 'write secrets = ["app.secret"], a file with the application\'s secret key'
            problems.append(Problem(f"{place}.secrets", "there is none", hint))
        if table.function is not None:
            problems.append(Problem(f"{place}.function", f"not for {table.kind}", 'write kind = "function"'))
    if table.kind == "starlette" and table.salt is not None:
        problems.append(Problem(f"{place}.salt", "Starlette has none", "leave it out"))
    if table.user is None and user is None:
        problems.append(Problem(f"{place}.user", "missing", 'write user = "_user_id", where the session has the name'))
    if table.cookie is None and cookie is None:
        problems.append(Problem(f"{place}.cookie", "missing", 'write cookie = "PHPSESSID"'))
    _check_cookie(table.cookie or "", place, problems)
    return ApplicationSettings(
        place=place,
        source=table.source,
        kind=table.kind,
        cookie=table.cookie or cookie or "",
        secrets=tuple(folder / name for name in table.secrets),
        salt=table.salt or salt,
        digest=table.digest or digest,
        max_age=table.max_age or max_age,
        user=table.user or user or (),
        groups=table.groups,
        function=table.function or "",
    )


def _certificates(table: CertificatesTable, place: str) -> CertificateSettings:
    return CertificateSettings(place, table.source, table.user, table.groups or "")


def _check_cookie(name: str, place: str, problems: list[Problem]) -> None:
    if name.lower() in _OWN_COOKIES:
        problems.append(Problem(f"{place}.cookie", f'"{name}" is authgate\'s own', "name the application's cookie"))


def _check_unique(named: Iterable[tuple[str, str, str]], problems: list[Problem]) -> None:
    taken: dict[str, str] = {}
    for place, key, value in named:
        first = taken.setdefault(value, place)
        if first != place:
            problems.append(Problem(f"{place}.{key}", f'"{value}" is taken by {first}'))
