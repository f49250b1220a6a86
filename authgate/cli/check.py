"""``authgate check``: is the configuration sound, does it mean what it says, and do its ``[[tests]]`` pass?

The object that ``--json`` prints has these keys:

* ``good``: true when the command ends with 0;
* ``problems``, ``warnings``: place, message, hint; with a problem the configuration is refused, and the keys below are
  not there;
* ``rules``: how many there are; ``untested``: names of those that no test reaches;
* ``tests``: place, request, as (null for nobody), expect, rule (null for any), passed, outcome, reason, by (the rule
  that decided, or null), detail (of a handler), explain (the command that says why).
"""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from authgate.app import examine
from authgate.cli.configuration import config_option, load_found
from authgate.cli.output import complain, quiet_log, report, visible
from authgate.cli.rehearsing import run_with_handlers
from authgate.config import PolicyTest, Settings
from authgate.errors import ConfigError, Problem
from authgate.handlers import Handlers, load_handlers
from authgate.model import CredentialKind
from authgate.policy.rules import Rule
from authgate.policy.warnings import find_warnings
from authgate.rehearsal import LocalGroups, Tried, outcome_name, prepare, read_groups, run_tests, untested

# How many rules without a test are named: a policy of thousands would fill the terminal with them.
_FEW = 20

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Findings:
    """Everything about a configuration that can be run."""

    settings: Settings
    warnings: Sequence[Problem]
    tried: Sequence[Tried]
    untested: Sequence[Rule]

    @property
    def failed(self) -> list[Tried]:
        return [one for one in self.tried if not one.passed]

    def is_good(self, *, strict: bool) -> bool:
        return not self.failed and not (strict and (self.warnings or self.untested or not self.tried))


@click.command
@click.option("--strict", is_flag=True, help="Fail for warnings, for rules that no test reaches and without any test.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
@config_option
def check(strict: bool, json_wanted: bool, config: Path | None) -> None:
    """Check the configuration and run its tests; nothing is changed.

    Ends with 2 when the configuration is refused and with 1 when a test fails. Handlers are really asked.
    """
    quiet_log()
    try:
        findings = _find_out(load_found(config))
    except ConfigError as error:
        _refuse(error, json_wanted=json_wanted)
    good = findings.is_good(strict=strict)
    if json_wanted:
        click.echo(_as_json(findings, config, good=good))
    else:
        _print(findings, config, strict=strict)
    raise SystemExit(0 if good else 1)


def _find_out(settings: Settings) -> _Findings:
    """Look at all that the configuration names, and run its tests.

    Raises:
        ConfigError: with the problems of handlers, user files and tests together.
    """
    problems: list[Problem] = []
    _gather(lambda: load_handlers(settings.policy.handlers, settings.path.parent), problems)
    _gather(lambda: examine(settings), problems)
    groups: LocalGroups = None if problems else read_groups(settings)
    prepared = _gather(lambda: prepare(settings, groups, time.time()), problems)
    if problems or prepared is None:
        raise ConfigError(problems)

    async def run(handlers: Handlers) -> tuple[Tried, ...]:
        return await run_tests(settings.policy, handlers, prepared)

    tried = run_with_handlers(settings, run)
    return _Findings(settings, find_warnings(settings.policy), tried, untested(settings.policy, tried))


def _gather(look: Callable[[], _Result], problems: list[Problem]) -> _Result | None:
    try:
        return look()
    except ConfigError as error:
        problems += error.problems
        return None


def _refuse(error: ConfigError, *, json_wanted: bool) -> NoReturn:
    if not json_wanted:
        report(error)
    click.echo(json.dumps({"good": False, "problems": [_problem(problem) for problem in error.problems]}, indent=2))
    raise SystemExit(2)


def _print(findings: _Findings, config: Path | None, *, strict: bool) -> None:
    for warning in findings.warnings:
        complain(f"warning: {warning.place}: {warning.message}", warning.hint)
    for one in findings.failed:
        complain(f"{one.test.place} failed: {visible(_asked(one.test))}")
        click.echo(f"  expected  {_expected(one.test)}", err=True)
        click.echo(f"  came out  {visible(_came_out(one))}", err=True)
        click.echo(f"hint: {explain_command(one.test, config)}", err=True)
    if findings.tried and findings.untested:
        names = [f'"{rule.name}"' for rule in findings.untested[:_FEW]]
        more = f" and {len(findings.untested) - _FEW} more" if len(findings.untested) > _FEW else ""
        complain(f"no test reaches {_count(len(findings.untested), 'rule')}: {', '.join(names)}{more}")
    if strict and not findings.tried:
        complain("there are no tests", 'write [[tests]] with request = "GET https://..." and expect = "refuse"')
    click.echo(_summary(findings))


def _summary(findings: _Findings) -> str:
    tests = _count(len(findings.tried), "test")
    if findings.failed:
        tests += f" ({len(findings.failed)} failed)"
    counts = [_count(len(findings.settings.policy.rules), "rule"), tests, _count(len(findings.warnings), "warning")]
    return f"{findings.settings.path.name}: {', '.join(counts)}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _asked(test: PolicyTest) -> str:
    return f"{test.request} as {test.subject}" if test.subject else f"{test.request} as nobody"


def _expected(test: PolicyTest) -> str:
    return test.expect if test.rule is None else f'{test.expect} by "{test.rule}"'


def _came_out(one: Tried) -> str:
    decision = one.rehearsed.decision
    # Of a traceback, the line that says what went wrong.
    detail = (decision.detail.strip().splitlines() or [""])[-1]
    by = f' by "{decision.rule}"' if decision.rule else ""
    return f"{outcome_name(decision)}{by}: {decision.reason}" + (f" ({detail})" if detail else "")


def explain_command(test: PolicyTest, config: Path | None) -> str:
    """Return the command that says why a test came out as it did."""
    method, _, address = test.request.partition(" ")
    words = ["authgate", "explain", method, address.strip(" ")]
    if test.subject:
        words += ["--as", test.subject]
        for group in test.groups or ([] if test.groups is None else [""]):
            words += ["--group", group]
        for name, value in test.claims.items():
            words += ["--claim", f"{name}={value}"]
        words += [] if test.via is CredentialKind.SESSION else ["--via", test.via.value]
        words += ["--mfa"] if test.mfa else []
    words += [] if test.ip is None else ["--ip", test.ip]
    words += [] if test.at is None else ["--at", test.at.isoformat()]
    words += [] if config is None else ["--config", str(config)]
    return shlex.join(words)


def _as_json(findings: _Findings, config: Path | None, *, good: bool) -> str:
    document = {
        "good": good,
        "problems": [],
        "warnings": [_problem(warning) for warning in findings.warnings],
        "rules": len(findings.settings.policy.rules),
        "untested": [rule.name for rule in findings.untested],
        "tests": [_test(one, config) for one in findings.tried],
    }
    return json.dumps(document, indent=2)


def _problem(problem: Problem) -> dict[str, str]:
    return {"place": problem.place, "message": problem.message, "hint": problem.hint}


def _test(one: Tried, config: Path | None) -> dict[str, object]:
    test, decision = one.test, one.rehearsed.decision
    return {
        "place": test.place,
        "request": test.request,
        "as": test.subject or None,
        "expect": test.expect,
        "rule": test.rule,
        "passed": one.passed,
        "outcome": outcome_name(decision),
        "reason": decision.reason,
        "by": decision.rule or None,
        "detail": decision.detail,
        "explain": explain_command(test, config),
    }
