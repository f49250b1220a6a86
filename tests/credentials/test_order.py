"""Which credential counts when two come together, asked of ``/check`` as nginx asks."""

import asyncio
import dataclasses
import json
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from authgate.app import Worker, create_worker
from authgate.config import Settings, parse
from tests.credentials.authority import CN, Authority
from tests.credentials.claimants import LOCAL, PEOPLE, SECTIONS, Case, Purse, cases, fill, write_files
from tests.credentials.people import cheap, write

HOST = "files.example.com"
PROTECTED, PUBLIC = "/protected/x", "/public/x"
RULES = """
[[rules]]
name = "protected"
paths = ["/protected/**"]
allow = ["authenticated"]

[[rules]]
name = "public"
paths = ["/public/**"]
allow = ["anyone"]
"""
USUAL = {
    "x-authgate-method": "GET",
    "x-authgate-host": HOST,
    "x-authgate-scheme": "https",
    "x-authgate-client": "192.0.2.1",
}
SERVER = {"good": "server", "bad": "ser/ver"}
# The certificate is the same: what is bad about it, the web server says.
CERTIFICATE = {"good": "SUCCESS", "bad": "FAILED:self-signed certificate"}


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]

    @property
    def who(self) -> tuple[str, str, str]:
        """User, credential and reason, as `Case` has them."""
        reason = self.headers["x-authgate-reason"]
        user = self.headers.get("remote-user") or self.headers.get("x-authgate-user", "")
        return user, self.headers["x-authgate-credential"], "" if reason == "allowed" else reason


class Place(NamedTuple):
    """A worker's settings, and what the people send."""

    settings: Settings
    purse: Purse
    pem: str

    def fields(self, case: Case) -> dict[str, str]:
        """Return the fields of a question in which these credentials are."""
        fields = {name.lower(): value for name, value in self.purse.headers(case.states).items()}
        if "server" in case.states:
            fields["x-authgate-user"] = SERVER[case.states["server"]]
        if "certificate" in case.states:
            fields["x-authgate-certificate-verify"] = CERTIFICATE.get(
                case.states["certificate"], case.states["certificate"]
            )
            fields["x-authgate-certificate"] = self.pem
        return fields

    def ask(self, *cases: Case, more: Mapping[str, str] = {}) -> list[tuple[Reply, Reply]]:
        """Ask about the protected and the public path with each of them."""

        async def main() -> list[tuple[Reply, Reply]]:
            worker = create_worker(self.settings)
            running = asyncio.create_task(worker.run())
            try:
                return [
                    (
                        await _ask(worker, PROTECTED, {**self.fields(case), **more}),
                        await _ask(worker, PUBLIC, {**self.fields(case), **more}),
                    )
                    for case in cases
                ]
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
                await worker.aclose()

        return asyncio.run(main())


