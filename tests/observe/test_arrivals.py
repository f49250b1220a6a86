"""What `serve --log-requests` says: all that arrived, and nothing that a reader of logs could use."""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

import pytest

from authgate.observe.arrivals import Asgi, log_arrivals, masked

ANSWER = [(b"x-authgate-reason", b"login_required"), (b"location", b"https://x/authgate/login?next=/a%3Fag%3Dsecret")]


def answering(status: int, *, fails: bool = False) -> Asgi:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if fails:
            raise LookupError("no app")
        await send({"type": "http.response.start", "status": status, "headers": iter(ANSWER)})
        await send({"type": "http.response.body", "body": b""})

    return app


def ask(app: Asgi, *headers: tuple[str, str]) -> list[MutableMapping[str, Any]]:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    asyncio.run(_call(app({"method": "GET", "path": "/check", "headers": raw}, receive, send)))
    return sent


async def _call(awaitable: Any) -> None:
    await awaitable


def test_question_and_answer_are_one_entry(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "authgate"):
        sent = ask(log_arrivals(answering(401)), ("x-authgate-path", "/a"), ("cookie", "authgate=secret; theme=dark"))

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["headers"] == ANSWER
    (message,) = caplog.messages
    assert message.splitlines() == [
        "asked: GET /check",
        "  X-Authgate-Path: /a",
        "  Cookie: authgate=***; theme=***",
        "answered: 401",
        "  X-Authgate-Reason: login_required",
        "  Location: https://x/authgate/login?next=***",
    ]


def test_question_without_an_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "authgate"), pytest.raises(LookupError):
        ask(log_arrivals(answering(200, fails=True)), ("x-authgate-path", "/a"))

    assert caplog.messages == ["asked: GET /check\n  X-Authgate-Path: /a"]


MASKED = [
    ("cookie", "__Host-authgate=s3; a=b=c", "__Host-authgate=***; a=***"),
    ("cookie", "s3cret", "***"),
    ("cookie", "=s3cret;;x", "***; ***; ***"),
    ("cookie", "s3 cret=x", "***"),
    ("cookie", f"{'s' * 200}=x", "***"),
    ("authorization", "Basic s3", "Basic ***"),
    ("authorization", "bearer  s3 s4", "bearer ***"),
    ("authorization", "s3cret", "***"),
    ("authorization", "s3cr3t_token== x", "***"),
    ("x-authgate-query", "ag=s3&page=2", "ag=***&page=***"),
    ("x-authgate-query", "s3cret", "***"),
    ("x-authgate-uri", "/a?ag=s3#s4", "/a?ag=***#***"),
    ("x-authgate-target", "/a%2f..?b?x=s4", "/a%2f..?b?x=***"),
    ("referer", "https://alice:s3@x.example/a?b=s4", "https://***@x.example/a?b=***"),
    ("referer", "https://x.example/a@b", "https://x.example/a@b"),
    ("referer", "", ""),
    ("x-api-key", "s3", "*** (not shown; authgate does not look at it)"),
    ("set-cookie", "a=s3", "*** (not shown; authgate does not look at it)"),
    ("X-Authgate-Path", "/a b", "/a b"),
    ("user-agent", "curl\x1b[31m\n\x9b\u202e", "curl\\x1b[31m\\n\\x9b\\u202e"),
    ("accept", "x" * 5000, "x" * 1000 + "..."),
]


@pytest.mark.parametrize(("name", "value", "shown"), MASKED)
def test_secrets_are_masked(name: str, value: str, shown: str) -> None:
    assert masked(name, value) == shown


def test_bytes_that_are_not_utf_8_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "authgate"):
        ask(log_arrivals(answering(403)), ("x-authgate-path", "/\xff"), ("x-\xff\n", "x"), ("x-authgate-path", "/Ã¤"))

    assert "  X-Authgate-Path: /\\udcff\n" in caplog.text
    assert "  X-\\Xff" not in caplog.text
    assert "  X-Authgate-Path: /ä\n" in caplog.text
    assert "\n\n" not in caplog.messages[0]


def test_link_is_masked_wherever_it_stands() -> None:
    link = f"{'eyJh' * 10}.{'eyJp' * 30}.{'s' * 43}"
    fields = {
        "x-authgate-path": f"/authgate-link/{link}/videos/x",
        "x-authgate-uri": f"/Authgate-Link/{link[:70]}/videos/x?ag={link}",
        "x-authgate-target": f"/%61uthgate-link/{link}/videos/x",
        "x-authgate-query": f"ag={link}&{link}=1",
        "referer": f"https://x/authgate-link/{link}/",
        "location": f"https://x/authgate/login?next=/authgate-link/{link}/",
        "user-agent": link,
    }

    shown = {name: masked(name, value) for name, value in fields.items()}

    assert not any("eyJhe" in text or "sss" in text for text in shown.values()), shown
    assert shown["x-authgate-path"] == "/authgate-link/***/videos/x"
    assert shown["x-authgate-uri"] == "/Authgate-Link/***/videos/x?ag=***"
