"""`decide` says what the slow reference says, and what it says keeps some order whatever the policy."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import assume, given, note
from hypothesis import strategies as st

from authgate.model import NOBODY, Facts, Identity, Need, Outcome, Reason
from authgate.pdp import settle
from tests.properties.amounts import tried
from tests.properties.reference import Atom, Table, Verdict, atoms, is_canonical, matching
from tests.properties.worlds import (
    MILD,
    Choices,
    World,
    choices,
    compile_tables,
    decided,
    identity,
    referred,
    request,
    rule,
    rules,
    term,
    world,
)

_T = TypeVar("_T")


def asked_of(tables: Sequence[Table], asked: World) -> Verdict:
    return decided(compile_tables(tables), asked)


def allows(tables: Sequence[Table], asked: World) -> bool:
    return asked_of(tables, asked).outcome is Outcome.ALLOW


@tried(800)
@given(choices())
def test_a_decision_is_what_the_reference_says(chosen: Choices) -> None:
    tables = rules(chosen)
    policy = compile_tables(tables)
    for _ in range(5):
        asked = world(chosen, tables)
        note(f"{tables}\n{asked}")
        assert decided(policy, asked) == referred(tables, asked)


@tried(300)
@given(choices())
def test_a_decision_is_the_same_again_and_when_the_identity_is_known_before(chosen: Choices) -> None:
    tables = rules(chosen)
    policy, asked = compile_tables(tables), world(chosen, tables)

    verdict = decided(policy, asked)

    assert decided(policy, asked) == verdict
    assert asked_of(tables, asked) == verdict
    assert decided(policy, asked, known=True)._replace(identity=verdict.identity) == verdict


@tried(200)
@given(choices())
def test_each_decision_ends_and_asks_for_no_fact_twice(chosen: Choices) -> None:
    tables = rules(chosen, most=8)
    asked = world(chosen, tables)
    needed: list[Need] = []

    async def fetch(need: Need, facts: Facts) -> Facts:
        needed.append(need)
        if need.use:
            return facts._replace(use=asked.use)
        if need.call is None:
            return facts._replace(identity=asked.who)
        return facts._replace(answers={**facts.answers, need.call: asked.says(need.call)})

    decision = asyncio.run(settle(compile_tables(tables), asked.request, Facts(link=asked.link), fetch))

    assert decision.reason is referred(tables, asked).reason
    assert len({(need.call, need.use) for need in needed}) == len(needed)


@tried(300)
@given(choices(), st.none() | st.text(alphabet="/.a\0\x1f\x7f\udc80\n%", max_size=12))
def test_no_path_with_two_readings_is_allowed_whatever_the_rules(chosen: Choices, path: str | None) -> None:
    tables = [{"name": "all", "paths": ["/**", "re:.*", r"re:\C*"], "allow": ["anyone"]}, *rules(chosen)]
    asked = world(chosen, tables)
    asked = asked if path is None else asked._replace(request=asked.request._replace(path=path))
    assume(not is_canonical(asked.request.path))

    assert asked_of(tables, asked)[:2] == (Outcome.REFUSE, Reason.AMBIGUOUS_PATH)


@tried(300)
@given(choices())
def test_one_more_deny_never_allows_more(chosen: Choices) -> None:
    tables = rules(chosen)
    asked = world(chosen, tables)
    number = chosen.of(range(len(tables)))
    denying = [*tables[number].get("deny", [])]
    denying.insert(chosen.of(range(len(denying) + 1)), term(chosen))
    stricter = [*tables[:number], {**tables[number], "deny": denying}, *tables[number + 1 :]]

    assert allows(tables, asked) or not allows(stricter, asked)


@tried(300)
@given(choices())
def test_a_guard_anywhere_never_allows_more(chosen: Choices) -> None:
    tables = rules(chosen)
    asked = world(chosen, tables)
    guard = {"name": "guard", **rule(chosen, guard=True)}
    number = chosen.of(range(len(tables) + 1))

    assert allows(tables, asked) or not allows([*tables[:number], guard, *tables[number:]], asked)


@tried(300)
@given(choices())
def test_one_allow_less_never_allows_more(chosen: Choices) -> None:
    tables = rules(chosen)
    asked = world(chosen, tables, MILD)
    fewer = [
        {**table, "allow": table["allow"][1:]} if table.get("allow") and chosen.yes() else table for table in tables
    ]

    assert allows(tables, asked) or not allows(fewer, asked)


@tried(300)
@given(choices())
def test_a_rule_behind_the_one_that_decided_changes_nothing(chosen: Choices) -> None:
    tables = rules(chosen)
    asked = world(chosen, tables)
    verdict = asked_of(tables, asked)
    assume(verdict.rule or verdict.reason in {Reason.AMBIGUOUS_PATH, Reason.UNKNOWN_HOST})

    assert asked_of([*tables, {"name": "last", **rule(chosen)}], asked) == verdict


@tried(300)
@given(choices())
def test_rules_about_other_requests_do_not_matter(chosen: Choices) -> None:
    tables = rules(chosen, most=10)
    asked = world(chosen, tables)
    assume(is_canonical(asked.request.path))
    about = [table for table in tables if matching(table, asked.request) is not None]

    assert asked_of(about, asked) == asked_of(tables, asked)


@tried(300)
@given(choices())
def test_the_order_of_terms_and_atoms_does_not_matter(chosen: Choices) -> None:
    tables = rules(chosen)
    asked = world(chosen, tables, MILD)

    def turned(texts: Sequence[str]) -> list[str]:
        written = [" & ".join(_written(atom) for atom in _turned(chosen, atoms(text))) for text in texts]
        return [*_turned(chosen, written)]

    other = [{**table, **{key: turned(table[key]) for key in ("deny", "allow") if key in table}} for table in tables]

    assert asked_of(other, asked)[:3] == asked_of(tables, asked)[:3]


def _turned(chosen: Choices, items: Sequence[_T]) -> Sequence[_T]:
    return [*items[1:], *items[:1]] if chosen.yes() else [*reversed(items)]


def _written(atom: Atom) -> str:
    kind, value = atom.kind, atom.value
    if kind == "claim":
        value = '="'.join(value.split("=", 1)) + '"'
    elif kind in {"user", "group"}:
        value = f'"{value}"'
    return "!" * atom.negated + (f"{kind}:{value}" if value else kind)


@tried(300)
@given(choices())
def test_what_is_allowed_though_something_is_unknown_is_allowed_whatever_that_is(chosen: Choices) -> None:
    tables = rules(chosen)
    less = known = world(chosen, tables, MILD)
    if chosen.yes():
        less = less._replace(request=less.request._replace(address=None))
        known = known._replace(request=known.request._replace(address=request(chosen, tables).address))
    subject = known.who.subject
    if chosen.yes(3):
        less = less._replace(who=Identity(None, less.who.credential, Reason.STORE_UNAVAILABLE))
        known = known._replace(who=identity(chosen))
    elif subject is not None and not subject.is_anonymous:
        less = less._replace(who=less.who._replace(subject=subject._replace(groups=None)))

    assert allows(tables, known) or not allows(tables, less)


@tried(300)
@given(choices())
def test_one_group_less_never_allows_more_where_groups_only_help(chosen: Choices) -> None:
    tables = [
        {**table, **{key: [_helping(text, key) for text in table[key]] for key in ("deny", "allow") if key in table}}
        for table in rules(chosen)
    ]
    asked = world(chosen, tables, MILD)
    subject = asked.who.subject
    if subject is None or not subject.groups:
        return
    fewer = subject._replace(groups=frozenset(sorted(subject.groups)[1:]))

    assert allows(tables, asked) or not allows(tables, asked._replace(who=asked.who._replace(subject=fewer)))


def _helping(text: str, key: str) -> str:
    parts = [atom._replace(negated=key == "deny") if atom.kind == "group" else atom for atom in atoms(text)]
    return " & ".join(map(_written, parts))


@tried(300)
@given(choices())
def test_who_is_refused_without_a_login_would_pass_as_nobody_else(chosen: Choices) -> None:
    tables = rules(chosen, handlers=False)
    asked = world(chosen, tables)._replace(who=NOBODY)
    verdict = asked_of(tables, asked)
    assume(verdict.rule and verdict.outcome is Outcome.REFUSE)
    (decisive,) = [table for table in tables if table["name"] == verdict.rule]

    for _ in range(5):
        somebody = asked._replace(who=identity(chosen))
        assert not allows([decisive], somebody)
