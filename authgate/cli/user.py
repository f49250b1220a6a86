"""``authgate user``: the people in the htpasswd and group files. Running workers notice a change by themselves."""

import json
import re
import sys
from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.files import locked, replace
from authgate.cli.output import complain, fail, report
from authgate.config import Settings
from authgate.credentials import hashes
from authgate.credentials.htpasswd import name_problem, parse_groups, parse_htpasswd, split_members
from authgate.credentials.passwords import MAX_PASSWORD, hash_password, is_acceptable
from authgate.errors import ConfigError

# RFC 7617 section 2 forbids them in Basic, and nobody can type them into a form.
_NO_CONTROLS = re.compile(r"[^\x00-\x1f\x7f]+")

_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)


@click.group()
def user() -> None:
    """Add, change, remove and list local users."""


@user.command()
@click.argument("name")
@click.option("--group", "groups", multiple=True, help="A group the user belongs to; may be given several times.")
@_password_option
@config_option
def add(name: str, groups: tuple[str, ...], password_stdin: bool, config: Path | None) -> None:
    """Add a user."""
    settings = load_or_exit(config)
    htpasswd = _htpasswd(settings)
    _check_names(name, groups)
    if groups and settings.groups is None:
        fail("no group file is configured", f'write groups = "groups" below [users] in {settings.path}', code=2)
    _require_none(_read(htpasswd), name)
    # Not asked for, nor hashed, with the lock held: a forgotten prompt would stop every other command.
    line = f"{name}:{hash_password(_password(password_stdin))}".encode()
    with locked(htpasswd):
        lines = _read(htpasswd)
        _require_none(lines, name)
        # The groups first: a user must at no moment exist without the group that a deny term names.
        if settings.groups is not None and groups:
            replace(settings.groups, _join(_with_member(_read(settings.groups), name, groups)))
        replace(htpasswd, _join([*lines, line]))
    click.echo(f"added {name}{_said_groups(settings, name)}")


@user.command()
@click.argument("name")
@_password_option
@config_option
def passwd(name: str, password_stdin: bool, config: Path | None) -> None:
    """Change a user's password; every session of theirs ends."""
    htpasswd = _htpasswd(load_or_exit(config))
    _require(_read(htpasswd), name)
    line = f"{name}:{hash_password(_password(password_stdin))}".encode()
    with locked(htpasswd):
        lines = _read(htpasswd)
        first, *others = _require(lines, name)
        lines[first] = line
        replace(htpasswd, _join([text for number, text in enumerate(lines) if number not in others]))
    click.echo(f"changed the password of {name}")


@user.command()
@click.argument("name")
@config_option
def remove(name: str, config: Path | None) -> None:
    """Remove a user, from the groups too; every session of theirs ends."""
    settings = load_or_exit(config)
    htpasswd = _htpasswd(settings)
    with locked(htpasswd):
        lines = _read(htpasswd)
        gone = _require(lines, name)
        # The user first: until the groups are written as well, nobody has lost a group that a deny term names.
        replace(htpasswd, _join([text for number, text in enumerate(lines) if number not in gone]))
        if settings.groups is not None and settings.groups.exists():
            replace(settings.groups, _join(_without_member(_read(settings.groups), name)))
    click.echo(f"removed {name}")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: name, groups (null without a group file), hash.")
