"""The command ``authgate``. Each subcommand is imported only when it is asked for: `user list` needs no server."""

from importlib import import_module

import click

from authgate import __version__

# Subcommand -> the module that defines it, under the same name.
_SUBCOMMANDS = {
    "check": "authgate.cli.check",
    "cookie": "authgate.cli.cookie",
    "demo": "authgate.cli.demo",
    "explain": "authgate.cli.explain",
    "init": "authgate.cli.init",
    "key": "authgate.cli.key",
    "link": "authgate.cli.link",
    "reload": "authgate.cli.reload",
    "rewritemap": "authgate.cli.rewritemap",
    "serve": "authgate.cli.serve",
    "session": "authgate.cli.session",
    "snippet": "authgate.cli.snippet",
    "token": "authgate.cli.token",
    "user": "authgate.cli.user",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        module = _SUBCOMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(module), cmd_name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="authgate", message="%(prog)s %(version)s")
def main() -> None:
    """Ask, for every request to nginx: may this one pass?"""
