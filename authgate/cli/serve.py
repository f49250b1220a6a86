"""``authgate serve``: the service itself."""

from dataclasses import replace
from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_or_exit
from authgate.cli.output import report
from authgate.config import Settings, load
from authgate.errors import ConfigError
from authgate.server import log_to_stderr
from authgate.server import serve as run


@click.command
@click.option("--log-requests", is_flag=True, help="Log each question of the web server, and its answer.")
@config_option
def serve(log_requests: bool, config: Path | None) -> None:
    """Answer the web server's questions until SIGTERM; SIGHUP reads the configuration again."""
    settings = load_or_exit(config)
    log_to_stderr()

    def as_wanted(read: Settings) -> Settings:
        return replace(read, log_requests=log_requests)

    try:
        status = run(as_wanted(settings), lambda: as_wanted(load(settings.path)))
    except ConfigError as error:
        report(error)
    raise SystemExit(status)
