"""``authgate key``: rings of signing keys. A running service reads them by itself, and refuses nobody meanwhile."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from authgate.cli.files import locked, replace
from authgate.cli.output import fail, report, visible
from authgate.cli.stored import moment, print_table
from authgate.credentials.keyring import make_key, read_ring
from authgate.errors import ConfigError
from authgate.keys import ALGORITHMS, COOKIE, LINK, Key, State
from authgate.keys.ring import Entry, Ring, created, render, render_public
from authgate.keys.ring import retire as without
from authgate.keys.ring import rotate as rotated

# A service reads a changed file within 2 s, and a key must not sign before everybody knows it.
KNOWN_AFTER = timedelta(seconds=10)

_USUAL = {COOKIE: "ES256", LINK: "HS256"}

_file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def key() -> None:
    """Make, list, rotate and retire the keys that sign tokens and links."""


@key.command()
@_file_argument
@click.option("--algorithm", type=click.Choice(ALGORITHMS), help="JWS algorithm; ES256, and HS256 for links.")
@click.option("--purpose", type=click.Choice([COOKIE, LINK]), default=COOKIE, show_default=True, help="What they sign.")
def new(file: Path, algorithm: str | None, purpose: str) -> None:
    """Make a ring: a key that signs, and the one that will be next."""
    algorithm = algorithm or _USUAL[purpose]
    if purpose == LINK and algorithm != _USUAL[LINK]:
        fail(f"links are signed with {_USUAL[LINK]}, not with {algorithm}", "leave --algorithm out", code=2)
    with locked(file):
        # Not Path.exists: a link that leads nowhere would be followed.
        if os.path.lexists(file):
            fail(f"{file} is there already", f"for a new key in it: authgate key rotate {file}")
        now = time.time()
        first, second = _make(algorithm, purpose, State.CURRENT, now), _make(algorithm, purpose, State.NEXT, now)
        replace(file, render(Ring((first, second))))
    click.echo(f"made {file}: {first.key.id} signs, {second.key.id} is next")


@key.command("list")
@_file_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--public", is_flag=True, help="Print a JSON Web Key Set with the public parts only, for others.")
def list_keys(file: Path, as_json: bool, public: bool) -> None:
    """List the keys of a ring."""
    ring = _read(file)
    if public:
        try:
            click.echo(render_public(ring), nl=False)
        except ConfigError as error:
            report(error, code=1)
        return
    rows = [_row(entry.key) for entry in ring.entries]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    print_table([[name.upper() for name in rows[0]], *(list(row.values()) for row in rows)])


@key.command()
@_file_argument
def rotate(file: Path) -> None:
    """Let the next key sign, and make another one to be next; the old one still verifies."""
    with locked(file):
        ring = _read(file)
        now = time.time()
        current, following = ring.find(State.CURRENT), ring.find(State.NEXT)
        if current is None:
            fail(f"{file}: no key signs")  # never so: parse_ring
        if following is not None:
            _require_known(following.key, now)
        fresh = _make(current.key.algorithm, current.key.purpose, State.NEXT, now)
        try:
            replace(file, render(rotated(ring, fresh)))
        except ConfigError as error:
            report(error, code=1)
    if following is None:
        click.echo(visible(f"made {fresh.key.id}, which is next; {current.key.id} still signs"))
    else:
        click.echo(visible(f"{following.key.id} signs, {fresh.key.id} is next, {current.key.id} is old"))


@key.command()
@_file_argument
@click.argument("name", metavar="ID")
def retire(file: Path, name: str) -> None:
    """Remove a key: what it signed is refused from now on."""
    with locked(file):
        ring = _read(file)
        found = next((entry.key for entry in ring.entries if entry.key.id == name), None)
        if found is None:
            fail(f'there is no key "{name}"', f"see which there are with: authgate key list {file}")
        if found.state is State.CURRENT:
            fail(f'"{name}" is the key that signs', f"let the next one sign first: authgate key rotate {file}")
        replace(file, render(without(ring, name)))
    click.echo(visible(f"retired {name}"))


def _read(file: Path) -> Ring:
    try:
        return read_ring(file)
    except ConfigError as error:
        report(error)


def _make(algorithm: str, purpose: str, state: State, now: float) -> Entry:
    try:
        return make_key(algorithm, purpose, state, now)
    except ConfigError as error:
        report(error, code=1)


def _require_known(following: Key, now: float) -> None:
    """End the command when the next key is so young that a service may not know it yet."""
    made = created(following)
    age = datetime.fromtimestamp(now, UTC) - made if made else KNOWN_AFTER
    if timedelta(0) <= age < KNOWN_AFTER:
        what = f'the next key, "{following.id}", is not known everywhere yet: it was made just now'
        fail(what, f"rotate again in {KNOWN_AFTER.seconds} seconds")


def _row(found: Key) -> dict[str, str]:
    made = created(found)
    return {
        "id": found.id,
        "algorithm": found.algorithm,
        "purpose": found.purpose,
        "state": found.state.value,
        "created": moment(made.timestamp() if made else None),
    }
