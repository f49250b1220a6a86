"""``authgate link``: signed links for people, and what has become of them. Works beside a running service."""

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import click

from authgate.cli import link_records as records
from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.link_arguments import (
    read_label,
    read_methods,
    read_networks,
    read_reach,
    read_seconds,
    read_site,
)
from authgate.cli.link_records import Known
from authgate.cli.output import complain, fail, report
from authgate.cli.stored import ask_store, moment, print_table, read_moment
from authgate.config import Settings
from authgate.credentials.keyring import read_ring
from authgate.credentials.link_format import (
    MAX_LINK,
    MAX_USES,
    PARAMETER,
    LinkTerms,
    make_id,
    open_link,
    sign_link,
)
from authgate.credentials.links import find_value
from authgate.errors import ConfigError
from authgate.keys import Key, State
from authgate.model import Site
from authgate.patterns import RegexPattern
from authgate.policy.rules import Rule
from authgate.scopes import Reach
from authgate.stores import Store

# The folder that the web server strips (deploy/nginx, deploy/apache).
FOLDER = "/authgate-link/"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IN_PATH = re.compile(rf"{FOLDER}([A-Za-z0-9_.-]+)(?:/.*)?", re.DOTALL)


class _Row(NamedTuple):
    """One link as it is listed."""

    id: str
    host: str
    path: str
    state: str
    uses: str
    expires: str
    label: str


@click.group()
def link() -> None:
    """Sign, list, show and revoke links that open something without a login."""


@link.command()
@click.argument("path")
@click.option("--expires", required=True, metavar="DURATION", help="For how long it counts: 2h, 7d.")
@click.option("--uses", type=click.IntRange(1, MAX_USES), help="How often it may be used; else as often as one likes.")
@click.option("--host", metavar="HOST", help="At which site, where there are several.")
@click.option("--method", "methods", multiple=True, metavar="METHOD", help="Else GET, and HEAD with it; several times.")
@click.option(
    "--network", "networks", multiple=True, metavar="NAME|CIDR", help="Only from this network; several times."
)
@click.option("--not-before", "begins", metavar="MOMENT", help="Not before 2026-11-20T19:30:00+01:00.")
@click.option("--label", default="", metavar="TEXT", help="What it is for. Whoever has the link can read this.")
@click.option("--path-form", is_flag=True, help="The link in front of the path, for players.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def create(
    path: str,
    expires: str,
    uses: int | None,
    host: str | None,
    methods: tuple[str, ...],
    networks: tuple[str, ...],
    begins: str | None,
    label: str,
    path_form: bool,
    as_json: bool,
    config: Path | None,
) -> None:
    """Print an address that opens PATH, or all below it: /videos/42/**."""
    settings = load_or_exit(config)
    signer = next(key for key in _keys(settings).values() if key.state is State.CURRENT)
    now = time.time()
    site, reach = read_site(settings, host), read_reach(path)
    claims: dict[str, object] = {
        "id": make_id(),
        "host": site.host,
        "path": path,
        "exp": int(now) + read_seconds(expires),
        **({"nbf": read_moment(begins)} if begins is not None else {}),
        **({"methods": read_methods(methods)} if methods else {}),
        **({"networks": read_networks(networks, settings)} if networks else {}),
        **({"uses": uses} if uses is not None else {}),
        **({"label": read_label(label)} if label else {}),
    }
    value = _sign(signer, claims)
    made = records.record(claims, now)

    async def write(store: Store) -> bool:
        await store.put(records.KIND, made)
        return True

    if not ask_store(settings, "links", write, False):
        fail("there is no store yet", "start the service first")
    for method in methods or ("GET",):
        if not _is_covered(settings, site.host, reach, method):
            what = f"no rule with the atom link decides about {method} {path}"
            complain(what, 'the link opens nothing before a rule has allow = ["link"] for it')
            break
    address = _address(site, reach, value, path_form=path_form)
    if as_json:
        shown = {"id": made.key, "address": address, "expires": moment(made.expires), "uses": uses}
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        click.echo(address)


@link.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def list_links(as_json: bool, config: Path | None) -> None:
    """List the links that were made here and have not ended, soonest to end first."""
    settings = load_or_exit(config)
    found: list[Known] = ask_store(settings, "links", records.every, [])
    if as_json:
        click.echo(json.dumps([_described(known) for known in found], indent=2, ensure_ascii=False))
    elif not found:
        complain("there are no links")
    else:
        print_table([_Row("ID", "HOST", "PATH", "STATE", "USES", "EXPIRES", "LABEL"), *map(_row, found)])


