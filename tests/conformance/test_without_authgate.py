"""Nobody gets anything while authgate is away. Last in this folder: nothing is started again."""

import os
import signal
from pathlib import Path

import pytest

from tests import servers
from tests.conformance.asking import address, request, send
from tests.conformance.cases import CASES, POLICIES, Case
from tests.conformance.doors import DOORS, Door
from tests.conformance.table import foretell, status_of
from tests.conformance.test_conformance import ANY_FILE
from tests.conformance.town import Town


def admitted(door: str) -> list[Case]:
    """Return one case of each policy that the door serves when authgate is there."""
    cases = [case for case in CASES if (found := foretell(case, door)) and found.served and case.method == "GET"]
    return list({case.policy.id: case for case in cases}.values())


@pytest.mark.parametrize("name", DOORS)
def test_nothing_is_served_while_authgate_is_away(name: str, deserted: Door, town: Town) -> None:
    cases = admitted(name)

    replies = [send(deserted.port, request(case, town.fields(case)), address(case, name)) for case in cases]

    assert {status for status, _, _ in replies} == {status_of("authgate is away", name)}
    assert not any(ANY_FILE in body for _, _, body in replies)
    assert len(cases) > len(POLICIES) / 2


@pytest.fixture
def deserted(request: pytest.FixtureRequest, name: str, service: servers.Server) -> Door:
    """Give the door, and nobody behind it."""
    door = request.getfixturevalue(name)
    assert isinstance(door, Door)
    service.stop()
    if name == "sendfile":
        request.getfixturevalue("sendfile_service").stop()
    elif name == "rewritemap":
        # Without the service it goes on deciding; without its program it cannot.
        end_program(door)
    return door


def end_program(door: Door) -> None:
    """End the program of the rewrite map."""
    programs: list[int] = []

    def found() -> list[int]:
        # Just started, it is Apache's own for a moment.
        programs[:] = [pid for pid in servers.children(door.server.process.pid) if b"rewritemap" in command(pid)]
        return programs

    servers.eventually(found, "the program of the map runs", door.server)
    [program] = programs
    os.kill(program, signal.SIGKILL)
    servers.eventually(lambda: b"rewritemap" not in command(program), "the program has ended")


def command(pid: int) -> bytes:
    """Return the command line of a process; empty when there is none any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
