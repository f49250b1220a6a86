"""``authgate rewritemap``: the program that Apache's mod_rewrite asks (``RewriteMap prg:``)."""

from pathlib import Path

import click

from authgate.cli.configuration import config_option, load_found
from authgate.cli.output import report
from authgate.config import load
from authgate.errors import ConfigError
from authgate.server import log_to_stderr
from authgate.server.rewritemap import require_sessions, run, take_pipes


@click.command
@config_option
def rewritemap(config: Path | None) -> None:
    """Answer Apache's mod_rewrite, a line for each line, until standard input ends; Apache starts this."""
    questions, answers = take_pipes()
    try:
        settings = require_sessions(load_found(config))
        log_to_stderr()
        status = run(settings, lambda: require_sessions(load(settings.path)), questions, answers)
    except ConfigError as error:
        report(error)
    raise SystemExit(status)
