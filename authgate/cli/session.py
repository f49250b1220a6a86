"""``authgate session``: who is logged in, and ending that. Works on the store itself, beside a running service."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import complain, fail, report
from authgate.config import Settings
from authgate.credentials.session import KIND, decode
from authgate.errors import ConfigError, StoreUnavailable
from authgate.stores import Record, Store
from authgate.stores.opening import open_store

# Enough of the key's 64 digits that two of a million sessions share them once in 500 tries.
SHOWN = 12
_ID = re.compile(r"[0-9a-f]{4,64}")

_Result = TypeVar("_Result")


class _Row(NamedTuple):
    """One session as it is listed."""

    id: str
    user: str
    created: str
    last_seen: str
    expires: str
    site: str


@click.group()
def session() -> None:
    """List and revoke the sessions of people who are logged in."""


@session.command("list")
@click.option("--user", "name", help="Only the sessions of this user.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def list_sessions(name: str | None, as_json: bool, config: Path | None) -> None:
    """List the sessions, soonest to expire first."""
    settings = load_or_exit(config)
    records: list[Record] = _run(settings, lambda store: store.scan(KIND, name), [])
    rows = [_row(record) for record in records if record.expires > time.time()]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        complain("nobody is logged in" if name is None else f'"{name}" is not logged in')
        return
    table = [_Row("ID", "USER", "CREATED", "LAST SEEN", "EXPIRES", "SITE"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_Row._fields))]
    for row in table:
        click.echo("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


@session.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--user", "name", help="Every session of this user.")
@click.option("--all", "everybody", is_flag=True, help="Every session there is.")
@config_option
def revoke(ids: tuple[str, ...], name: str | None, everybody: bool, config: Path | None) -> None:
    """End sessions, in every worker at once; an ID may be shortened as long as it means one session."""
    if [bool(ids), name is not None, everybody].count(True) != 1:
        fail("say which sessions: by ID, by --user NAME, or --all", "see them with: authgate session list", code=2)
    settings = load_or_exit(config)
    if ids:
        _revoke_ids(settings, ids)
        return
    count = _run(settings, lambda store: store.delete_owned(KIND, None if everybody else name), 0)
    click.echo(f"revoked {count} session{'' if count == 1 else 's'}")


def _revoke_ids(settings: Settings, ids: tuple[str, ...]) -> None:
    async def delete(store: Store) -> list[str]:
        keys = [record.key for record in await store.scan(KIND)]
        failures = []
        for text in ids:
            found = [key for key in keys if key.startswith(text)] if _ID.fullmatch(text) else []
            if len(found) > 1:
                failures.append(f'"{text}" is the beginning of {len(found)} sessions; nothing was revoked for it')
            elif not found or not await store.delete(KIND, found[0]):
                failures.append(f'there is no session "{text}"')
            else:
                click.echo(f"revoked {found[0][:SHOWN]}")
        return failures

    failures = _run(settings, delete, [f'there is no session "{text}"' for text in ids])
    if failures:
        for failure in failures[:-1]:
            complain(failure)
        fail(failures[-1], "see the sessions with: authgate session list")


def _run(settings: Settings, ask: Callable[[Store], Awaitable[_Result]], nothing: _Result) -> _Result:
    """Return what `ask` finds in the configured store.

    Args:
        nothing: what an empty store would give. A store file that does not exist is not created here: it would
            belong to whoever runs this command, and the service could not write it.
    """
    if settings.store == "memory:":
        fail(
            "the sessions of the store memory: live inside the running service",
            f'write store = "sqlite:state/authgate.db" in {settings.path}',
            code=2,
        )
    if not Path(settings.store.removeprefix("sqlite:")).exists():
        return nothing

    async def opened() -> _Result:
        store = open_store(settings.store, time.time)
        try:
            return await ask(store)
        finally:
            await store.aclose()

    try:
        return asyncio.run(opened())
    except ConfigError as error:
        report(error)
    except StoreUnavailable as error:
        fail(f"the store cannot be used now: {error}", "try again; nothing else was changed")


def _row(record: Record) -> _Row:
    data = decode(record)
    created, seen = (data.created, data.seen) if data else (None, None)
    site = data.scope.partition(":")[2] if data else ""
    return _Row(record.key[:SHOWN], record.owner, _time(created), _time(seen), _time(record.expires), site)


def _time(seconds: float | None) -> str:
    """Write an instant as RFC 3339 does, in UTC; empty for one that no calendar has."""
    try:
        return "" if seconds is None else datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
