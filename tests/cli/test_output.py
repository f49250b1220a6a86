"""What the command line says when something is wrong."""

import pytest

from authgate.cli.output import fail, report
from authgate.errors import ConfigError, Problem


def test_failure_goes_to_stderr_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail("it did not work", "try again")

    assert ended.value.code == 1
    assert capsys.readouterr() == ("", "authgate: it did not work\nhint: try again\n")


def test_no_hint_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail("it did not work", code=2)

    assert ended.value.code == 2
    assert capsys.readouterr().err == "authgate: it did not work\n"


def test_report_prints_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem("authgate.toml: store", "not valid", 'write "memory:"'), Problem("groups: line 2", "no colon")]

    with pytest.raises(SystemExit) as ended:
        report(ConfigError(problems))

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        'authgate: authgate.toml: store: not valid\nhint: write "memory:"\nauthgate: groups: line 2: no colon\n'
    )
