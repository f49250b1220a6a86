"""The listener ``api``: three addresses, and what it says when things go wrong."""

import asyncio
import base64
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from authgate.credentials.brakes import BY_CLIENT_AND_NAME, Brakes
from authgate.credentials.directory import Directory
from authgate.credentials.people import People
from authgate.credentials.token_record import APIS, KIND, Token, generate
from authgate.credentials.tokens import Tokens
from authgate.errors import StoreUnavailable
from authgate.observe.board import Board
from authgate.observe.metrics import create_board
from authgate.protocols.api import Readiness, create_api
from authgate.stores import Record
from authgate.stores.memory import MemoryStore
from tests.clock import MovableClock
from tests.credentials.people import sha, users

READY = Readiness(ready=True)


def ask(
    path: str,
    method: str = "GET",
    *,
    board: Board | None = None,
    readiness: Callable[[], Readiness] = lambda: READY,
    accept: str = "",
    tokens: Tokens | None = None,
    authorization: tuple[str, ...] = (),
) -> httpx.Response:
    async def send() -> httpx.Response:
        application = create_api(board, lambda: "0123456789ab", readiness, tokens)
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        headers = [("Accept", accept)] if accept else []
        headers += [("Authorization", value) for value in authorization]
        async with httpx.AsyncClient(transport=transport, base_url="http://authgate") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(send())


def test_metrics_are_text() -> None:
    answer = ask("/metrics", board=create_board())

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4; charset=utf-8")
    assert 'authgate_policy_info{version="0123456789ab"} 1.0' in answer.text


def test_metrics_are_openmetrics_for_whoever_accepts_that() -> None:
    answer = ask("/metrics", board=create_board(), accept="application/openmetrics-text; version=1.0.0")

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


def test_metrics_of_a_worker_without_a_row_are_not_there() -> None:
    assert ask("/metrics").status_code == 503


def test_two_who_ask_at_the_same_time_are_both_answered() -> None:
    async def send() -> list[int]:
        transport = httpx.ASGITransport(create_api(create_board(), str, lambda: READY))
        async with httpx.AsyncClient(transport=transport, base_url="http://authgate") as client:
            return [answer.status_code for answer in await asyncio.gather(*[client.get("/metrics") for _ in range(5)])]

    assert asyncio.run(send()) == [200] * 5


