"""Where the configuration is looked for, and what is said when it is refused."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from authgate.cli import configuration
from authgate.cli.configuration import config_option, load_or_exit

CONTENT = '[[sites]]\norigin = "https://files.example.com"\n'


@click.command
@config_option
def show(config: Path | None) -> None:
    """Print which file was loaded."""
    click.echo(load_or_exit(config).path)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, on a machine without a configuration of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHGATE_CONFIG", raising=False)
    monkeypatch.setattr(configuration, "_PLACES", (Path("authgate.toml"), tmp_path / "etc" / "authgate.toml"))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(show, arguments)


def write(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONTENT)
    return path


def test_option_comes_before_all_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHGATE_CONFIG", str(write(folder / "environment.toml")))
    write(folder / "authgate.toml")
    option = write(folder / "option.toml")

    assert run("--config", str(option)).output == f"{option}\n"


def test_environment_comes_before_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = write(folder / "environment.toml")
    monkeypatch.setenv("AUTHGATE_CONFIG", str(environment))
    write(folder / "authgate.toml")

    assert run().output == f"{environment}\n"


def test_folder_comes_before_the_machine(folder: Path) -> None:
    write(folder / "etc" / "authgate.toml")
    here = write(folder / "authgate.toml")

    assert run().output == f"{here}\n"


def test_machine_comes_last(folder: Path) -> None:
    assert run().exit_code == 2

    machine = write(folder / "etc" / "authgate.toml")

    assert run().output == f"{machine}\n"


def test_relative_option_is_made_absolute(folder: Path) -> None:
    write(folder / "option.toml")

    assert run("--config", "option.toml").output == f"{folder / 'option.toml'}\n"


def test_none_at_all_is_a_usage_error_with_a_hint() -> None:
    result = run()

    assert result.exit_code == 2
    assert result.stderr.startswith("authgate: no configuration found\nhint: name it with --config FILE")


def test_named_file_that_is_missing_is_not_looked_for_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "authgate.toml")
    monkeypatch.setenv("AUTHGATE_CONFIG", str(folder / "missing.toml"))

    result = run()

    assert result.exit_code == 2
    assert "missing.toml: no such file or directory" in result.stderr


def test_every_problem_is_printed_with_its_hint(folder: Path) -> None:
    (folder / "authgate.toml").write_text(f'realm = 7\nstroe = "memory:"\n{CONTENT}')

    result = run()

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("authgate: authgate.toml: ") == 2
    assert 'authgate: authgate.toml: stroe: unknown key\nhint: did you mean "store"?\n' in result.stderr