@link.command()
@click.argument("which", metavar="ID|ADDRESS|LINK|-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def show(which: str, as_json: bool, config: Path | None) -> None:
    """Say what a link opens, whether it counts now, and how often it was used; with - it is read from stdin."""
    settings = load_or_exit(config)
    known = _find(settings, _read(which))
    if isinstance(known, str):
        fail(
            f'nothing is known of a link "{known}"', "show its address instead; authgate link list has those made here"
        )
    described = _described(known)
    if as_json:
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    rows = [(name.replace("_", " "), _as_text(value)) for name, value in described.items()]
    print_table([(name, text) for name, text in rows if text])


@link.command()
@click.argument("which", metavar="ID|ADDRESS|LINK|-")
@config_option
def revoke(which: str, config: Path | None) -> None:
    """Refuse a link from now on, in every worker, whoever has signed it; with - it is read from stdin."""
    settings = load_or_exit(config)
    known = _find(settings, _read(which))
    name, ends = (known, None) if isinstance(known, str) else (known.terms.id, known.terms.ends)
    if ends is not None and ends <= time.time():
        fail("nothing to revoke: the link has ended by itself")

    async def write(store: Store) -> str:
        return await records.revoke(store, name, ends)

    problem = ask_store(settings, "links", write, "there is no store yet")
    if problem:
        fail(problem, "start the service first" if "store" in problem else "see them with: authgate cookie revoked")
    if isinstance(known, str):
        complain(f'no link "{name}" was made here', "it is revoked for ever; name its address to have that end with it")
    click.echo(f"revoked {name}")


def _keys(settings: Settings) -> Mapping[str, Key]:
    """Return the ring, by id of its keys."""
    if settings.links is None:
        hint = 'write keys = "links.jwks" below [links]; authgate key new links.jwks --purpose link'
        fail(f"{settings.path.name} has no keys for links", hint, code=2)
    try:
        return {entry.key.id: entry.key for entry in read_ring(settings.links).entries}
    except ConfigError as error:
        report(error)


def _sign(key: Key, claims: Mapping[str, object]) -> str:
    begins, ends = claims.get("nbf", 0.0), claims["exp"]
    if isinstance(begins, float) and isinstance(ends, int) and begins >= ends:
        fail("the link would end before it begins", code=2)
    try:
        return sign_link(key, claims)
    except ValueError as error:
        fail(f"no such link can be made: {error}", code=2)
    except ConfigError as error:
        report(error)


def _address(site: Site, reach: Reach, value: str, *, path_form: bool) -> str:
    # A folder with its final slash: the web server's own way there would lose the link.
    path = quote(reach.path + ("/" if reach.below else ""), safe="/")
    if path_form:
        return f"{site.origin}{FOLDER}{value}{path}"
    return f"{site.origin}{path}?{PARAMETER}={value}"


def _is_covered(settings: Settings, host: str, reach: Reach, method: str) -> bool:
    """Tell whether some path within reach is decided by a rule that admits by link, as far as that can be told."""
    if reach.below and any(_is_about_some(rule, host, f"{reach.path}/", method) for rule in settings.policy.rules):
        return True
    paths = [reach.path, f"{reach.path}/", f"{reach.path}/x"] if reach.below else [reach.path]
    for path in paths:
        for rule, _ in settings.policy.matching(host, path or "/", method):
            if rule.allow is None:
                continue
            if rule.asks_link:
                return True
            break
    return False


def _is_about_some(rule: Rule, host: str, folder: str, method: str) -> bool:
    """Tell whether a rule that admits by link is about something below a folder by name."""
    return (
        rule.asks_link
        and (rule.hosts is None or host in rule.hosts)
        and (rule.methods is None or method in rule.methods)
        and any(isinstance(path, RegexPattern) or path.text.startswith(folder) for path in rule.paths)
    )


def _read(which: str) -> str:
    # An argument is seen by everybody on the machine, and stays in the shell's history.
    return sys.stdin.read(2 * MAX_LINK + 1).strip() if which == "-" else which


def _find(settings: Settings, which: str) -> Known | str:
    """Return a link as it stands, or its id where no more than that is known."""
    value = _value(which)
    if value is None:
        if _ID.fullmatch(which) is None:
            fail("this is no id of a link, no link, and no address with one", code=2)
        found: Known | None = ask_store(settings, "links", lambda store: records.look_up(store, which), None)
        return found or which
    terms = open_link(value, _keys(settings))
    if terms is None:
        hint = "it was changed, or signed with a key that is not in the ring any more"
        fail("this link counts for nothing here", hint)

    async def ask(store: Store) -> Known:
        written = await records.look_up(store, terms.id)
        return await records.as_it_stands(store, terms, written.created if written else None)

    return ask_store(settings, "links", ask, Known(terms, None, 0, revoked=False))


def _value(which: str) -> str | None:
    """Return the link that an address holds, or that this is; None when it is neither."""
    if "/" not in which and "?" not in which:
        return which if which.count(".") == 2 else None
    try:
        parts = urlsplit(which)
    except ValueError:
        return None
    in_path = _IN_PATH.fullmatch(parts.path)
    return in_path[1] if in_path else find_value(parts.query)


def _described(known: Known) -> dict[str, object]:
    terms: LinkTerms = known.terms
    (reach,), (host,) = terms.scope.paths, terms.scope.hosts
    networks = terms.scope.networks
    return {
        "id": terms.id,
        "state": known.state(time.time()),
        "host": host,
        "path": reach.path + ("/**" if reach.below else ""),
        "methods": sorted(terms.scope.methods),
        "networks": None if networks is None else [str(network) for network in networks],
        "not_before": moment(terms.begins) if terms.begins else None,
        "expires": moment(terms.ends),
        "uses": terms.uses,
        "taken": known.taken if terms.uses is not None else None,
        "label": terms.label,
        "created": moment(known.created),
    }


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(known: Known) -> _Row:
    said = _described(known)
    uses = "" if known.terms.uses is None else f"{known.taken} of {known.terms.uses}"
    texts = {name: _as_text(said[name]) for name in ("id", "host", "path", "state", "expires", "label")}
    return _Row(uses=uses, **texts)
