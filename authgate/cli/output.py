"""What the command line says: stderr, lower case, no full stop, a hint on its own line."""

from typing import NoReturn

import click

from authgate.errors import ConfigError


def complain(message: str, hint: str = "") -> None:
    """Print ``authgate: message`` and its hint on stderr."""
    click.echo(f"authgate: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def fail(message: str, hint: str = "", code: int = 1) -> NoReturn:
    """Complain and end the command.

    Args:
        code: 1 for "no" or "failed", 2 for usage or configuration.
    """
    complain(message, hint)
    raise SystemExit(code)


def report(error: ConfigError) -> NoReturn:
    """Print every problem of a refused configuration and end the command with 2."""
    for problem in error.problems:
        complain(f"{problem.place}: {problem.message}" if problem.place else problem.message, problem.hint)
    raise SystemExit(2)
