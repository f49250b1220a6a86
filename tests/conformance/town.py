"""One folder for all doors: files, people, sessions, and the configurations of authgate."""

import asyncio
import hashlib
import json
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from authgate.config import Settings, load
from authgate.credentials.session import KIND, SessionData, Sessions, decode, encode, key_of
from authgate.credentials.users import LocalUsers
from authgate.model import Site, Subject
from authgate.stores import Record
from authgate.stores.cache import CachedRecords
from authgate.stores.sqlite import SqliteStore
from tests import servers
from tests.conformance.cases import CASES, GROUPS, NETWORKS, PEOPLE, POLICIES, Case, Policy
from tests.credentials.people import sha

FUNCTIONS = "tests.conformance.functions"
_FOR_EVER = 4_000_000_000.0
_LIVE, _KINDS = "session", frozenset({"session", "expired", "revoked", "ended", "elsewhere"})
_SOMEWHERE_ELSE = Site("http", "somewhere-else.example.net")


class Town:
    """A folder, what is in it, and a free port for each server.

    Args:
        folder: short-named, and open to the web servers' users.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: servers.free_port() for name in ("fastcgi", "backend")}
        self._cookies: dict[tuple[str, str, str], str] = {}

    @property
    def files(self) -> Path:
        """One folder a policy."""
        return self.folder / "files"

    def root(self, policy: Policy) -> Path:
        """Return the folder of a policy; what the server's own login protects is elsewhere."""
        return (self.folder / "login" if policy.served == "login" else self.files) / policy.id

    @property
    def htpasswd(self) -> Path:
        """The people of `PEOPLE`."""
        return self.folder / "users.htpasswd"

    def build(self) -> None:
        """Write files and people, and begin all sessions."""
        for case in CASES:
            if case.file:
                servers.make_file(os.fsencode(f"{self.root(case.policy)}{case.file}"), case.body)
        for policy in POLICIES.values():
            self.root(policy).mkdir(parents=True, exist_ok=True)
        self.htpasswd.write_text("".join(f"{name}:{sha(password)}\n" for name, password in PEOPLE.items()))
        lines = [f'{group}: "{quoted}"\n' for group, names in GROUPS.items() for quoted in ['" "'.join(names)]]
        (self.folder / "groups").write_text("".join(lines))
        for name in ("state", "fastcgi.secret"):
            (self.folder / name).mkdir() if name == "state" else (self.folder / name).touch(0o600)
        (self.folder / "fastcgi.secret").write_text(secrets.token_hex(24))
        SqliteStore(self.folder / "state" / "authgate.db", time.time).prepare()
        asyncio.run(self._begin_sessions())

    def configure(self, name: str, policies: Iterable[Policy], listen: Mapping[str, str], **deliver: str) -> Settings:
        """Write a configuration of authgate and read it.

        Args:
            listen: listeners besides `check` and `web`.
            deliver: what rules say for the listener of that name.
        """
        known = list(policies)
        functions = any(policy.asks_handlers for policy in known)
        tables: dict[str, Any] = {
            "workers": 1,
            "node": "town",
            "store": f"sqlite:{self.folder}/state/authgate.db",
            "sites": [{"origin": f"http://{site}"} for policy in known for site in policy.sites],
            "listen": {
                "check": f"unix:{name}/check.sock",
                "web": f"unix:{name}/web.sock",
                **({"group": group} if (group := servers.nginx_group()) else {}),
                **listen,
            },
            "users": {
                "htpasswd": str(self.htpasswd),
                "groups": "groups",
                **({"verify": f"{FUNCTIONS}::verify", "lookup": f"{FUNCTIONS}::lookup"} if functions else {}),
                **({"server_login": True} if any(policy.served == "login" for policy in known) else {}),
            },
            # Rules name people of it; nobody comes with a certificate.
            "certificates": {"source": "partner"},
            "audit": {"file": f"{name}.audit", "allows": True},
            "networks": NETWORKS,
            "rules": [table for policy in known for table in policy.tables(**self._delivered(policy, deliver))],
        }
        (self.folder / name).mkdir()
        path = self.folder / f"{name}.toml"
        path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in tables.items()))
        return load(path)

    def _delivered(self, policy: Policy, deliver: Mapping[str, str]) -> Mapping[str, str]:
        return {"root": str(self.root(policy)), **{key: f"{value}{policy.id}/" for key, value in deliver.items()}}

    def fields(self, case: Case) -> list[tuple[str, str]]:
        """Return the fields that prove who asks."""
        cookies, fields = [], []
        for word in case.who:
            kind, _, value = word.partition(" ")
            if kind in _KINDS:
                cookies.append(f"authgate={self._cookies[kind, value, site_of(case).scope]}")
            elif kind == "cookie":
                cookies.append(f"authgate={value}")
            elif kind == "other":
                cookies.append(value)
            elif kind == "authorization":
                fields.append(("Authorization", value))
            else:
                assert kind in {"password", "wrong", "login", "wronglogin"}, word
                password = PEOPLE.get(value, f"{value}-site") if kind in {"password", "login"} else "wrong"
                fields.append(("Authorization", "Basic " + b64encode(f"{value}:{password}".encode()).decode()))
        return fields + [("Cookie", text) for text in (cookies if case.cookies_apart else ["; ".join(cookies)]) if text]

    async def _begin_sessions(self) -> None:
        wanted = {
            (kind, name, site_of(case).scope): site_of(case)
            for case in CASES
            for kind, _, name in (word.partition(" ") for word in case.who)
            if kind in _KINDS
        }
        users = LocalUsers(self.htpasswd, self.folder / "groups")
        users.load()
        store = SqliteStore(self.folder / "state" / "authgate.db", time.time)
        sessions = Sessions(CachedRecords(store, KIND, decode, 1), store, users, 1800, 43200, time.time)
        for (kind, name, scope), site in wanted.items():
            value = await sessions.begin(Subject("", name), _SOMEWHERE_ELSE if kind == "elsewhere" else site)
            self._cookies[kind, name, scope] = value
            if kind == "ended":
                await sessions.end(value)
            elif kind in _CHANGES:
                record = await store.get(KIND, key_of(value))
                data = decode(record) if record else None
                assert data
                # Else the record is cleared away, and the session is one that never was.
                changed = encode(_CHANGES[kind](data))
                await store.put(KIND, Record(key_of(value), changed, name, _FOR_EVER))
        await store.aclose()


_CHANGES: Mapping[str, Callable[[SessionData], SessionData]] = {
    "expired": lambda data: replace(data, created=data.created - 90_000, seen=data.seen - 90_000),
    "revoked": lambda data: replace(data, fingerprint=hashlib.sha256(b"another").hexdigest()[:32]),
}


def site_of(case: Case) -> Site:
    """Return the site that a request is about, as authgate will find it; of a stray, what it would be."""
    return Site("http", case.host.lower().partition(":")[0].removesuffix("."))


def _toml(value: Any) -> str:
    """Write a value as TOML has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
