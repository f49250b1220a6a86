"""The page behind a 403."""

import html

import pytest

from authgate.model import Reason
from authgate.web.wording import LINK_REFUSALS, REFUSALS
from tests.web.visitor import Visitor

DECISION = ("x-authgate-decision", "3fa1-c6bfff4b5cd9")
BASIC = ("authorization", "Basic Ym9iOmJvYi1zZWNyZXQ=")
HTML = ("accept", "text/html")


def _reason(reason: Reason) -> tuple[str, str]:
    return ("x-authgate-reason", reason.value)


@pytest.mark.parametrize("reason", list(Reason))
def test_page_says_why_and_gives_the_decision(visitor: Visitor, reason: Reason) -> None:
    response = visitor.get("/authgate/refused", [DECISION, _reason(reason)])

    temporary = reason in {Reason.BUSY, Reason.STORE_UNAVAILABLE}
    assert response.status_code == (503 if temporary else 403)
    assert ("retry-after" in response.headers) is temporary
    words = LINK_REFUSALS.get(reason, REFUSALS[reason])
    assert html.escape(words).replace("&#x27;", "&#39;") in response.text
    assert "3fa1-c6bfff4b5cd9" in response.text
    assert "2023-11-14 22:13:20 UTC" in response.text


def test_rule_stays_out_of_every_form_of_the_answer(visitor: Visitor) -> None:
    for accept in ("text/html", "application/json", "*/*"):
        headers = [("accept", accept), DECISION, _reason(Reason.NOT_ADMITTED), ("x-authgate-rule", "board-minutes")]

        assert "board-minutes" not in visitor.request("GET", "/authgate/refused", headers).text


def test_programs_get_a_line_or_a_document(visitor: Visitor) -> None:
    facts = [DECISION, _reason(Reason.NO_RULE)]

    line = visitor.request("GET", "/authgate/refused", [*facts, ("accept", "*/*")])
    document = visitor.request("GET", "/authgate/refused", [*facts, ("accept", "application/json")])

    assert line.headers["content-type"].startswith("text/plain")
    assert line.text == f"403 {REFUSALS[Reason.NO_RULE]} (decision 3fa1-c6bfff4b5cd9)\n"
    assert document.json() == {"error": "refused", "reason": "no_rule", "decision": "3fa1-c6bfff4b5cd9"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "HEAD"])
def test_refusal_of_any_method_is_explained(visitor: Visitor, method: str) -> None:
    response = visitor.request(method, "/authgate/refused", [DECISION, _reason(Reason.NO_RULE)], content=b"x" * 100_000)

    assert response.status_code == 403


def test_page_names_who_is_logged_in_and_offers_another_login(visitor: Visitor) -> None:
    stranger = visitor.get("/authgate/refused", [DECISION, _reason(Reason.NOT_ADMITTED)])
    visitor.log_in("alice")
    alice = visitor.get("/authgate/refused", [DECISION, _reason(Reason.NOT_ADMITTED)])

    assert "<dd>nobody</dd>" in stranger.text
    assert "<dd>alice</dd>" in alice.text
    assert "Log in as somebody else" in alice.text
    assert 'href="/authgate/whoami"' in alice.text


def test_refusal_costs_no_password_hash(visitor: Visitor) -> None:
    unverified = visitor.get("/authgate/refused", [DECISION, _reason(Reason.NO_RULE), BASIC])
    visitor.whoami([BASIC])
    verified = visitor.get("/authgate/refused", [DECISION, _reason(Reason.NO_RULE), BASIC])

    assert "Logged in as" not in unverified.text
    assert "<dd>bob</dd>" in verified.text


@pytest.mark.parametrize(
    "facts",
    [
        [],
        [DECISION],
        [DECISION, ("x-authgate-reason", "no_such_reason")],
        [DECISION, _reason(Reason.NO_RULE), _reason(Reason.BUSY)],
        [DECISION, ("x-authgate-reason", "")],
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json", "text/plain"])
def test_missing_or_odd_facts_still_refuse(visitor: Visitor, facts: list[tuple[str, str]], accept: str) -> None:
    response = visitor.request("GET", "/authgate/refused", [*facts, ("accept", accept)])

    assert response.status_code == 403


@pytest.mark.parametrize("text", ['"><script>alert(1)</script>', "<img src=x>", "{{ site }}", "d" * 4000])
def test_decision_cannot_bring_markup_into_the_page(visitor: Visitor, text: str) -> None:
    response = visitor.get("/authgate/refused", [("x-authgate-decision", text), _reason(Reason.NO_RULE)])

    assert "<script" not in response.text
    assert "<img" not in response.text
    assert "Site(" not in response.text
    assert len(response.content) < 8000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c6bfff4b5cd9",
        "-c6bfff4b5cd9",
        "3FA1-c6bfff4b5cd9",
        "3fa1-c6bfff4b5cd",
        "3fa1-c6bfff4b5cd9 ",
        "x" * 17 + "-c6bfff4b5cd9",
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json", "text/plain"])
def test_what_is_no_decision_is_not_shown(visitor: Visitor, text: str, accept: str) -> None:
    facts = [("x-authgate-decision", text), _reason(Reason.NO_RULE), ("accept", accept)]
    response = visitor.request("GET", "/authgate/refused", facts)

    assert "unknown" in response.text
    assert "c6bfff4b5cd" not in response.text


def test_too_many_attempts_are_the_visitors_and_not_our_trouble(visitor: Visitor) -> None:
    response = visitor.get("/authgate/refused", [DECISION, _reason(Reason.TOO_MANY_ATTEMPTS)])

    assert response.status_code == 403
    assert "retry-after" not in response.headers


def test_two_decisions_are_none(visitor: Visitor) -> None:
    response = visitor.get("/authgate/refused", [DECISION, ("x-authgate-decision", "other"), _reason(Reason.NO_RULE)])

    assert "<code>unknown</code>" in response.text
