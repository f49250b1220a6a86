"""The listener ``api``: three addresses, and what it says when things go wrong."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from authgate.observe.board import Board
from authgate.observe.metrics import create_board
from authgate.protocols.api import Readiness, create_api

READY = Readiness(ready=True)


def ask(
    path: str,
    method: str = "GET",
    *,
    board: Board | None = None,
    readiness: Callable[[], Readiness] = lambda: READY,
    accept: str = "",
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(
            create_api(board, lambda: "0123456789ab", readiness), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://authgate") as client:
            return await client.request(method, path, headers={"Accept": accept} if accept else {})

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


def test_readyz_says_what_is_wrong() -> None:
    away = ask("/readyz", readiness=lambda: Readiness(ready=False, problems=["the store cannot be reached"]))
    old = ask("/readyz", readiness=lambda: Readiness(ready=True, problems=["the last reload failed"]))

    assert (away.status_code, away.json()) == (503, {"ready": False, "problems": ["the store cannot be reached"]})
    assert (old.status_code, old.json()) == (200, {"ready": True, "problems": ["the last reload failed"]})
    assert ask("/readyz").json() == {"ready": True, "problems": []}


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