@config_option
def list_users(as_json: bool, config: Path | None) -> None:
    """List the users, their groups and the kinds of their hashes."""
    settings = load_or_exit(config)
    htpasswd = _htpasswd(settings)
    try:
        lines = parse_htpasswd(_join(_read(htpasswd)), str(htpasswd))
        groups = None
        if settings.groups is not None:
            groups = parse_groups(_join(_read(settings.groups)), str(settings.groups))
    except ConfigError as error:
        report(error)
    rows = [
        {
            "name": name,
            "groups": None if groups is None else sorted(groups.get(name, ())),
            "hash": found.name if (found := hashes.scheme(line)) else "",
        }
        for name, line in sorted(lines.items())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max((len(str(row["name"])) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']!s:{width}}  {row['hash']!s:12}  {' '.join(row['groups'] or ())}".rstrip())


def _htpasswd(settings: Settings) -> Path:
    if settings.htpasswd is None:
        fail("no htpasswd file is configured", f'write htpasswd = "users.htpasswd" below [users] in {settings.path}', 2)
    return settings.htpasswd


def _check_names(name: str, groups: tuple[str, ...]) -> None:
    for kind, text in [("user", name), *(("group", group) for group in groups)]:
        what = name_problem(text)
        # Could be written into an htpasswd file, but not as a member of a group.
        if what is None and kind == "user" and set(text) & set("\"'\\"):
            what = "a name with a quote or backslash in it"
        if what is None and not text.isprintable():
            what = "a name that cannot be printed"
        if what is not None:
            fail(f"this {kind} cannot be added: {what}", "letters, digits and . _ - @ are always good", code=2)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        try:
            password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            fail("the password is not UTF-8")
    else:
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    if not password:
        fail("the password is empty")
    if not is_acceptable(password) or _NO_CONTROLS.fullmatch(password) is None:
        fail(
            "this password cannot be used",
            f"at most {MAX_PASSWORD} bytes of UTF-8, without tabs and other control characters",
        )
    return password


def _said_groups(settings: Settings, name: str) -> str:
    """Say which groups the user is in: also those left in the file from somebody who had the name before."""
    if settings.groups is None:
        return ""
    try:
        groups = parse_groups(_join(_read(settings.groups)), str(settings.groups)).get(name)
    except ConfigError as error:
        complain(f"the group file has problems: {error}")
        return ""
    return f" ({', '.join(sorted(groups))})" if groups else ""


def _read(path: Path) -> list[bytes]:
    """Return the file's lines as they are; none when there is no file yet."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}")
    return content.removesuffix(b"\n").split(b"\n") if content else []


def _join(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _lines_of(lines: list[bytes], name: str) -> list[int]:
    """Return the numbers of the user's lines, whatever stands after the colon: it may be what shall be corrected."""
    try:
        start = name.encode() + b":"
    except UnicodeEncodeError:  # an argument that is not UTF-8
        return []
    return [number for number, line in enumerate(lines) if line.startswith(start) and not start.startswith(b"#")]


def _require(lines: list[bytes], name: str) -> list[int]:
    found = _lines_of(lines, name)
    if not found:
        fail(f'there is no user "{name}"', "see who there is with: authgate user list")
    return found


def _require_none(lines: list[bytes], name: str) -> None:
    if _lines_of(lines, name):
        fail(f'there is a user "{name}" already', f"change the password with: authgate user passwd {name}")


def _members(line: bytes) -> tuple[str, list[str]] | None:
    """Return the group and the members of a line of a group file; None for a comment or what is not one."""
    try:
        group, colon, rest = line.decode().partition(":")
    except UnicodeDecodeError:
        return None
    members = split_members(rest)
    return (group, members) if colon and members is not None and name_problem(group) is None else None


def _group_line(group: str, members: list[str]) -> bytes:
    quoted = [f'"{name}"' if " " in name else name for name in members]
    return " ".join([f"{group}:", *quoted]).encode()


def _with_member(lines: list[bytes], name: str, groups: tuple[str, ...]) -> list[bytes]:
    lines = list(lines)
    for group in dict.fromkeys(groups):
        for number, line in enumerate(lines):
            found = _members(line)
            if found is not None and found[0] == group:
                if name not in found[1]:
                    lines[number] = _group_line(group, [*found[1], name])
                break
        else:
            lines.append(_group_line(group, [name]))
    return lines


def _without_member(lines: list[bytes], name: str) -> list[bytes]:
    kept = []
    for line in lines:
        found = _members(line)
        if found is not None and name in found[1]:
            kept.append(_group_line(found[0], [member for member in found[1] if member != name]))
        else:
            kept.append(line)
    return kept
