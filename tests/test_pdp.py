"""The decision point fetches what a rule needs, and denies whatever goes wrong."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from authgate.credentials import Credentials, Presented
from authgate.credentials.basic import BasicVerifier
from authgate.credentials.passwords import Passwords
from authgate.credentials.session import KIND, Sessions, decode
from authgate.model import AccessRequest, Decision, Identity, Outcome, Reason, Site
from authgate.pdp import Pdp
from authgate.stores.cache import CachedRecords
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import cheap, users
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
    return Counting(sessions, BasicVerifier(people, Passwords(people)))


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


def test_a_credential_that_takes_too_long_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Counting):
        async def verify(self, presented: Presented, site: Site) -> Identity:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    known = credentials(tmp_path)
    known.__class__ = Stuck
    known.instead = lambda: None
    monkeypatch.setattr("authgate.pdp.DECISION_DEADLINE", 0.01)

    decision = evaluate(known, request("/x"), NOTHING)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.BUSY)


def test_every_decision_has_an_id_of_its_own(tmp_path: Path) -> None:
    pdp = Pdp(compiled(*PUBLIC_AND_PRIVATE), SITES, credentials(tmp_path))

    ids = {asyncio.run(pdp.evaluate(request("/public/x"), NOTHING)).id for _ in range(100)}

    assert len(ids) == 100
    assert all(len(name) == 16 for name in ids)