def test_healthz_is_200_even_when_nothing_is_ready() -> None:
    answer = ask("/healthz", readiness=lambda: Readiness(ready=False, problems=["x"]))

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_readyz_says_without_a_token_only_whether() -> None:
    away = ask("/readyz", readiness=lambda: Readiness(ready=False, problems=["the store cannot be reached"]))
    old = ask("/readyz", readiness=lambda: Readiness(ready=True, problems=["the last reload failed"]))

    assert (away.status_code, away.json()) == (503, {"ready": False})
    assert (old.status_code, old.json()) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_only_get_and_head_are_answered(path: str) -> None:
    for method, status in (("HEAD", 200), ("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405), ("X", 405)):
        assert ask(path, method, board=create_board()).status_code == status, method


@pytest.mark.parametrize(
    "path",
    ["/", "/metrics/", "/healthz/x", "/check", "/forward", "/authgate/login", "/docs", "/%2e/metrics", "//metrics"],
)
def test_nothing_else_is_there(path: str) -> None:
    assert ask(path, board=create_board()).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/nothing"])
def test_nothing_is_stored_on_the_way(path: str) -> None:
    for method in ("GET", "POST"):
        assert ask(path, method, board=create_board()).headers["cache-control"] == "no-store"


def test_what_fails_shows_no_traceback() -> None:
    def fails() -> Readiness:
        raise RuntimeError("secret")

    answer = ask("/readyz", readiness=fails)

    assert (answer.status_code, answer.headers["cache-control"]) == (500, "no-store")
    assert answer.text == "500 something went wrong here; the log of authgate says what\n"


def test_prometheus_is_imported_only_when_somebody_asks() -> None:
    program = (
        "import asyncio, sys\n"
        "from authgate.observe.metrics import create_board\n"
        "from authgate.protocols import api\n"
        "api.create_api(create_board(), str, lambda: api.Readiness(True))\n"
        "assert 'prometheus_client' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# With a token


class Away(MemoryStore):
    """A store that can be away."""

    away = False

    async def get(self, kind: str, key: str) -> Record | None:
        if self.away:
            raise StoreUnavailable("away")
        return await MemoryStore.get(self, kind, key)


@dataclass
class Api:
    """The listener's application with tokens of alice."""

    clock: MovableClock
    store: Away
    tokens: Tokens

    def token(self, *apis: str, files: bool = False, name: str = "alice") -> str:
        text, key, digest = generate()
        now = self.clock()
        token = Token(key, "", name, True, "", (), (), (), (), files, apis, now, now + 60, None, digest)
        asyncio.run(self.store.put(KIND, token.record()))
        return text

    def ask(self, path: str, *authorization: str, readiness: Callable[[], Readiness] = lambda: READY) -> httpx.Response:
        return ask(path, board=create_board(), tokens=self.tokens, authorization=authorization, readiness=readiness)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    clock = MovableClock()
    store = Away(clock)
    loaded = users(tmp_path, f"alice:{sha('a')}\n")
    return Api(clock, store, Tokens(store, loaded, People(Directory(), clock), Brakes(store, clock), clock))


def as_basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{token}".encode()).decode()


def test_metrics_with_authorization_need_the_scope(api: Api) -> None:
    good = api.token("metrics")
    for header in (f"Bearer {good}", f"bearer {good}", as_basic(good)):
        assert api.ask("/metrics", header).status_code == 200
    assert api.ask("/metrics").status_code == 200
    for other in (api.token("policy"), api.token("manage", files=True), api.token(files=True)):
        answer = api.ask("/metrics", f"Bearer {other}")
        assert (answer.status_code, answer.text) == (403, "403 this token is not for this\n")


def test_what_is_no_valid_token_is_401(api: Api) -> None:
    good = api.token("metrics")
    wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
    for headers in (
        ("",),
        ("Bearer",),
        ("Bearer x.y.z",),
        (as_basic("alice-demo"),),
        (f"Bearer {wrong}",),
        (f"Bearer {good[:-1]}",),
        (f"Bearer {generate()[0]}",),
        (f"Bearer {api.token('metrics', name='gone')}",),
        (f"Bearer {good}", f"Bearer {good}"),
        ("Bearer agt_" + "x" * 8192,),
    ):
        for path in ("/metrics", "/readyz"):
            answer = api.ask(path, *headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
            assert (answer.text, answer.headers["cache-control"]) == ("401 no valid access token\n", "no-store")
    api.clock.advance(61)
    assert api.ask("/metrics", f"Bearer {good}").status_code == 401


def test_guesses_are_braked(api: Api) -> None:
    good = api.token("metrics")
    wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
    statuses = [api.ask("/metrics", f"Bearer {wrong}").status_code for _ in range(BY_CLIENT_AND_NAME + 1)]
    assert statuses == [401] * BY_CLIENT_AND_NAME + [429]


@pytest.mark.parametrize("scope", APIS)
def test_readyz_says_what_is_wrong_to_any_scope_of_the_api(api: Api, scope: str) -> None:
    def problem() -> Readiness:
        return Readiness(ready=False, problems=["the store cannot be reached"])

    good = f"Bearer {api.token(scope)}"
    away = api.ask("/readyz", good, readiness=problem)
    assert (away.status_code, away.json()) == (503, {"ready": False, "problems": ["the store cannot be reached"]})
    assert api.ask("/readyz", good).json() == {"ready": True, "problems": []}
    assert api.ask("/readyz", f"Bearer {api.token(files=True)}", readiness=problem).status_code == 403


def test_health_is_told_while_no_token_can_be_verified(api: Api) -> None:
    good = f"Bearer {api.token('metrics')}"
    api.store.away = True
    assert api.ask("/metrics", good).status_code == 503
    assert api.ask("/readyz", good).json() == {"ready": True}
    for header in (good, "Bearer nonsense"):
        assert api.ask("/healthz", header).text == "ok\n"


def test_without_tokens_none_is_good() -> None:
    header = (f"Bearer {generate()[0]}",)
    assert ask("/metrics", board=create_board(), authorization=header).status_code == 401
    assert ask("/metrics", board=create_board()).status_code == 200
