"""The same request is decided alike at every door, but for what docs/conformance.md says."""

from collections.abc import Mapping

import pytest

from authgate.config import Settings
from tests.conformance.asking import Seen, decide_all
from tests.conformance.cases import CASES, POLICIES, Case, mark
from tests.conformance.doors import DOORS
from tests.conformance.table import DIFFERENCES, Foretold, foretell, is_application
from tests.conformance.town import Town, site_of

ANY_FILE = b"<<"


@pytest.fixture(scope="session")
def decided(town: Town, settings: Mapping[str, Settings]) -> Mapping[str, object]:
    return decide_all(town, settings["inside"], CASES)


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_decides(policy: str, decided: Mapping[str, object]) -> None:
    cases = [case for case in CASES if case.policy.id == policy]

    assert [(case.id, decided[case.id], case.expected) for case in cases if decided[case.id] != case.expected] == []


@pytest.mark.parametrize("policy", POLICIES)
def test_door_answers(policy: str, seen: tuple[str, Mapping[str, Seen]]) -> None:
    door, answers = seen
    cases = [(case, foretold) for case in CASES if case.policy.id == policy and (foretold := foretell(case, door))]

    found = [problem for case, foretold in cases for problem in wrong(case, foretold, answers[case.id], door)]

    assert found == []


def wrong(case: Case, foretold: Foretold, seen: Seen, door: str) -> list[str]:
    """Say what came otherwise than foretold."""
    body = mark("application", case.path.decode()) if is_application(case, door) else case.body
    wanted = b"" if case.method == "HEAD" else body
    found = []
    if seen.decided != foretold.decided:
        found.append(f"decided: {seen.decided}, not {foretold.decided}")
    if seen.status != foretold.status:
        found.append(f"status: {seen.status}, not {foretold.status}")
    if foretold.served and seen.headers["cache-control"] != cache(case, foretold):
        found.append(f"Cache-Control: {seen.headers['cache-control']}")
    if foretold.status == 302 and not seen.headers["location"].startswith(
        f"http://{site_of(case).host}/authgate/login?"
    ):
        found.append(f"Location: {seen.headers['location']}")
    if foretold.status == 401 and not seen.headers["www-authenticate"].startswith(("Basic ", "Authgate")):
        found.append(f"WWW-Authenticate: {seen.headers['www-authenticate']}")
    if foretold.decided and foretold.decided.outcome != "allow" and seen.headers["cache-control"] != "no-store":
        found.append(f"Cache-Control of a refusal: {seen.headers['cache-control']}")
    if foretold.served and (seen.body != wanted or int(seen.headers.get("content-length", len(body))) != len(body)):
        found.append(f"body: {seen.body!r}, not {wanted!r}")
    if not foretold.served and ANY_FILE in seen.body:
        found.append(f"bytes of a file: {seen.body!r}")
    return [f"{case.id}: {text}" for text in found]


def cache(case: Case, foretold: Foretold) -> str:
    """Return the Cache-Control of what is served."""
    assert foretold.decided
    number = int(foretold.decided.rule.rpartition("/r")[2])
    return str(case.policy.rules[number].get("cache", "private, no-cache"))


@pytest.mark.parametrize("door", DOORS)
def test_at_least_three_hundred_cases_are_asked_at_each_door(door: str) -> None:
    foretold = [found for case in CASES if (found := foretell(case, door))]

    assert sum(found.decided is not None for found in foretold) >= 300
    assert sum(found.served for found in foretold) >= 100


def test_document_has_no_row_that_nothing_tries() -> None:
    tried = {difference for case in CASES for difference in case.differences}

    assert tried == DIFFERENCES.keys()
    assert all(set(cells) != {"same"} for cells in DIFFERENCES.values())


def test_decisions_can_be_told_apart_by_address() -> None:
    named = [(case.network, case.host) for case in CASES if case.network[0].isdigit()]

    assert len(set(named)) == len(named)
