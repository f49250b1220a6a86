"""``authgate token``: access tokens for programs. Works on the store itself, beside a running service."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
from pydantic import TypeAdapter, ValidationError

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import complain, fail, report
from authgate.cli.stored import ask_store, moment, print_table
from authgate.config import Settings
from authgate.config.schema import Duration
from authgate.credentials.directory import Directory, is_name, wanted
from authgate.credentials.token_record import (
    APIS,
    KIND,
    MAX_LABEL,
    MAX_PARTS,
    PREFIX,
    Token,
    decode,
    generate,
    is_label,
)
from authgate.credentials.users import LocalUsers
from authgate.errors import Busy, ConfigError, SiteFunctionFailed
from authgate.handlers.loading import load_functions
from authgate.networks import parse_network
from authgate.scopes import is_method, parse_reach
from authgate.stores import Record, Store

_DURATION: TypeAdapter[int] = TypeAdapter(Duration)
# Ten years: longer than any script goes unlooked at.
_LONGEST = 3650 * 86400
# An id, or a whole token that was found where it should not be.
_ID = re.compile(rf"(?:{PREFIX})?([0-9A-Za-z]{{14}})(?:_[0-9A-Za-z]*)?")


class _Row(NamedTuple):
    """One token as it is listed."""

    id: str
    owner: str
    label: str
    scope: str
    created: str
    last_use: str
    expires: str


@click.group()
def token() -> None:
    """Make, list and revoke access tokens for programs."""


@token.command()
@click.option("--owner", required=True, metavar="NAME", help="Whose it is; it is never more than they are.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this path, or /folder/**; several times.")
@click.option("--method", "methods", multiple=True, metavar="METHOD", help="Only this method; several times.")
@click.option(
    "--network", "networks", multiple=True, metavar="NAME|CIDR", help="Only from this network; several times."
)
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Only at this site; several times.")
@click.option("--expires", default="365d", show_default=True, metavar="DURATION", help="For how long: 12h, 90d.")
@click.option("--api", "apis", multiple=True, type=click.Choice(APIS), help="At the listener api; several times.")
@click.option("--label", default="", metavar="TEXT", help="What it is for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def create(
    owner: str,
    paths: tuple[str, ...],
    methods: tuple[str, ...],
    networks: tuple[str, ...],
    hosts: tuple[str, ...],
    expires: str,
    apis: tuple[str, ...],
    label: str,
    as_json: bool,
    config: Path | None,
) -> None:
    """Make a token and print it, which happens only this once."""
    settings = load_or_exit(config)
    seconds = _seconds(expires)
    if not is_label(label):
        fail("this label cannot be used", f"at most {MAX_LABEL} characters that can be printed", code=2)
    if apis and networks:
        hint = "make two tokens, one for files and one for the api"
        fail("at the listener api nobody knows where a client is: --api and --network exclude each other", hint, code=2)
    cidrs = _networks(networks, settings)
    _check_parts(paths, methods, hosts, settings)
    local = _is_local(owner, settings)
    text, name, digest = generate()
    now = time.time()
    made = Token(
        id=name,
        source="",
        name=owner,
        local=local,
        label=label,
        paths=tuple(dict.fromkeys(paths)),
        methods=tuple(dict.fromkeys(methods)),
        networks=cidrs,
        hosts=tuple(dict.fromkeys(hosts)),
        # One that says nothing of files, and something of the api, is for the api alone.
        files=bool(paths or methods or hosts or not apis),
        api=tuple(dict.fromkeys(apis)),
        created=now,
        expires=now + seconds,
        used=None,
        digest=digest,
    )
    _write(settings, made.record())
    if as_json:
        click.echo(json.dumps({"token": text, **_document(made)}, indent=2, ensure_ascii=False))
        return
    click.echo(text)
    complain(f"made {name} of {owner}, until {moment(made.expires)}", "keep it now: it is not shown again")


@token.command("list")
@click.option("--owner", metavar="NAME", help="Only theirs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def list_tokens(owner: str | None, as_json: bool, config: Path | None) -> None:
    """List the tokens, soonest to expire first; never their secrets."""
    settings = load_or_exit(config)
    records: list[Record] = ask_store(settings, "tokens", lambda store: store.scan(KIND, owner), [])
    if as_json:
        documents = [_document(found) for record in records if (found := decode(record)) is not None]
        click.echo(json.dumps(documents, indent=2, ensure_ascii=False))
    elif not records:
        complain("there are no tokens" if owner is None else f'"{owner}" has no tokens')
    else:
        print_table([_Row("ID", "OWNER", "LABEL", "SCOPE", "CREATED", "LAST USE", "EXPIRES"), *map(_row, records)])


@token.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--owner", metavar="NAME", help="Every token of theirs.")
@config_option
def revoke(ids: tuple[str, ...], owner: str | None, config: Path | None) -> None:
    """End tokens, in every worker at once; a whole token that was found somewhere is as good as its ID."""
    if bool(ids) is (owner is not None):
        fail("say which tokens: by ID, or by --owner NAME", "see them with: authgate token list", code=2)
    settings = load_or_exit(config)
    if ids:
        _revoke_ids(settings, ids)
        return
    count = ask_store(settings, "tokens", lambda store: store.delete_owned(KIND, owner), 0)
    click.echo(f"revoked {count} token{'' if count == 1 else 's'}")


def _revoke_ids(settings: Settings, ids: tuple[str, ...]) -> None:
    # Of what is no id nothing is said again: it may be a secret.
    named = [found[1] if (found := _ID.fullmatch(text)) else "" for text in ids]

    async def delete(store: Store) -> list[str]:
        failures = []
        for name in named:
            if name and await store.delete(KIND, name):
                click.echo(f"revoked {name}")
            else:
                failures.append(_missing(name))
        return failures

    failures = ask_store(settings, "tokens", delete, [_missing(name) for name in named])
    if failures:
        for failure in failures[:-1]:
            complain(failure)
        fail(failures[-1], "see them with: authgate token list")


def _missing(name: str) -> str:
    return f'there is no token "{name}"' if name else "one of these is no token's ID"


def _seconds(duration: str) -> int:
    try:
        seconds = _DURATION.validate_python(duration)
    except ValidationError:
        fail(f'"{duration}" is no duration', "write a number and s, m, h or d, such as 90d", code=2)
    if seconds > _LONGEST:
        fail(f'"{duration}" is over ten years', "write 3650d or less", code=2)
    return seconds


def _networks(texts: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return the networks as numbers: a token says what it may, whatever a name means later."""
    found: dict[str, None] = {}
    for text in texts:
        if text in settings.networks:
            found |= {str(network): None for network in settings.networks[text]}
            continue
        try:
            found[str(parse_network(text))] = None
        except ValueError:
            known = ", ".join(sorted(settings.networks))
            hint = f"write 10.0.0.0/8, or one of {known}" if known else "write 10.0.0.0/8 or one address"
            fail(f'"{text}" is no network', hint, code=2)
    if texts and not found:
        fail("these networks are empty", "a token for nowhere opens nothing", code=2)
    return _at_most(tuple(found))


