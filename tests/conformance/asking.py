"""All cases through one door, one after the other, and what came of them.

A decision is found in the audit by the address of the client: each case has one of its own, of 127.0.0.0/8, where it
does not name one, and every server hands it on. No door shows all its decisions' ids to the client.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import NamedTuple

from authgate.app import create_worker
from authgate.config import Settings
from authgate.credentials import Presented
from authgate.model import AccessRequest
from authgate.networks import parse_address, parse_host
from authgate.paths import from_wire
from authgate.pdp import Pdp
from tests import servers
from tests.conformance.cases import Case, Expected
from tests.conformance.doors import DOORS, Door
from tests.conformance.town import Town

_SECOND_BYTE = {"elsewhere": 1, "office": 10, "campus": 31}
_LAST = 4095

# Somebody who opens a page, as browsers say it.
NAVIGATION: Mapping[str, str] = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


class Seen(NamedTuple):
    """What came of one case.

    Args:
        decided: the first decision about it; None: authgate was not asked.
    """

    decided: Expected | None
    status: int
    headers: Mapping[str, str]
    body: bytes


def address(case: Case, door: str) -> str:
    """Return the address that the client has at a door."""
    if case.network not in _SECOND_BYTE:
        return case.network
    return _address(_SECOND_BYTE[case.network], door, case.number)


def _address(second: int, door: str, number: int) -> str:
    return f"127.{second}.{DOORS.index(door) * 16 + number // 256}.{number % 256}"


def ask_all(town: Town, door: Door, cases: Sequence[Case]) -> dict[str, Seen]:
    """Ask each case once and look up what was decided."""
    before = door.audit.stat().st_size if door.audit.exists() else 0
    replies = {case.id: (case, _ask_patiently(town, door, case)) for case in cases}
    # The audit keeps the order: what was asked before the last is in it when the last is.
    last = _address(2, door.name, _LAST)
    send(door.port, request(next(case for case in cases if not case.differences), ()), last)
    servers.eventually(lambda: f'"{last}"' in _text(door.audit, before), "the last decision is in the audit")
    lines: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for line in map(json.loads, _text(door.audit, before).splitlines()):
        if line["event"] == "decision" and line["reason"] != "busy":
            lines.setdefault((line["address"], line["host"]), []).append(line)
    return {
        name: Seen(_decided(case, lines.get((address(case, door.name), parse_host(case.host)), [])), *reply)
        for name, (case, reply) in replies.items()
    }


def _decided(case: Case, lines: Sequence[Mapping[str, str]]) -> Expected | None:
    """Return the decision about a request: a server also asks about its index page, and about what it is a part of."""
    own = [line for line in lines if line["path"] == case.path_in_audit]
    line = next(iter([*own, *lines]), None)
    return Expected(line["outcome"], line["reason"], line["rule"] or "") if line else None


def _text(audit: Path, offset: int) -> str:
    return audit.read_bytes()[offset:].decode("ascii")


Reply = tuple[int, Mapping[str, str], bytes]


def _ask_patiently(town: Town, door: Door, case: Case) -> Reply:
    """Ask, and ask a rewrite map again when a busy machine could not say within 50 ms."""
    end = time.monotonic() + servers.DEADLINE
    while True:
        reply = send(door.port, request(case, town.fields(case)), address(case, door.name))
        if door.name != "rewritemap" or reply[0] != 503 or time.monotonic() > end:
            return reply


def request(case: Case, proving: Iterable[tuple[str, str]]) -> bytes:
    """Write a request; what is not ASCII in it is sent as UTF-8."""
    fields = [
        ("Host", case.host),
        *proving,
        *(NAVIGATION if case.browser else {"Accept": "*/*"}).items(),
        *case.headers.items(),
        *(() if case.method in {"GET", "HEAD", "OPTIONS"} else (("Content-Length", "0"),)),
        ("Connection", "close"),
    ]
    lines = [f"{case.method} {case.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode()


def send(port: int, data: bytes, source: str) -> Reply:
    """Send a request from an address of this machine and return status, fields by lower-case name, and body."""
    where = ("127.0.0.1", port)
    with socket.create_connection(where, servers.DEADLINE, source_address=(source, 0)) as connection:
        connection.sendall(data)
        answer = HTTPResponse(connection, method=data.partition(b" ")[0].decode())
        answer.begin()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, fields, answer.read()


def decide_all(town: Town, settings: Settings, cases: Iterable[Case]) -> dict[str, Expected]:
    """Ask the policy itself, in this process, with the people and sessions that the service has."""

    async def decided(pdp: Pdp, case: Case) -> Expected:
        fields: dict[str, list[str]] = {}
        for name, value in town.fields(case):
            fields.setdefault(name, []).append(value)
        client = parse_address(address(case, DOORS[0]))
        user = next((word.partition(" ")[2] for word in case.who if word.startswith("login ")), "")
        shown = Presented(
            "; ".join(fields.get("Cookie", ())), "" if user else fields.get("Authorization", [""])[0], user, client
        )
        preflight = case.method == "OPTIONS" and {"Origin", "Access-Control-Request-Method"} <= case.headers.keys()
        asked = AccessRequest(
            *(case.method, parse_host(case.host), from_wire(case.path), "http", client, time.time()),
            query=case.target.partition("?")[2],
            preflight=preflight,
        )
        decision = (await pdp.evaluate(asked, shown)).decision
        return Expected(decision.outcome.name.lower(), decision.reason.value, decision.rule)

    async def run() -> dict[str, Expected]:
        worker = create_worker(settings)
        await worker.setup()
        try:
            return {case.id: await decided(worker.authorizer._pdp, case) for case in cases}
        finally:
            await worker.aclose()

    path = list(sys.path)
    try:
        return asyncio.run(run())
    finally:
        # The folder of the configuration is where a site's own functions may be.
        sys.path[:] = path
