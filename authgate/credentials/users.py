"""The local users: names and hashes from an htpasswd file, groups from a group file in Apache's form.

What is asked at each request comes from one immutable table in memory, which is replaced whole when a file changes.
"""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from authgate.credentials.htpasswd import parse_groups, parse_htpasswd
from authgate.credentials.watched import Watched, load_all
from authgate.model import CredentialKind, Identity, Subject


class Account(NamedTuple):
    """One local user as the table holds it."""

    line: str
    fingerprint: str
    subject: Subject
    by_session: Identity


class _Table(NamedTuple):
    """Everything about the local users at one moment."""

    accounts: Mapping[str, Account]
    lines: tuple[str, ...]
    key: bytes
    groups: Mapping[str, frozenset[str]] | None


_NO_GROUPS: frozenset[str] = frozenset()


def _table(lines: Mapping[str, str], groups: Mapping[str, frozenset[str]] | None) -> _Table:
    accounts: dict[str, Account] = {}
    for name, line in lines.items():
        subject = Subject("", name, None if groups is None else groups.get(name, _NO_GROUPS))
        # Made here once, not at each request.
        by_session = Identity(subject, CredentialKind.SESSION)
        accounts[name] = Account(line, _fingerprint(name, line), subject, by_session)
    ordered = tuple(lines.values())
    key = hashlib.sha256("\n".join(ordered).encode()).digest()
    return _Table(MappingProxyType(accounts), ordered, key, groups)


def _fingerprint(name: str, line: str) -> str:
    return hashlib.sha256(f"{name}:{line}".encode()).hexdigest()[:32]


class LocalUsers:
    """The users of one htpasswd file and, perhaps, one group file; both are watched.

    Args:
        groups: None when groups are not mapped at all, so that every question about membership stays unknown.
    """

    def __init__(self, htpasswd: Path | None, groups: Path | None) -> None:
        self._htpasswd: Watched[dict[str, str]] = Watched(htpasswd, parse_htpasswd, {})
        self._groups: Watched[dict[str, frozenset[str]]] = Watched(groups, parse_groups, {})
        self._maps_groups = groups is not None
        self._table = _table({}, None)

    def load(self) -> None:
        """Read both files.

        Raises:
            ConfigError: with the problems of both.
        """
        load_all((self._htpasswd, self._groups))
        self._rebuild()

    def poll(self, now: float) -> None:
        """Look whether a file changed; cheap when none did. Never raises.

        Args:
            now: seconds by any clock, always the same one.
        """
        changed = [watched.poll(now) for watched in (self._htpasswd, self._groups)]
        if any(changed):
            self._rebuild()

    def find(self, name: str) -> str | None:
        """Return the hash that the htpasswd file has for the name."""
        account = self._table.accounts.get(name)
        return account.line if account else None

    def account(self, name: str) -> Account | None:
        """Return hash, fingerprint and subject of one moment."""
        return self._table.accounts.get(name)

    def subject(self, name: str) -> Subject | None:
        """Return who has this name, with the groups of now."""
        account = self._table.accounts.get(name)
        return account.subject if account else None

    def groups(self, name: str) -> frozenset[str] | None:
        """Return the groups that the group file has for a name, htpasswd or not; None when there is no such file."""
        groups = self._table.groups
        return None if groups is None else groups.get(name, _NO_GROUPS)

    def with_groups(self, subject: Subject) -> Subject:
        """Return somebody of the site's, with the groups of the group file when the site says nothing about groups."""
        return subject if subject.groups is not None else subject._replace(groups=self.groups(subject.name))

    def fingerprint(self, name: str) -> str | None:
        """Return what changes whenever the name's htpasswd line does."""
        account = self._table.accounts.get(name)
        return account.fingerprint if account else None

    def stand_in(self, name: str) -> str | None:
        """Choose the hash that a name which does not exist is verified against; None when nobody exists.

        The choice is keyed by the file itself, which no client knows, and so is the same in every worker and after a
        restart: with a key per process a missing name would show itself by two timings, where two workers chose two
        kinds of hash.
        """
        table = self._table
        if not table.lines:
            return None
        digest = hmac.digest(table.key, name.encode(errors="surrogatepass"), "sha256")
        return table.lines[int.from_bytes(digest[:8], "big") % len(table.lines)]

    def _rebuild(self) -> None:
        groups = self._groups.parsed if self._maps_groups else None
        self._table = _table(self._htpasswd.parsed, groups)
