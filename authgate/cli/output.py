"""What the command line says: stderr, lower case, no full stop, a hint on its own line."""

import logging
from typing import NoReturn

import click

from authgate.errors import ConfigError


def complain(message: str, hint: str = "") -> None:
    """Print ``authgate: message`` and its hint on stderr."""
    click.echo(f"authgate: {visible(message)}", err=True)
    if hint:
        click.echo(f"hint: {visible(hint)}", err=True)


def fail(message: str, hint: str = "", code: int = 1) -> NoReturn:
    """Complain and end the command.

    Args:
        code: 1 for "no" or "failed", 2 for usage or configuration.
    """
    complain(message, hint)
    raise SystemExit(code)


def report(error: ConfigError, code: int = 2) -> NoReturn:
    """Print every problem of a refused configuration and end the command."""
    for problem in error.problems:
        complain(f"{problem.place}: {problem.message}" if problem.place else problem.message, problem.hint)
    raise SystemExit(code)


def visible(text: str) -> str:
    """Return `text` with what a terminal would obey, or could not show, written as an escape."""
    return "".join(
        character if character.isprintable() or character == "\n" else character.encode("unicode_escape").decode()
        for character in text
    )


def quiet_log() -> None:
    """Keep the service's log off stderr: the command says itself what came out."""
    logging.getLogger("authgate").addHandler(logging.NullHandler())
