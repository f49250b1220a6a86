"""``authgate explain``: why a request is allowed or not, asked of the configuration as it is on disk."""

import re
import time
from collections.abc import Iterable
from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.explanation import as_json, as_text
from authgate.cli.output import fail, quiet_log, report
from authgate.cli.rehearsing import run_with_handlers
from authgate.config import Settings
from authgate.credentials.users import LocalUsers
from authgate.errors import ConfigError
from authgate.explaining import explain as explain_decision
from authgate.handlers import Handlers
from authgate.model import CredentialKind
from authgate.rehearsal import (
    Asking,
    Rehearsed,
    RequestError,
    parse_identity,
    parse_moment,
    parse_request,
    read_groups,
    rehearse,
)  # fmt: skip

_KINDS = [kind.value for kind in CredentialKind if kind is not CredentialKind.NONE]
_CLAIM = re.compile(r"([^=]+)=(.*)", re.DOTALL)


@click.command(context_settings={"max_content_width": 80})
@click.argument("method")
@click.argument("url")
@click.option("--as", "name", default="", metavar="NAME", help="Who asks: alice, or partner/alice; otherwise nobody.")
@click.option(
    "--group",
    "groups",
    metavar="GROUP",
    multiple=True,
    help='A group of NAME, instead of those in the group file; may be given several times. "" is none.',
)
@click.option(
    "--claim",
    "claims",
    metavar="NAME=VALUE",
    multiple=True,
    help="A claim of the credential; may be given several times.",
)
@click.option("--via", type=click.Choice(_KINDS), default="session", show_default=True, help="How NAME logged in.")
@click.option("--mfa", is_flag=True, help="NAME used a second factor.")
@click.option("--ip", metavar="ADDRESS", help="The client's address; otherwise it is not known.")
@click.option("--at", metavar="TIME", help="The moment, such as 2026-11-20T19:30:00+01:00; otherwise now.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@config_option
def explain(
    method: str,
    url: str,
    name: str,
    groups: tuple[str, ...],
    claims: tuple[str, ...],
    via: str,
    mfa: bool,
    ip: str | None,
    at: str | None,
    json_wanted: bool,
    config: Path | None,
) -> None:
    """Say why METHOD URL is allowed or not, rule by rule.

    Ends with 0 when it is allowed and with 1 when it is not. Handlers are really asked.
    """
    settings = load_or_exit(config)
    quiet_log()
    try:
        request = parse_request(method, url, settings.sites, ip, time.time() if at is None else parse_moment(at))
        known = read_groups(settings)
        identity = parse_identity(name, groups or None, _pairs(claims), CredentialKind(via), mfa, known)
        asking = Asking(request, identity)
        notes = _notes(settings, asking)

        async def ask(handlers: Handlers) -> Rehearsed:
            return await rehearse(settings.policy, handlers, asking)

        rehearsed = run_with_handlers(settings, ask)
    except RequestError as error:
        fail(str(error), error.hint, code=2)
    except ConfigError as error:
        report(error)
    explanation = explain_decision(settings.policy, request, rehearsed)
    rendered = (as_json if json_wanted else as_text)(settings, asking, explanation, notes)
    click.echo(rendered)
    raise SystemExit(0 if rehearsed.decision.allowed else 1)


def _pairs(claims: Iterable[str]) -> list[tuple[str, str]]:
    pairs = []
    for claim in claims:
        found = _CLAIM.fullmatch(claim)
        if found is None:
            raise RequestError(f'"{claim}" is no claim', "write --claim department=sales")
        pairs.append((found[1], found[2]))
    return pairs


def _notes(settings: Settings, asking: Asking) -> list[str]:
    """Return what is odd about the question itself."""
    subject = asking.identity.subject
    if subject is None or subject.is_anonymous or subject.source or asking.identity.credential is CredentialKind.SERVER:
        return []
    users = LocalUsers(settings.htpasswd, None)
    users.load()
    if users.find(subject.name) is not None:
        return []
    where = settings.htpasswd.name if settings.htpasswd else "an htpasswd file"
    return [f'"{subject.name}" is not in {where}, so nobody can log in by that name now']