def _check_parts(paths: Sequence[str], methods: Sequence[str], hosts: Sequence[str], settings: Settings) -> None:
    for path in paths:
        try:
            parse_reach(path)
        except ValueError as error:
            fail(f'"{path}" cannot be the path of a token: {error}', "write /reports/q3.csv or /reports/**", code=2)
    for method in methods:
        if not is_method(method):
            fail(f'"{method}" is no method', f'did you mean "{method.upper()}"?', code=2)
    sites = [site.host for site in settings.sites]
    for host in hosts:
        if host not in sites:
            fail(f'there is no site "{host}"', f"there is {', '.join(sites)}", code=2)
    for parts in (paths, methods, hosts):
        _at_most(tuple(parts))


def _at_most(parts: tuple[str, ...]) -> tuple[str, ...]:
    if len(parts) > MAX_PARTS:
        fail(f"over {MAX_PARTS} of one kind", "make several tokens", code=2)
    return parts


def _is_local(owner: str, settings: Settings) -> bool:
    """Tell whether the htpasswd file knows the owner; end the command when nobody does."""
    if "/" in owner:
        hint = "make it for somebody of the htpasswd file or of users.lookup"
        fail(f'nobody can be asked whether "{owner}" is still there: people of other sources own no tokens', hint, 2)
    try:
        users = LocalUsers(settings.htpasswd, settings.groups)
        users.load()
        if users.find(owner) is not None:
            return True
        subject = asyncio.run(_look_up(owner, settings)) if settings.lookup and is_name(owner) else None
    except ConfigError as error:
        report(error)
    except (Busy, SiteFunctionFailed) as error:
        fail(f"users.lookup cannot say who that is: {error}")
    if subject is None:
        hint = (
            "" if settings.lookup else "people whom only users.verify knows can own tokens where there is users.lookup"
        )
        fail(f'there is no user "{owner}"', hint)
    if users.find(subject) is not None:
        fail(f'for users.lookup "{owner}" is {subject}, who is in the htpasswd file', f"make it for {subject}")
    return False


async def _look_up(owner: str, settings: Settings) -> str | None:
    code = load_functions(wanted(None, settings.lookup), settings.path.parent.absolute())
    directory = Directory(None, code.functions[settings.lookup or ""])
    try:
        found = await directory.lookup(owner)
        return None if found is None else found.name
    finally:
        directory.close()


def _write(settings: Settings, record: Record) -> None:
    async def write(store: Store) -> bool:
        await store.put(KIND, record)
        return True

    if not ask_store(settings, "tokens", write, False):
        fail("there is no store yet", "start the service first")


def _row(record: Record) -> _Row:
    found = decode(record)
    if found is None:
        return _Row(record.key, record.owner, "", "cannot be read", "", "", moment(record.expires))
    dates = (moment(found.created), moment(found.used) or "never", moment(found.expires))
    return _Row(found.id, found.owner, found.label, _said(found), *dates)


def _said(found: Token) -> str:
    """Say in one line what a token is for."""
    files = [*found.methods, *found.hosts, *found.paths] or ["files"]
    parts = [*(files if found.files else ()), *(f"from {network}" for network in found.networks)]
    return " ".join([*parts, *(f"api:{name}" for name in found.api)])


def _document(found: Token) -> dict[str, object]:
    return {
        "id": found.id,
        "owner": found.owner,
        "label": found.label,
        "files": found.files,
        "paths": found.paths,
        "methods": found.methods,
        "networks": found.networks,
        "hosts": found.hosts,
        "api": found.api,
        "created": moment(found.created),
        "last_use": None if found.used is None else moment(found.used),
        "expires": moment(found.expires),
        "expired": found.expires <= time.time(),
    }