async def _ask(worker: Worker, path: str, fields: Mapping[str, str], twice: str = "") -> Reply:
    # With a target, as behind it is an application: who asks is said of public paths, too.
    named = {**USUAL, "x-authgate-path": path, "x-authgate-uri": path, "x-authgate-target": path, **fields}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    headers += [pair for pair in headers if pair[0] == twice.encode()]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("the body of a subrequest is not read")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await worker.applications["check"]({"type": "http", "path": "/check", "headers": headers}, receive, send)
    return Reply(sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder: Path = tmp_path_factory.mktemp("order")
    (folder / "state").mkdir()
    write_files(folder)
    write(folder / "users", "".join(f"{name}:{cheap('secret')}\n" for name in LOCAL))
    document = tomllib.loads(SECTIONS + RULES)
    document |= {"sites": [{"origin": f"https://{HOST}"}], "users": {"htpasswd": "users", "server_login": True}}
    settings = parse(document, folder / "authgate.toml")
    sent = asyncio.run(fill(settings, settings.sites[0], "secret"))
    return Place(settings, sent, Authority().issue([(CN, "certificate")]).escaped)


PAIRS = [
    (first, second) for index, first in enumerate(PEOPLE) for second in list(PEOPLE)[index + 1 :]
]  # in the order in which they count


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_first_that_is_present_decides(place: Place, first: str, second: str) -> None:
    asked = list(cases(first, second))
    assert len(asked) == (5 if (first, second) == ("basic", "bearer") else 9)

    for case, (protected, public) in zip(asked, place.ask(*asked), strict=True):
        assert protected.who == (case.user, case.credential, case.reason), str(case)
        assert protected.status == (200 if case.user else 401), str(case)
        assert public.who == (case.user, case.credential, ""), str(case)
        assert public.status == 200, str(case)


def test_all_at_once_are_the_first(place: Place) -> None:
    everything = {kind: "good" for kind in PEOPLE if kind != "basic"}
    ranks = list(everything)
    asked = [Case(dict.fromkeys(ranks[index:], "good"), *PEOPLE[ranks[index]], "") for index in range(len(ranks))]

    found = place.ask(*asked)

    assert [protected.who for protected, _ in found] == [(case.user, case.credential, "") for case in asked]


@pytest.mark.parametrize(
    ("states", "who"),
    [
        ({"jwt": "expired"}, ("", "none", "login_required")),
        ({"jwt": "expired", "application": "good"}, ("app/application", "application", "")),
        ({"jwt": "revoked"}, ("", "jwt", "revoked")),
        ({"jwt": "revoked", "application": "good"}, ("", "jwt", "revoked")),
        ({"session": "good", "jwt": "revoked"}, ("session", "session", "")),
        ({"certificate": "FAILED:certificate revoked", "session": "good"}, ("", "certificate", "revoked")),
        ({"certificate": "FAILED:certificate has expired", "jwt": "good"}, ("", "certificate", "expired")),
        ({"certificate": "NONE", "session": "good"}, ("session", "session", "")),
        ({"certificate": "", "session": "good"}, ("session", "session", "")),
        ({"certificate": "GENEROUS", "session": "good"}, ("", "certificate", "bad_credential")),
        ({"certificate": "SUCCESS, SUCCESS", "session": "good"}, ("", "certificate", "bad_credential")),
    ],
)
def test_what_is_over_is_absent_only_in_the_cookie_of_somebody_else(
    place: Place, states: Mapping[str, str], who: tuple[str, str, str]
) -> None:
    ((protected, public),) = place.ask(Case(states, *who))

    assert protected.who == who
    assert public.status == 200


def test_an_empty_login_of_the_web_server_is_none(place: Place) -> None:
    case = Case({"session": "good"}, "session", "session", "")
    ((protected, _),) = place.ask(case, more={"x-authgate-user": ""})

    assert protected.who == ("session", "session", "")


@pytest.mark.parametrize("kind", ["server", "certificate"])
def test_what_is_not_configured_is_not_looked_at(place: Place, kind: str) -> None:
    settings = place.settings
    if kind == "server":
        bare = dataclasses.replace(settings, server_login=False)
    else:
        bare = dataclasses.replace(settings, sources=dataclasses.replace(settings.sources, certificates=None))
    for state in ("good", "bad"):
        case = Case({kind: state, "session": "good"}, "session", "session", "")
        ((protected, _),) = place._replace(settings=bare).ask(case)

        assert protected.who == ("session", "session", "")


def test_a_certificate_that_is_said_twice_is_none(place: Place) -> None:
    case = Case({"certificate": "good"}, *PEOPLE["certificate"], "")

    async def main() -> tuple[Reply, Reply, str]:
        worker = create_worker(place.settings)
        try:
            fields = place.fields(case)
            once, twice = [
                await _ask(worker, PROTECTED, fields, field) for field in ("", "x-authgate-certificate-verify")
            ]
            return once, twice, await _whoami(worker, [*fields.items(), *fields.items()])
        finally:
            await worker.aclose()

    once, twice, page = asyncio.run(main())

    assert once.who == (*PEOPLE["certificate"], "")
    assert (twice.status, twice.headers["x-authgate-reason"]) == (403, "conflicting_headers")
    assert json.loads(page) == {"user": None, "source": "", "groups": [], "credential": "certificate"}


async def _whoami(worker: Worker, fields: Sequence[tuple[str, str]]) -> str:
    headers = {**USUAL, "accept": "application/json"}
    transport = httpx.ASGITransport(worker.applications["web"])
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
        answer = await client.get("/authgate/whoami", headers=[*headers.items(), *fields])
    return answer.text
