"""One town and one set of servers for all doors; each door is asked everything once."""

from collections.abc import Iterator, Mapping

import pytest

from authgate.config import Settings
from tests import servers
from tests.conformance import doors
from tests.conformance.asking import Seen, ask_all
from tests.conformance.cases import CASES, POLICIES
from tests.conformance.doors import DOORS, Door
from tests.conformance.table import foretell
from tests.conformance.town import Town

COUNTS = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session")
def town() -> Iterator[Town]:
    with servers.open_folder() as folder:
        town = Town(folder)
        town.build()
        yield town


@pytest.fixture(scope="session")
def settings(town: Town) -> Mapping[str, Settings]:
    """The configurations: of the service, of the one for X-Sendfile, of the rewrite map, and of this process."""
    every = POLICIES.values()
    plain = [policy for policy in every if not policy.asks_handlers and policy.served != "login"]
    fastcgi = {"fastcgi": f"127.0.0.1:{town.ports['fastcgi']}", "fastcgi_secret_file": "fastcgi.secret"}
    main = {**fastcgi, "deliver": "unix:main/deliver.sock"}
    return {
        "main": town.configure("main", every, main, internal="/_files/"),
        "sendfile": town.configure("sendfile", every, {"deliver": "unix:sendfile/deliver.sock"}),
        "map": town.configure("map", plain, {"web": "unix:main/web.sock"}),
        "inside": town.configure("inside", every, {}),
    }


@pytest.fixture(scope="session")
def service(town: Town, settings: Mapping[str, Settings]) -> Iterator[servers.Server]:
    with servers.authgate(settings["main"].path) as running:
        yield running


@pytest.fixture(scope="session")
def nginx(town: Town, settings: Mapping[str, Settings], service: servers.Server) -> Iterator[tuple[Door, Door]]:
    with doors.nginx(town, settings["main"]) as both:
        yield both


@pytest.fixture(scope="session")
def check(nginx: tuple[Door, Door]) -> Door:
    return nginx[0]


@pytest.fixture(scope="session")
def accel(nginx: tuple[Door, Door]) -> Door:
    return nginx[1]


@pytest.fixture(scope="session")
def fastcgi(town: Town, settings: Mapping[str, Settings], service: servers.Server, accel: Door) -> Iterator[Door]:
    # nginx is here for the applications in it.
    with doors.fastcgi(town, settings["main"]) as door:
        yield door


@pytest.fixture(scope="session")
def rewritemap(town: Town, settings: Mapping[str, Settings], service: servers.Server) -> Iterator[Door]:
    # The service has the pages of refusal.
    with doors.rewritemap(town, settings["map"]) as door:
        yield door


@pytest.fixture(scope="session")
def sendfile_service(settings: Mapping[str, Settings]) -> Iterator[servers.Server]:
    with servers.authgate(settings["sendfile"].path) as running:
        yield running


@pytest.fixture(scope="session")
def sendfile(town: Town, settings: Mapping[str, Settings], sendfile_service: servers.Server) -> Iterator[Door]:
    with doors.sendfile(town, settings["sendfile"]) as door:
        yield door


@pytest.fixture(scope="session")
def forward(town: Town, settings: Mapping[str, Settings], service: servers.Server, accel: Door) -> Iterator[Door]:
    # nginx is here for the applications in it.
    with doors.forward(town, settings["main"]) as door:
        yield door


@pytest.fixture(scope="session", params=DOORS)
def seen(request: pytest.FixtureRequest, town: Town, pytestconfig: pytest.Config) -> tuple[str, Mapping[str, Seen]]:
    """Ask everything at a door, once."""
    door = request.getfixturevalue(request.param)
    assert isinstance(door, Door)
    found = ask_all(town, door, [case for case in CASES if foretell(case, door.name)])
    pytestconfig.stash.setdefault(COUNTS, {})[door.name] = len(found)
    return door.name, found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many cases went through each door."""
    counts = config.stash.get(COUNTS, {})
    if counts:
        said = ", ".join(f"{name} {counts[name]}" for name in DOORS if name in counts)
        terminalreporter.write_line(f"conformance: {len(CASES)} cases; {said}")
