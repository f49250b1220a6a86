"""For how long it counts what the site said about somebody, and what happens when it says nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from authgate.credentials.directory import Directory
from authgate.credentials.people import FRESH, PAUSE, USABLE, People, Standing
from authgate.errors import SiteFunctionFailed
from authgate.model import Subject, user
from tests.clock import MovableClock

ALICE, CHANGED = user("alice", ["staff"]), user("alice", ["finance"])


class Site:
    """The site's `lookup`: says what it is told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.says: Subject | Exception | None = ALICE
        self.gate = asyncio.Event()
        self.gate.set()

    async def lookup(self, username: str) -> Subject | None:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class Scene:
    def __init__(self, capacity: int = 100) -> None:
        self.clock = MovableClock()
        self.site = Site()
        self.people = People(Directory(None, self.site.lookup), self.clock, capacity)

    def login(self, subject: Subject = ALICE) -> Standing:
        return Standing(subject, self.clock())


def run(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Scene())

    asyncio.run(main())


def test_what_a_login_said_counts_for_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        login = scene.login()
        scene.clock.advance(FRESH - 1)
        assert scene.people.peek("alice", login) == login
        assert await scene.people.verify("alice", login) == login
        assert scene.site.asked == 0

        scene.clock.advance(1)
        scene.site.says = CHANGED
        assert scene.people.peek("alice", login) is None
        assert await scene.people.verify("alice", login) == Standing(CHANGED, scene.clock())
        assert scene.people.peek("alice", login) == Standing(CHANGED, scene.clock())
        assert scene.site.asked == 1

    run(scenario)


def test_site_is_asked_once_in_five_minutes_for_all_sessions_of_a_name() -> None:
    async def scenario(scene: Scene) -> None:
        logins = [scene.login(), scene.login()]
        for _ in range(3):
            scene.clock.advance(FRESH)
            scene.site.gate.clear()
            asked = [asyncio.create_task(scene.people.verify("alice", login)) for login in logins * 50]
            await asyncio.sleep(0)
            # The one that began it hangs up.
            asked[0].cancel()
            scene.site.gate.set()
            assert {standing.subject for standing in await asyncio.gather(*asked[1:])} == {ALICE}
        assert scene.site.asked == 3

    run(scenario)


def test_somebody_who_is_gone_is_gone() -> None:
    async def scenario(scene: Scene) -> None:
        login = scene.login()
        scene.clock.advance(FRESH)
        scene.site.says = None

        assert (await scene.people.verify("alice", login)).subject is None
        standing = scene.people.peek("alice", login)
        assert standing is not None
        assert standing.subject is None

    run(scenario)


def test_login_after_the_answer_counts_more_than_the_answer() -> None:
    """Another worker saw the account come back; this one remembers that it was gone."""

    async def scenario(scene: Scene) -> None:
        before = scene.login()
        scene.clock.advance(FRESH)
        scene.site.says = None
        await scene.people.verify("alice", before)
        scene.clock.advance(10)
        again = scene.login(CHANGED)

        assert scene.people.peek("alice", again) == again

    run(scenario)


def test_login_while_the_site_is_asked_counts_more_than_its_answer() -> None:
    async def scenario(scene: Scene) -> None:
        before = scene.login()
        scene.clock.advance(FRESH)
        scene.site.says = None
        scene.site.gate.clear()
        asked = asyncio.create_task(scene.people.verify("alice", before))
        await asyncio.sleep(0)
        scene.clock.advance(1)
        again = scene.login(CHANGED)
        scene.site.gate.set()
        await asked

        assert scene.people.peek("alice", again) == again

    run(scenario)


def test_without_an_answer_what_was_known_counts_for_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        login = scene.login()
        scene.site.says = ConnectionError("away")
        scene.clock.advance(FRESH)
        while scene.clock() < login.confirmed + USABLE:
            assert await scene.people.verify("alice", login) == login
            scene.clock.advance(PAUSE / 3)
        # Every half minute, and not at each request.
        assert scene.site.asked == (USABLE - FRESH) / PAUSE

        with pytest.raises(SiteFunctionFailed):
            await scene.people.verify("alice", login)
        asked = scene.site.asked
        with pytest.raises(SiteFunctionFailed):
            scene.people.peek("alice", login)
        assert scene.site.asked == asked

        scene.clock.advance(PAUSE)
        scene.site.says = CHANGED
        assert (await scene.people.verify("alice", login)).subject == CHANGED

    run(scenario)


def test_somebody_never_heard_of_is_unknown_while_there_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        scene.site.says = ConnectionError("away")
        for _ in range(100):
            with pytest.raises(SiteFunctionFailed):
                await scene.people.verify("alice")
        assert scene.site.asked == 1

    run(scenario)


def test_answer_that_is_an_hour_old_does_not_count_when_no_new_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.people.verify("alice")
        scene.clock.advance(USABLE)
        scene.site.says = ConnectionError("away")
        with pytest.raises(SiteFunctionFailed):
            await scene.people.verify("alice")

    run(scenario)


def test_clock_set_back_has_the_site_asked_again() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.people.verify("alice")
        scene.clock.advance(-86400)

        assert scene.people.peek("alice") is None
        scene.site.says = CHANGED
        await scene.people.verify("alice")
        # What was learned a day ahead is forgotten: it was replaced.
        standing = scene.people.peek("alice")
        assert standing is not None
        assert standing.subject == CHANGED

    run(scenario)


def test_memory_is_bounded() -> None:
    async def main() -> None:
        scene = Scene(capacity=3)
        for name in "abcd":
            await scene.people.verify(name)
        assert scene.people.peek("a") is None
        assert scene.people.peek("d") is not None

    asyncio.run(main())


def test_without_a_lookup_the_login_is_all_there_is() -> None:
    clock = MovableClock()
    people = People(Directory(lambda *_: None), clock)
    login = Standing(ALICE, clock())
    clock.advance(10 * USABLE)

    assert people.verified
    assert not people.looked_up
    assert people.peek("alice", login) == login
