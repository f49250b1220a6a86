"""``authgate cookie revoke``, ``revoked``, ``unrevoke``: tokens that shall not count any more."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import complain, fail
from authgate.cli.stored import ask_store, moment, print_table, read_moment
from authgate.config import Settings
from authgate.config.sources import IssuerSettings
from authgate.credentials.claims import is_name_elsewhere
from authgate.credentials.compact import MAX_TOKEN
from authgate.credentials.revocations import KIND, LONGEST, MAX_REVOCATIONS, Revocation, decode
from authgate.stores import Record, Store

# Enough of the key's 64 digits to tell a hundred thousand apart.
_SHOWN = 12
_ID = re.compile(r"[0-9a-f]{4,64}")


class _Row(NamedTuple):
    """One revocation as it is listed; empty is what it does not say."""

    id: str
    issuer: str
    jti: str
    subject: str
    issued_before: str
    until: str


@click.command()
@click.option("--issuer", "source", required=True, metavar="SOURCE", help="Whose, by its source in the configuration.")
@click.option("--jti", help="The one token with this id.")
@click.option("--subject", metavar="NAME", help="All of somebody's that were issued until now.")
@click.option("--issued-before", metavar="MOMENT", help="Everybody's: 2026-11-20T19:30:00+01:00, or now.")
@click.option("--until", metavar="MOMENT", help="When the last of them ends by itself; else by max_age, or 400 days.")
@config_option
def revoke(
    source: str,
    jti: str | None,
    subject: str | None,
    issued_before: str | None,
    until: str | None,
    config: Path | None,
) -> None:
    """Refuse tokens from now on, in every worker."""
    if [jti, subject, issued_before].count(None) != 2:
        hint = "all of an issuer's: --issued-before now"
        fail("say which tokens: --jti ID, --subject NAME or --issued-before MOMENT", hint, code=2)
    settings = load_or_exit(config)
    issuer = _issuer(settings, source)
    now = time.time()
    if jti is not None:
        if not 0 < len(jti) <= MAX_TOKEN or not _is_text(jti):
            fail("no token has such an id", code=2)
        revocation = Revocation(source, jti=jti)
    elif subject is not None:
        # Its clock may be ahead of ours.
        revocation = Revocation(source, name=_name(subject, source), before=now + issuer.leeway)
    else:
        revocation = Revocation(source, before=_before(issued_before or "", now))
    expires = _expires(revocation, issuer, now) if until is None else read_moment(until)
    if expires <= now:
        hint = f"max_age of {source} is {issuer.max_age:.0f} s" if until is None and issuer.max_age else ""
        fail("nothing to revoke: all of them have ended by themselves", hint)
    _write(settings, revocation.record(expires))
    click.echo(f"revoked: {revocation.key[:_SHOWN]}")


@click.command()
@click.option("--issuer", "source", metavar="SOURCE", help="Only those of this issuer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def revoked(source: str | None, as_json: bool, config: Path | None) -> None:
    """List what is revoked, soonest to be forgotten first."""
    settings = load_or_exit(config)
    records: list[Record] = ask_store(settings, "revocations", lambda store: store.scan(KIND, source), [])
    rows = [_row(record) for record in records if record.expires > time.time()]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
    elif not rows:
        complain("nothing is revoked")
    else:
        print_table([_Row("ID", "ISSUER", "JTI", "SUBJECT", "ISSUED BEFORE", "UNTIL"), *rows])


@click.command()
@click.argument("name", metavar="ID")
@config_option
def unrevoke(name: str, config: Path | None) -> None:
    """Take a revocation back; ID as listed, and may be shortened as long as it means one."""
    settings = load_or_exit(config)

    async def delete(store: Store) -> int:
        keys = [record.key for record in await store.scan(KIND) if record.key.startswith(name)]
        if len(keys) == 1 and not await store.delete(KIND, keys[0]):
            return 0
        return len(keys)

    found = ask_store(settings, "revocations", delete, 0) if _ID.fullmatch(name) else 0
    if found != 1:
        what = f'"{name}" is the beginning of {found}' if found else f'there is no revocation "{name}"'
        fail(what, "see them with: authgate cookie revoked")
    click.echo(f"not revoked any more: {name}")


def _issuer(settings: Settings, source: str) -> IssuerSettings:
    found = [issuer for issuer in settings.sources.issuers if issuer.source == source]
    if not found:
        known = ", ".join(sorted({issuer.source for issuer in settings.sources.issuers}))
        fail(f'there is no issuer "{source}"', f"there is {known}" if known else "write [[issuers]]", code=2)
    # Several may share a source, and so their people: the most patient one counts.
    ages = [issuer.max_age for issuer in found]
    longest = max((age for age in ages if age is not None), default=None) if None not in ages else None
    return replace(found[0], max_age=longest, leeway=max(issuer.leeway for issuer in found))


def _name(subject: str, source: str) -> str:
    if subject.startswith(f"{source}/"):
        fail("a subject is named without its source here", f"--subject {subject.removeprefix(f'{source}/')}", code=2)
    if not is_name_elsewhere(subject):
        fail("nobody has such a name", code=2)
    return subject


def _before(text: str, now: float) -> float:
    before = now if text == "now" else read_moment(text, ", or now")
    if before > now:
        fail(f'"{text}" is in the future', "what will be issued cannot be revoked", code=2)
    return before


def _expires(revocation: Revocation, issuer: IssuerSettings, now: float) -> float:
    """Return when no token that is revoked can count any more."""
    if issuer.max_age is None:
        return now + LONGEST
    # It was issued within the leeway of now at the latest, and counts so much longer than its age.
    last = revocation.before if revocation.before is not None else now + issuer.leeway
    return last + issuer.max_age + issuer.leeway


def _write(settings: Settings, record: Record) -> None:
    async def write(store: Store) -> str:
        if len(await store.scan(KIND)) >= MAX_REVOCATIONS:
            return f"{MAX_REVOCATIONS:,} are revoked already"
        await store.announce(KIND, record)
        return ""

    problem = ask_store(settings, "revocations", write, "there is no store yet")
    if problem:
        hint = "start the service first" if "store" in problem else "revoke all of an issuer's: --issued-before now"
        fail(problem, hint)


def _row(record: Record) -> _Row:
    said = decode(record) or Revocation("?")
    return _Row(record.key[:_SHOWN], said.source, said.jti, said.name, moment(said.before), moment(record.expires))


def _is_text(text: str) -> bool:
    # Python keeps the bytes of an argument that is not UTF-8 as surrogates (PEP 383).
    return not any("\ud800" <= character <= "\udfff" for character in text)
