"""Rehearsed requests are decided as real ones are."""

import asyncio

from authgate.handlers import Handlers
from authgate.model import NOBODY, Decision, HandlerCall, Outcome, Reason, allow, deny
from authgate.pdp import MAX_FACTS
from authgate.rehearsal import Asking, Rehearsed, rehearse, rehearse_recorded
from tests.policies import compiled, local, request


def rehearsed(*rules: dict[str, object], asking: Asking) -> Rehearsed:
    async def main() -> Rehearsed:
        handlers = Handlers({"h::f": lambda _: None})
        try:
            return await rehearse(compiled(*rules), handlers, asking)
        finally:
            await handlers.close()

    return asyncio.run(main())


def test_the_rules_that_were_looked_at_come_with_the_decision() -> None:
    decision, looked = rehearsed(
        {"paths": ["/{a}"], "deny": ["user:mallory"]},
        {"paths": ["/y"], "allow": ["anyone"]},
        {"paths": ["/**"], "allow": ["user:alice"]},
        {"paths": ["/**"], "allow": ["anyone"]},
        asking=Asking(request("/x"), local("alice")),
    )

    assert (decision.outcome, decision.rule) == (Outcome.ALLOW, "r2")
    assert [(one.rule.name, dict(one.asked.captures)) for one in looked] == [("r0", {"a": "x"}), ("r2", {})]


def test_more_facts_than_any_decision_may_need_are_a_refusal() -> None:
    guards: list[dict[str, object]] = [{"paths": ["/**"], "deny": ["handler:h::f"]} for _ in range(MAX_FACTS)]

    decision = rehearsed(*guards, asking=Asking(request(), NOBODY)).decision

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)
    assert "over 64 facts" in decision.detail
    assert rehearsed(*guards[1:], asking=Asking(request(), NOBODY)).decision.reason is Reason.NO_RULE


def recorded(answers: dict[HandlerCall, Decision | None]) -> Rehearsed:
    rules: list[dict[str, object]] = [
        {"paths": ["/**"], "deny": ["handler:h::f"]},
        {"paths": ["/**"], "allow": ["handler:h::f"]},
    ]
    return asyncio.run(rehearse_recorded(compiled(*rules), Asking(request(), local("alice")), answers))


def test_what_handlers_said_then_decides_a_request_of_the_past() -> None:
    said = {HandlerCall("h::f", "r0"): None, HandlerCall("h::f", "r1"): allow()}

    decision, looked = recorded(said)

    assert (decision.outcome, decision.rule) == (Outcome.ALLOW, "r1")
    assert [one.rule.name for one in looked] == ["r0", "r1"]
    decision = recorded({HandlerCall("h::f", "r0"): deny("no")}).decision
    assert (decision.reason, decision.detail) == (Reason.DENIED_BY_RULE, "no")


def test_handler_that_was_not_asked_then_is_not_asked_now() -> None:
    decision = recorded({HandlerCall("h::f", "r0"): None}).decision

    assert (decision.outcome, decision.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)
    assert decision.detail == "it was not asked then, and is not asked now"
