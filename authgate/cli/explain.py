"""``authgate explain``: why a request is allowed or not, asked of the configuration as it is on disk.

The request is one that somebody thinks up, or one of the past that the audit knows.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import click
from click.core import ParameterSource

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.explanation import as_json, as_text, recorded_notes, unreadable_as_json, unreadable_as_text
from authgate.cli.output import fail, quiet_log, report
from authgate.cli.recorded import find_record
from authgate.cli.rehearsing import run_with_handlers
from authgate.config import Settings
from authgate.credentials.users import LocalUsers
from authgate.errors import ConfigError
from authgate.explaining import explain as explain_decision
from authgate.handlers import Handlers
from authgate.model import CredentialKind
from authgate.observe.records import Record
from authgate.rehearsal import (
    Asking,
    Rehearsed,
    RequestError,
    parse_identity,
    parse_moment,
    parse_request,
    read_groups,
    rehearse,
    rehearse_recorded,
)  # fmt: skip

_KINDS = [kind.value for kind in CredentialKind if kind is not CredentialKind.NONE]
# What somebody who asks about the past does not choose.
_OF_URL = frozenset({"--as", "--group", "--claim", "--via", "--mfa", "--ip", "--at"})
_CLAIM = re.compile(r"([^=]+)=(.*)", re.DOTALL)


@click.command(context_settings={"max_content_width": 80})
@click.argument("question", nargs=-1, required=True, metavar="METHOD URL | ID")
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
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With ID: the log to look into instead of the audit's files; - is standard input.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@config_option
@click.pass_context
def explain(
    context: click.Context,
    question: tuple[str, ...],
    name: str,
    groups: tuple[str, ...],
    claims: tuple[str, ...],
    via: str,
    mfa: bool,
    ip: str | None,
    at: str | None,
    log: Path | None,
    json_wanted: bool,
    config: Path | None,
) -> None:
    """Say why METHOD URL is allowed or not, rule by rule; or why the request was whose decision has this ID.

    Ends with 0 when it is allowed and with 1 when it is not. For METHOD URL handlers are really asked; for ID the audit
    says who asked for what, and what handlers said.
    """
    _check_usage(context, question)
    settings = load_or_exit(config)
    quiet_log()
    if len(question) == 1:
        _explain_recorded(settings, find_record(question[0], settings, log), json_wanted=json_wanted)
    method, url = question
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
    _show(settings, asking, rehearsed, notes, json_wanted=json_wanted)


def _check_usage(context: click.Context, question: tuple[str, ...]) -> None:
    """Refuse options that belong to the other form: they would be taken for something."""
    if len(question) > 2:
        raise click.UsageError(f"METHOD URL or ID, not {len(question)} words; quote an address with spaces or &")
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    wrong = _OF_URL.intersection(given) if len(question) == 1 else {"--log"}.intersection(given)
    if wrong:
        form = "METHOD URL; the audit says who asked" if len(question) == 1 else "ID"
        raise click.UsageError(f"{', '.join(sorted(wrong))} goes with {form}")


def _explain_recorded(settings: Settings, record: Record, *, json_wanted: bool) -> NoReturn:
    if record.request is None:
        click.echo(unreadable_as_json(record) if json_wanted else unreadable_as_text(settings, record))
        raise SystemExit(1)
    asking = Asking(record.request, record.identity, record.link, record.use)
    rehearsed = asyncio.run(rehearse_recorded(settings.policy, asking, record.answers))
    notes = recorded_notes(settings, record, rehearsed.decision)
    _show(settings, asking, rehearsed, notes, record, json_wanted=json_wanted)


def _show(
    settings: Settings,
    asking: Asking,
    rehearsed: Rehearsed,
    notes: list[str],
    record: Record | None = None,
    *,
    json_wanted: bool,
) -> NoReturn:
    explanation = explain_decision(settings.policy, asking.request, rehearsed)
    rendered = (as_json if json_wanted else as_text)(settings, asking, explanation, notes, record)
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
    if (
        settings.verify is not None
        or subject is None
        or subject.is_anonymous
        or subject.source
        or asking.identity.credential is CredentialKind.SERVER
    ):
        return []
    users = LocalUsers(settings.htpasswd, None)
    users.load()
    if users.find(subject.name) is not None:
        return []
    where = settings.htpasswd.name if settings.htpasswd else "an htpasswd file"
    return [f'"{subject.name}" is not in {where}, so nobody can log in by that name now']
