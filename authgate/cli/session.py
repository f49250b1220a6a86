"""``authgate session``: who is logged in, and ending that. Works on the store itself, beside a running service."""

import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import complain, fail
from authgate.cli.stored import ask_store, moment, print_table
from authgate.config import Settings
from authgate.credentials.session import KIND, decode
from authgate.stores import Record, Store

# Enough of the key's 64 digits that two of a million sessions share them once in 500 tries.
SHOWN = 12
_ID = re.compile(r"[0-9a-f]{4,64}")


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
    records: list[Record] = ask_store(settings, "sessions", lambda store: store.scan(KIND, name), [])
    rows = [_row(record) for record in records if record.expires > time.time()]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        complain("nobody is logged in" if name is None else f'"{name}" is not logged in')
        return
    print_table([_Row("ID", "USER", "CREATED", "LAST SEEN", "EXPIRES", "SITE"), *rows])


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
    count = ask_store(settings, "sessions", lambda store: store.delete_owned(KIND, None if everybody else name), 0)
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

    failures = ask_store(settings, "sessions", delete, [f'there is no session "{text}"' for text in ids])
    if failures:
        for failure in failures[:-1]:
            complain(failure)
        fail(failures[-1], "see the sessions with: authgate session list")


def _row(record: Record) -> _Row:
    data = decode(record)
    created, seen = (data.created, data.seen) if data else (None, None)
    site = data.scope.partition(":")[2] if data else ""
    return _Row(record.key[:SHOWN], record.owner, moment(created), moment(seen), moment(record.expires), site)
