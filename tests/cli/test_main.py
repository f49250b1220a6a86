"""The command as a whole."""

import subprocess
import sys

from click.testing import CliRunner

import authgate
from authgate.cli import main
from tests import servers


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"authgate {authgate.__version__}\n"


def test_help_lists_every_subcommand() -> None:
    lines = CliRunner().invoke(main, ["--help"]).output.partition("Commands:\n")[2].splitlines()

    assert [line.split()[0] for line in lines] == [
        "check",
        "cookie",
        "demo",
        "explain",
        "init",
        "key",
        "link",
        "reload",
        "rewritemap",
        "serve",
        "session",
        "snippet",
        "token",
        "user",
    ]
    assert all(len(line.split()) > 3 for line in lines)


def test_unknown_subcommand_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["sevre"])

    assert result.exit_code == 2
    assert "No such command 'sevre'" in result.output


def test_managing_users_does_not_load_the_server() -> None:
    code = (
        "import sys; from authgate.cli import main; main(['user', '--help'], standalone_mode=False); "
        "sys.exit(bool({'uvicorn', 'starlette', 'jinja2'} & set(sys.modules)))"
    )

    subprocess.run([sys.executable, "-c", code], cwd=servers.PACKAGE_ROOT, check=True, stdout=subprocess.DEVNULL)


def test_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "authgate", "--version"]

    assert subprocess.check_output(command, cwd=servers.PACKAGE_ROOT, text=True).startswith("authgate ")
