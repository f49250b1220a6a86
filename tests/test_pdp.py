"""The decision point fetches what a rule needs, and denies whatever goes wrong."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from authgate.config import parse
from authgate.credentials import Credentials, Presented
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import KIND, Sessions, decode
from authgate.handlers import Handlers
from authgate.model import NOBODY, AccessRequest, Decision, Identity, Outcome, Reason, Site, allow, deny, login
from authgate.observe.audit import Audit
from authgate.observe.metrics import SLOTS, Counts, create_board
from authgate.pdp import Pdp
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import cheap, logins, users
from tests.policies import SITES, compiled, request

NOTHING = Presented("", "")
PUBLIC_AND_PRIVATE = (
    {"paths": ["/public/**"], "allow": ["anyone"]},
    {"paths": ["/**"], "allow": ["authenticated"]},
)


class Counting(Credentials):
    """Credentials that count how often they are verified, and may do something else instead."""

    def __init__(self, sessions: Sessions, basic: BasicVerifier) -> None:
        super().__init__(sessions, basic)
        self.verified = 0
        self.instead: Callable[[], Identity | None] | None = None

    def peek(self, presented: Presented, site: Site) -> Identity | None:
        return self.instead() if self.instead else super().peek(presented, site)

    async def verify(self, presented: Presented, site: Site) -> Identity:
        self.verified += 1
        return await super().verify(presented, site)


def credentials(folder: Path) -> Counting:
    clock = MovableClock()
    people = users(folder, f"alice:{cheap('secret')}\n")
    store = MemoryStore(clock)
    sessions = Sessions(CachedRecords(store, KIND, decode, 10), store, people, 60, 600, clock)
    return Counting(sessions, BasicVerifier(people, logins(people, Passwords(people)), clock))


def evaluate(known: Credentials, asked: AccessRequest, presented: Presented) -> Decision:
    return asyncio.run(Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, known).evaluate(asked, presented)).decision


def test_a_credential_is_verified_when_the_rule_looks_at_identity(tmp_path: Path) -> None:
    presented = Presented("", "Basic YWxpY2U6c2VjcmV0")

    known = credentials(tmp_path)

    decision = evaluate(known, request("/x"), presented)

    assert decision.allowed
    assert known.verified == 1
    assert decision.identity.subject is not None
    assert decision.identity.subject.name == "alice"


def test_junk_on_a_public_path_costs_no_look_into_the_store_and_no_hash(tmp_path: Path) -> None:
    known = credentials(tmp_path)

    decision = evaluate(known, request("/public/x"), Presented("authgate=junk", "Basic anVuazpqdW5r"))

    assert decision.allowed
    assert known.verified == 0


def test_an_error_while_deciding_denies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Identity | None:
        raise RuntimeError("broken")

    known = credentials(tmp_path)
    known.instead = broken

    decision = evaluate(known, request("/x"), NOTHING)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)
    assert "RuntimeError: broken" in caplog.text


def test_an_error_while_deciding_from_memory_denies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Identity | None:
        raise RuntimeError("broken")

    known = credentials(tmp_path)
    known.instead = broken

    given = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, known).evaluate_at_once(request("/x"), NOTHING)

    assert given is not None
    assert (given.decision.outcome, given.decision.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)
    assert "RuntimeError: broken" in caplog.text


def test_a_credential_that_takes_too_long_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = credentials(tmp_path)
    known.__class__ = Stuck
    known.instead = lambda: None
    monkeypatch.setattr("authgate.pdp.DECISION_DEADLINE", 0.01)

    decision = evaluate(known, request("/x"), NOTHING)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.BUSY)


def test_every_decision_has_an_id_of_its_own_that_names_the_node(tmp_path: Path) -> None:
    pdp = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, credentials(tmp_path), node="web1")

    ids = {asyncio.run(pdp.evaluate(request("/public/x"), NOTHING)).id for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch("web1-[0-9a-f]{12}", name) for name in ids)


def handled(folder: Path, *functions: Callable[[AccessRequest], object], presented: Presented = NOTHING) -> Decision:
    """Decide with a policy whose only term asks these one after the other."""
    term = " & ".join(f"handler:site::f{index}" for index in range(len(functions)))
    policy = compiled({"paths": ["/{owner}/**"], "allow": [term], "options": {"limit": 3}})

    async def run() -> Decision:
        handlers = Handlers({f"site::f{index}": function for index, function in enumerate(functions)})
        answer = await Pdp(policy, SITES, credentials(folder), handlers).evaluate(request("/bob/x"), presented)
        await handlers.close()
        return answer.decision

    return asyncio.run(run())


def test_a_handler_is_told_who_asks_and_what_the_rule_says(tmp_path: Path) -> None:
    found: list[AccessRequest] = []

    def note(asked: AccessRequest) -> Decision:
        found.append(asked)
        return allow()

    decision = handled(tmp_path, note, presented=Presented("", "Basic YWxpY2U6c2VjcmV0"))

    assert decision.allowed
    (asked,) = found
    assert (asked.subject.name, asked.rule, asked.captures, asked.options) == (
        "alice", "r0", {"owner": "bob"}, {"limit": 3},
    )  # fmt: skip


def test_a_handler_is_told_that_nobody_asks(tmp_path: Path) -> None:
    decision = handled(tmp_path, lambda asked: login() if asked.subject.is_anonymous else allow())

    assert (decision.outcome, decision.reason) == (Outcome.LOGIN, Reason.LOGIN_REQUIRED)


def test_handlers_of_one_term_are_asked_until_one_does_not_allow(tmp_path: Path) -> None:
    asked: list[str] = []

    def noting(name: str, answer: Decision) -> Callable[[AccessRequest], Decision]:
        def f(_: AccessRequest) -> Decision:
            asked.append(name)
            return answer

        return f

    decision = handled(tmp_path, noting("a", allow()), noting("b", deny("no ticket")), noting("c", allow()))

    assert (decision.reason, decision.detail) == (Reason.DENIED_BY_RULE, "no ticket")
    assert asked == ["a", "b"]


def test_handlers_that_take_long_together_end_with_the_time_of_a_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("authgate.pdp.DECISION_DEADLINE", 0.05)

    async def quick(_: AccessRequest) -> Decision:
        return allow()

    async def slow(_: AccessRequest) -> None:
        await asyncio.Event().wait()

    decision = handled(tmp_path, quick, slow)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)
    assert "a decision took over 0.05 s: handler_error" in caplog.text


def test_a_handler_that_ends_the_process_ends_only_its_decision(tmp_path: Path) -> None:
    async def leave(_: AccessRequest) -> None:
        raise SystemExit(3)

    decision = handled(tmp_path, leave)

    assert (decision.outcome, decision.reason, decision.rule) == (Outcome.REFUSE, Reason.HANDLER_ERROR, "r0")


def test_a_rule_whose_handler_is_not_loaded_refuses(tmp_path: Path) -> None:
    policy = compiled({"paths": ["/**"], "allow": ["handler:site::f"]})

    decision = asyncio.run(Pdp(policy, SITES, credentials(tmp_path)).evaluate(request(), NOTHING)).decision

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)


class Stuck(Counting):
    """Credentials that memory cannot judge and nobody ever will."""

    async def verify(self, presented: Presented, site: Site) -> Identity:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def test_whoever_wants_to_know_who_asks_is_told_where_no_rule_looks(tmp_path: Path) -> None:
    presented = Presented("", "Basic YWxpY2U6c2VjcmV0")
    pdp = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, credentials(tmp_path))

    async def run() -> tuple[Decision, Decision | None]:
        first = await pdp.evaluate(request("/public/x"), presented, identity_wanted=True)
        then = pdp.evaluate_at_once(request("/public/x"), presented, identity_wanted=True)
        return first.decision, then.decision if then else None

    first, then = asyncio.run(run())

    assert then is not None
    assert [decision.identity.subject and decision.identity.subject.name for decision in (first, then)] == ["alice"] * 2


def test_what_memory_does_not_know_is_not_told_at_once(tmp_path: Path) -> None:
    presented = Presented("", "Basic YWxpY2U6c2VjcmV0")
    pdp = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, credentials(tmp_path))

    assert pdp.evaluate_at_once(request("/public/x"), presented, identity_wanted=True) is None
    assert pdp.evaluate_at_once(request("/public/x"), presented) is not None


def test_a_public_path_stays_public_when_it_takes_too_long_to_find_out_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = credentials(tmp_path)
    known.__class__ = Stuck
    known.instead = lambda: None
    monkeypatch.setattr("authgate.pdp.DECISION_DEADLINE", 0.01)
    pdp = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, known)

    decision = asyncio.run(pdp.evaluate(request("/public/x"), NOTHING, identity_wanted=True)).decision

    assert decision.allowed
    assert decision.identity == NOBODY


def audited(folder: Path, *, allows: bool) -> list[dict[str, object]]:
    """Return what is written down of one allowed request, one refused and one that was no request."""
    settings = parse(
        {
            "sites": [{"origin": "https://files.example.com"}],
            "audit": {"file": "audit.log", "allows": allows},
            "node": "web1",
        },
        folder / "authgate.toml",
    )
    audit = Audit(settings)
    board = create_board()
    row = board.allot()
    assert row is not None
    pdp = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, credentials(folder), node="web1", counts=Counts(row), audit=audit)
    pdp.evaluate_at_once(request("/public/x"), NOTHING)
    asyncio.run(pdp.evaluate(request("/x"), NOTHING))
    pdp.refuse(Reason.MISSING_PATH)
    audit.close()
    lines = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    assert sum(board.totals()[slot] for slot in range(SLOTS.decisions, SLOTS.waits)) == 3
    return lines


def test_refusals_are_written_down_and_everything_is_counted(tmp_path: Path) -> None:
    refused, unreadable = audited(tmp_path, allows=False)

    assert (refused["path"], refused["reason"], unreadable["reason"]) == ("/x", "login_required", "missing_path")


def test_allowed_requests_are_written_down_when_that_is_wanted(tmp_path: Path) -> None:
    assert [line["reason"] for line in audited(tmp_path, allows=True)] == ["allowed", "login_required", "missing_path"]
