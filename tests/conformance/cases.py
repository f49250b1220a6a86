"""The cases of ``tests/vectors/conformance``; ``people.toml`` there says how they are written."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

FOLDER = Path(__file__).parent.parent / "vectors" / "conformance"
_WORLD = tomllib.loads((FOLDER / "people.toml").read_text())

PEOPLE: Mapping[str, str] = _WORLD["passwords"]
SITES_OWN: Mapping[str, Mapping[str, Any]] = _WORLD["sites_own"]
GROUPS: Mapping[str, list[str]] = _WORLD["groups"]
NETWORKS: Mapping[str, list[str]] = _WORLD["networks"]

METHODS_OF_FILES = frozenset({"GET", "HEAD"})
# What authgate-protect-app.conf of Apache lets through.
METHODS_OF_APPLICATIONS = METHODS_OF_FILES | {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_DEFAULT = "GET /x"
_KEYS = {"ask", "who", "from", "host", "headers", "browser", "file", "expect", "differs", "plain", "cookies"}


class Expected(NamedTuple):
    """What is decided."""

    outcome: str
    reason: str
    rule: str = ""


class Policy(NamedTuple):
    """Rules, and the site or sites they are about.

    Args:
        id: name of the file and number in it; also the folder of its files.
        strays: hosts that the web servers serve, and authgate does not know.
        served: ``files``, ``application`` (by those doors that can protect one), ``login`` (the server's own).
    """

    id: str
    about: str
    sites: tuple[str, ...]
    strays: tuple[str, ...]
    served: str
    rules: tuple[Mapping[str, Any], ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that a web server answers to."""
        return self.sites + self.strays

    @property
    def asks_handlers(self) -> bool:
        """Tell whether a rule asks a handler."""
        terms = [term for rule in self.rules for term in (*rule.get("allow", ()), *rule.get("deny", ()))]
        return any("handler:" in term for term in terms)

    def tables(self, **deliver: str) -> Iterator[Mapping[str, Any]]:
        """Give the rules as a configuration has them.

        Args:
            deliver: what the listener of that name needs.
        """
        for number, rule in enumerate(self.rules):
            table = {"name": f"{self.id}/r{number}", "hosts": list(self.sites), "paths": ["/**"], **rule}
            yield {**table, "deliver": deliver} if "allow" in table else table


class Case(NamedTuple):
    """One request.

    Args:
        number: among all cases; the client's address holds it.
        network: second byte of that address, or a whole one.
        who: what is sent that may prove who asks, in words.
        host: as it is sent.
        differs: a row of the second table of docs/conformance.md.
        plain: what is decided where that table says ``plain``.
        file: path of the file that is served; empty: there is none.
    """

    id: str
    number: int
    policy: Policy
    method: str
    target: str
    host: str
    who: tuple[str, ...]
    cookies_apart: bool
    network: str
    headers: Mapping[str, str]
    browser: bool
    expected: Expected
    differs: str
    plain: Expected | None
    file: str

    @property
    def path(self) -> bytes:
        """The path, decoded once."""
        return unquote_to_bytes(self.target.partition("?")[0])

    @property
    def path_in_audit(self) -> str:
        """The same as text."""
        return self.path.decode(errors="surrogateescape")

    @property
    def body(self) -> bytes:
        """What the file holds: its policy and path."""
        return mark(self.policy.id, self.file)

    @property
    def differences(self) -> list[str]:
        """Rows of the second table that this request has something of."""
        found = [self.differs] if self.differs else []
        kinds = {word.partition(" ")[0] for word in self.who}
        if kinds & {"login", "wronglogin"}:
            found.append(
                "right password of the server's own" if "login" in kinds else "wrong password of the server's own"
            )
        elif kinds & {"password", "wrong", "authorization"}:
            found.append("`Authorization`")
        if self.policy.asks_handlers:
            found.append("a handler")
        preflight = {"Origin", "Access-Control-Request-Method"} <= self.headers.keys()
        if self.policy.served == "application":
            if self.method == "OPTIONS" and preflight:
                found.append("a CORS preflight, of an application")
            elif self.method not in METHODS_OF_APPLICATIONS:
                found.append("an unusual method, to an application")
            elif self.method not in METHODS_OF_FILES:
                found.append("another method, to an application")
        elif self.method not in METHODS_OF_FILES:
            found.append("another method, of a file")
        return found


def mark(policy: str, path: str) -> bytes:
    """Return what the file of a policy at this path holds; nothing else holds it."""
    return f"<<{policy} {quote(path)}>>\n".encode()


def _expected(policy: Policy, text: str) -> Expected:
    outcome, reason, *rule = text.split(" ")
    return Expected(outcome, reason, f"{policy.id}/{rule[0]}" if rule else "")


def _case(policy: Policy, place: int, number: int, table: Mapping[str, Any]) -> Case:
    assert table.keys() <= _KEYS, f"{policy.id} {place}: {table.keys() - _KEYS}"
    method, _, target = table.get("ask", _DEFAULT).partition(" ")
    assert ("plain" in table) <= ("differs" in table or policy.served == "application"), f"{policy.id} {place}"
    return Case(
        id=f"{policy.id}.{place} {method} {target}",
        number=number,
        policy=policy,
        method=method,
        target=target,
        host=table.get("host", policy.sites[0]),
        who=tuple(table["who"].split(" + ")) if "who" in table else (),
        cookies_apart=table.get("cookies") == "apart",
        network=table.get("from", "elsewhere"),
        headers=table.get("headers", {}),
        browser=table.get("browser", False),
        expected=_expected(policy, table["expect"]),
        differs=table.get("differs", ""),
        plain=_expected(policy, table["plain"]) if "plain" in table else None,
        file=_file(table.get("file", True), unquote(target.partition("?")[0])),
    )


def _file(said: bool | str, path: str) -> str:
    if isinstance(said, str):
        return said
    return (f"{path}index.html" if path.endswith("/") else path) if said else ""


def _read() -> tuple[dict[str, Policy], list[Case]]:
    policies: dict[str, Policy] = {}
    cases: list[Case] = []
    for path in sorted(FOLDER.glob("*.toml")):
        for place, table in enumerate(tomllib.loads(path.read_text()).get("policies", ())):
            id = f"{path.stem}-{place}"  # noqa: A001
            sites = tuple(table.get("sites", [f"{id}.example.net"]))
            served = table.get("served", "files")
            rules = tuple(table["rules"])
            policy = Policy(id, table["about"], sites, tuple(table.get("strays", ())), served, rules)
            policies[id] = policy
            for number, case in enumerate(table["cases"]):
                cases.append(_case(policy, number, len(cases), case))
    return policies, cases


POLICIES, CASES = _read()
