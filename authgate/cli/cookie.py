"""``authgate cookie``: signed tokens, as an application would put them into its cookie; `revoking` takes them back."""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import jwt
from pydantic import TypeAdapter, ValidationError

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import fail, report
from authgate.cli.revoking import revoke, revoked, unrevoke
from authgate.config import Settings
from authgate.config.schema import Duration
from authgate.config.sources import DataPath, IssuerSettings
from authgate.credentials.claims import is_name_elsewhere, read_claims
from authgate.credentials.keyring import read_source
from authgate.errors import ConfigError
from authgate.keys import COOKIE, Key, State

# What this command says itself.
_OWN = frozenset({"iss", "aud", "exp", "iat", "nbf", "jti"})
_DURATION: TypeAdapter[int] = TypeAdapter(Duration)


@click.group()
def cookie() -> None:
    """Sign and revoke tokens of the configured issuers."""


for _command in (revoke, revoked, unrevoke):
    cookie.add_command(_command)


@cookie.command()
@click.option("--issuer", "source", required=True, metavar="SOURCE", help="Whose, by its source in the configuration.")
@click.option("--subject", required=True, metavar="NAME", help="Whom it is about.")
@click.option("--group", "groups", multiple=True, help="A group of theirs; may be given several times.")
@click.option("--for", "duration", default="1h", show_default=True, help="How long it counts: 30m, 1h, 7d.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="A further claim, several times.")
@config_option
def sign(
    source: str, subject: str, groups: tuple[str, ...], duration: str, claims: tuple[str, ...], config: Path | None
) -> None:
    """Print a token, signed with the current key of the issuer's ring."""
    settings = load_or_exit(config)
    seconds = _seconds(duration)
    issuer, key = _issuer(settings, source)
    if issuer.max_age is not None and seconds > issuer.max_age:
        fail(f"a token of {source} counts for {issuer.max_age:.0f} s at most", "this is its max_age", code=2)
    now = int(time.time())
    payload: dict[str, object] = {
        **_claims(claims, issuer),
        "iss": issuer.issuer,
        "aud": issuer.audience,
        "iat": now,
        "exp": now + seconds,
        "jti": secrets.token_urlsafe(16),
    }
    _put(payload, issuer.user, _name(subject, "subject"))
    if groups:
        if issuer.groups is None:
            hint = f'write groups = "groups" for it in {settings.path.name}'
            fail(f"{source} maps no groups", hint, code=2)
        # `--group ""` is none, as for `authgate explain`.
        _put(payload, issuer.groups, [_name(group, "group") for group in groups if group])
    if read_claims(payload, issuer) is None:
        fail(f"authgate would refuse such a token of {source}", "look at what --claim says", code=2)
    click.echo(_encode(payload, key))


def _issuer(settings: Settings, source: str) -> tuple[IssuerSettings, Key]:
    """Return the issuer and the key that signs for it."""
    issuers = [issuer for issuer in settings.sources.issuers if issuer.source == source]
    if not issuers:
        known = ", ".join(sorted({issuer.source for issuer in settings.sources.issuers}))
        fail(f'there is no issuer "{source}"', f"there is {known}" if known else "write [[issuers]]", code=2)
    for issuer in issuers:
        for key in _keys(issuer):
            if key.purpose == COOKIE and key.state is State.CURRENT and key.is_secret:
                return issuer, key
    hint = 'make one with: authgate key new FILE; and write keys = [{ jwks = "FILE" }]'
    return fail(f"{source} has no ring with a private key here", hint, code=2)


def _keys(issuer: IssuerSettings) -> list[Key]:
    try:
        return [key for place in issuer.keys for key in read_source(place)]
    except ConfigError as error:
        report(error)


def _seconds(duration: str) -> int:
    try:
        return _DURATION.validate_python(duration)
    except ValidationError:
        fail(f'"{duration}" is no duration', "write a number and s, m, h or d, such as 30m", code=2)


def _name(text: str, kind: str) -> str:
    if not is_name_elsewhere(text):
        hint = "at most 256 bytes, without control characters, and without white space around it"
        fail(f"this {kind} cannot be signed for", hint, code=2)
    return text


def _claims(pairs: Sequence[str], issuer: IssuerSettings) -> Mapping[str, object]:
    own = _OWN | {issuer.user[0]} | ({issuer.groups[0]} if issuer.groups else set())
    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or not _is_utf8(pair):
            fail(f'"{pair}" is no claim', "write --claim NAME=VALUE", code=2)
        if name in own or name in found:
            fail(f'the claim "{name}" is there already', "each is said once", code=2)
        found[name] = value
    return found


def _is_utf8(argument: str) -> bool:
    # Python keeps the bytes of an argument that is not UTF-8 as surrogates (PEP 383).
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _put(payload: dict[str, object], path: DataPath, value: object) -> None:
    """Put a value where the configuration looks for it; both paths may begin with the same member."""
    members = payload
    for name in path[:-1]:
        inner = members.setdefault(name, {})
        if not isinstance(inner, dict):
            fail(f'"{".".join(path)}" leads through "{name}", which is no object here', code=2)
        members = inner
    members[path[-1]] = value


def _encode(payload: dict[str, object], key: Key) -> str:
    try:
        # PyJWT made it: see `Key.signer`.
        signer: Any = key.signer()
        return jwt.encode(payload, signer, algorithm=key.algorithm, headers={"kid": key.id})
    except ConfigError as error:
        report(error)
