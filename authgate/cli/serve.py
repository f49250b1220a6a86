"""``authgate serve``: the service itself."""

from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import report
from authgate.config import load
from authgate.errors import ConfigError
from authgate.server import log_to_stderr
from authgate.server import serve as run


@click.command
@config_option
def serve(config: Path | None) -> None:
    """Answer the web server's questions until SIGTERM; SIGHUP reads the configuration again."""
    settings = load_or_exit(config)
    log_to_stderr()
    try:
        status = run(settings, lambda: load(settings.path))
    except ConfigError as error:
        report(error)
    raise SystemExit(status)
