"""A handler's answer counts for what it says; whatever else it does ends with the handler."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import MappingProxyType, ModuleType

import pytest

from authgate.errors import ConfigError
from authgate.handlers import Handlers
from authgate.handlers.asking import Asked
from authgate.handlers.threads import THREADS
from authgate.model import (
    AccessRequest,
    CredentialKind,
    Decision,
    HandlerCall,
    Identity,
    Need,
    Outcome,
    Reason,
    Subject,
    allow,
    deny,
    login,
)
from tests.policies import request

Handler = Callable[[AccessRequest], object]
SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


def need(name: str = "site::f", **options: object) -> Need:
    return Need(HandlerCall(name, "r0"), {"owner": "alice"}, MappingProxyType(options))


def said(*functions: Handler) -> list[Decision | None]:
    """Return what these answer, asked one after the other by one worker."""

    async def run() -> list[Decision | None]:
        handlers = Handlers({f"site::f{index}": function for index, function in enumerate(functions)})
        answers = [await handlers.ask(need(f"site::f{index}"), request()) for index in range(len(functions))]
        await handlers.close()
        return answers

    return asyncio.run(run())


def both(answer: Callable[[AccessRequest], object]) -> tuple[Handler, Handler]:
    """Return the handler as it is and as one with ``async``."""

    async def asynchronous(request: AccessRequest) -> object:
        return answer(request)

    return answer, asynchronous


def failed(*functions: Handler) -> str:
    """Return the detail with which all of these end in ``handler_error``."""
    answers = said(*functions)
    for answer in answers:
        assert answer is not None
        assert (answer.outcome, answer.reason) == (Outcome.REFUSE, Reason.HANDLER_ERROR)
    return "\n".join(answer.detail for answer in answers if answer)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authgate.handlers.asking.DEADLINE", 0.05)


@pytest.fixture
def stuck() -> Iterator[Handler]:
    """A handler that does not come back before the test has ended."""
    ended = threading.Event()

    def hang(_: AccessRequest) -> None:
        ended.wait()

    yield hang
    ended.set()


@pytest.mark.parametrize("answer", [allow(), deny("no ticket"), login(), None], ids=str)
def test_what_a_handler_says_comes_back(answer: Decision | None) -> None:
    assert said(*both(lambda _: answer)) == [answer, answer]


def test_a_handler_finds_the_request_the_rule_and_who_asks() -> None:
    found: list[AccessRequest] = []
    asked = request("/home/alice/x", method="PUT")._replace(
        query="a=1", headers={"user-agent": "curl"}, subject=Subject("", "bob", frozenset({"staff"}))
    )

    async def run() -> None:
        handlers = Handlers({"site::f": found.append})
        await handlers.ask(need(limit=3), asked)
        await handlers.close()

    asyncio.run(run())

    (given,) = found
    assert (given.rule, given.captures, given.options) == ("r0", {"owner": "alice"}, {"limit": 3})
    assert given._replace(rule="", captures={}, options={}) == asked._replace(captures={}, options={})


def test_of_a_decision_made_by_hand_only_outcome_and_detail_count() -> None:
    root = Identity(Subject("", "root"), CredentialKind.SESSION)

    def made(outcome: Outcome) -> Handler:
        return lambda _: Decision(outcome, Reason.BUSY, "another rule", root, "public", {"owner": "root"}, "why")

    assert said(*(made(outcome) for outcome in Outcome)) == [allow(), login(), deny("why")]


@pytest.mark.parametrize(
    "answer",
    [True, False, 200, "allow", allow, Outcome.ALLOW, (200, "allowed"), Decision(200, Reason.ALLOWED), Need()],  # type: ignore[arg-type] # what a site's code may do
    ids=lambda answer: getattr(answer, "__name__", repr(answer)),
)
def test_any_other_answer_is_an_error(answer: object) -> None:
    assert f"returned {type(answer).__name__}, not allow()" in failed(*both(lambda _: answer))


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), StopIteration(), StopAsyncIteration(), SystemExit(0), KeyboardInterrupt(), GeneratorExit(),
     asyncio.CancelledError(), TimeoutError(), RecursionError(), BaseException("base")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_is_raised_is_an_error_of_the_handler_alone(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: AccessRequest) -> object:
        raise error

    detail = failed(*both(broken))

    assert detail.count("Traceback") >= 2
    assert type(error).__name__ in detail
    assert "in broken" in caplog.text
    assert "handler site::f0 failed" in caplog.text


def test_a_handler_that_is_not_loaded_is_an_error() -> None:
    answer = asyncio.run(Handlers({}).ask(need(), request()))

    assert answer is not None
    assert answer.reason is Reason.HANDLER_ERROR


@pytest.mark.usefixtures("short")
def test_a_handler_that_hangs_ends_with_the_time_limit(stuck: Handler) -> None:
    async def hang(_: AccessRequest) -> None:
        await asyncio.Event().wait()

    assert failed(stuck, hang).count("took over 0.05 s") == 2


@pytest.mark.usefixtures("short")
def test_a_handler_that_swallows_its_cancellation_keeps_nobody() -> None:
    async def deaf(_: AccessRequest) -> None:
        for _again in ("the time limit", "the end of the loop"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    assert "took over" in failed(deaf)


def test_a_handler_that_cancels_its_task_cancels_only_itself() -> None:
    async def now(_: AccessRequest) -> Decision:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return allow()

    async def later(asked: AccessRequest) -> Decision:
        answer = await now(asked)
        await asyncio.Event().wait()
        return answer

    detail = failed(now, later)

    assert "cancelled itself" in detail
    assert "CancelledError" in detail


@pytest.mark.usefixtures("short")
def test_handlers_that_hang_cost_their_threads_and_then_the_next_is_refused_at_once(stuck: Handler) -> None:
    async def run() -> None:
        handlers = Handlers(
            {"site::stuck": stuck, "site::f": lambda _: allow(), "site::async": both(lambda _: None)[1]}
        )
        hanging = need("site::stuck")
        await asyncio.gather(*(handlers.ask(hanging, request()) for _ in range(THREADS - 1)))

        assert await handlers.ask(need(), request()) == allow()

        await handlers.ask(hanging, request())
        answer = await handlers.ask(need(), request())

        assert answer is not None
        assert answer.detail == f"site::f was not asked: {THREADS} handlers are running"
        assert await handlers.ask(need("site::async"), request()) is None
        await handlers.close()

    asyncio.run(run())


@pytest.mark.usefixtures("short")
def test_a_thread_is_free_again_when_its_late_handler_has_ended() -> None:
    ended = threading.Event()

    async def run() -> None:
        handlers = Handlers({"site::late": lambda _: ended.wait(10) and None, "site::f": lambda _: allow()})
        await asyncio.gather(*(handlers.ask(need("site::late"), request()) for _ in range(THREADS)))
        ended.set()
        async with asyncio.timeout(10):
            while await handlers.ask(need(), request()) != allow():  # noqa: ASYNC110 - a thread sets no event
                await asyncio.sleep(0.001)
        await handlers.close()

    asyncio.run(run())


def test_context_variables_that_a_handler_sets_stay_with_it() -> None:
    found: list[str] = []

    def note(_: AccessRequest) -> None:
        found.append(SEEN.get())
        SEEN.set("something")

    said(*[handler for _ in range(THREADS + 2) for handler in both(note)])

    assert set(found) == {"nothing"}
    assert SEEN.get() == "nothing"


def test_a_callable_with_an_async_call_is_awaited() -> None:
    class Rights:
        async def __call__(self, asked: AccessRequest) -> Decision:
            return allow()

    assert said(Rights()) == [allow()]


def test_a_request_that_is_cancelled_cancels_its_handler() -> None:
    cancelled: list[str] = []

    async def run() -> None:
        begun = asyncio.Event()

        async def slow(_: AccessRequest) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append("yes")

        asking = asyncio.create_task(Handlers({"site::f": slow}).ask(need(), request()))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0)

    asyncio.run(run())

    assert cancelled == ["yes"]


def module(name: str, **functions: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(functions)
    return made


def test_calls_and_failures_are_counted_by_reference() -> None:
    def fails(_: AccessRequest) -> None:
        raise ValueError

    async def ask() -> dict[str, tuple[int, int]]:
        handlers = Handlers({"site::good": lambda _: deny("no"), "site::bad": fails, "site::quiet": fails})
        for name in ("site::good", "site::good", "site::bad", "site::missing"):
            await handlers.ask(need(name), request())
        await handlers.close()
        return {name: (asked.calls, asked.failures) for name, asked in handlers.asked.items()}

    assert asyncio.run(ask()) == {
        "site::good": (2, 0), "site::bad": (1, 1), "site::quiet": (0, 0), "site::missing": (1, 1)
    }  # fmt: skip


def test_time_is_counted_also_of_a_handler_that_nobody_waits_for_any_more() -> None:
    async def hang(_: AccessRequest) -> None:
        await asyncio.sleep(60)

    async def ask() -> Asked:
        handlers = Handlers({"site::hang": hang})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await handlers.ask(need("site::hang"), request())
        return handlers.asked["site::hang"]

    asked = asyncio.run(ask())
    assert (asked.calls, asked.failures) == (1, 1)
    assert 0.02 <= asked.seconds < 1


def test_setup_and_close_are_called_with_async_or_without() -> None:
    called: list[str] = []

    async def asynchronously() -> None:
        called.append("async")

    async def run() -> None:
        modules = [
            module("a", setup=lambda: called.append("a up"), close=asynchronously),
            module("b", setup=asynchronously, close=lambda: called.append("b down")),
            module("c"),
        ]
        handlers = Handlers({}, modules)
        await handlers.setup()
        await handlers.close()

    asyncio.run(run())

    assert called == ["a up", "async", "async", "b down"]


@pytest.mark.parametrize("error", [OSError("no such file"), SystemExit("no such file")], ids=repr)
def test_setup_that_fails_is_a_configuration_error(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def setup() -> None:
        raise error

    with pytest.raises(ConfigError, match=r"handler:rights: setup\(\) failed: \w+: no such file"):
        asyncio.run(Handlers({}, [module("rights", setup=setup)]).setup())

    assert "Traceback" in caplog.text


def test_close_that_fails_is_logged_and_the_next_is_called(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    def close() -> None:
        raise SystemExit

    modules = [module("a", close=close), module("b", close=lambda: closed.append("b"))]

    asyncio.run(Handlers({}, modules).close())

    assert closed == ["b"]
    assert "close() of a failed" in caplog.text
