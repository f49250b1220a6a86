"""The option ``--config`` and where the configuration is looked for without it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from authgate.cli.output import fail, report
from authgate.config import Settings, load
from authgate.errors import ConfigError

_PLACES = (Path("authgate.toml"), Path("/etc/authgate/authgate.toml"))

_Command = TypeVar("_Command", bound=Callable[..., object])


def config_option(command: _Command) -> _Command:
    """Give a command the option ``--config`` as its argument `config`."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file; otherwise $AUTHGATE_CONFIG, ./authgate.toml, /etc/authgate/authgate.toml.",
    )(command)


def load_or_exit(path: Path | None) -> Settings:
    """Load the configuration at `path`, or where it usually is; print what is wrong and exit 2 if it is refused."""
    try:
        return load_found(path)
    except ConfigError as error:
        report(error)


def load_found(path: Path | None) -> Settings:
    """Load the configuration at `path`, or where it usually is.

    Raises:
        ConfigError: it is refused.
    """
    # Absolute: what it names is relative to its folder, and stays so if the process changes its own.
    return load((path or _find()).absolute())


def _find() -> Path:
    named = os.environ.get("AUTHGATE_CONFIG")
    if named:
        return Path(named)
    # Not Path.exists: it raises where this user may not look, such as in root's home.
    found = next((place for place in _PLACES if os.path.exists(place)), None)  # noqa: PTH110
    if found is None:
        fail(
            "no configuration found",
            "name it with --config FILE or $AUTHGATE_CONFIG, or run `authgate demo` for a first look",
            code=2,
        )
    return found
