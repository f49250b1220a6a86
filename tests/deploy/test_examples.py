"""Every file of deploy/nginx/examples: what it says is a configuration, and no fault of authgate opens anything."""

import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from authgate.cli.snippet import nginx_files
from authgate.config import load
from tests import servers
from tests.deploy import examples as all_examples
from tests.deploy.applications import applications
from tests.deploy.examples import NAMES, Examples
from tests.deploy.house import HTTP_HOST, OPEN, RULES, SECRET, House, Running, Visitor

# What a right password opens: each location of each example, by its name and a remark.
ADDRESSES: Mapping[str, tuple[str, str]] = {
    "application": ("app.example.com", "/x"),
    "application, public": ("app.example.com", "/pub/x"),
    "cors": ("api.example.com", "/v1/x"),
    "fastcgi": ("php.example.com", "/index.php"),
    "fastcgi, file": ("php.example.com", "/page.txt"),
    "folder": ("manual.example.com", "/manual/"),
    "http2": ("h2.example.com", "/page.txt"),
    "http2, application": ("h2.example.com", "/app/x"),
    "ipv6": ("[2001:db8::1]", "/office/plan.txt"),
    "load-balancer": ("balanced.example.com", "/office/plan.txt"),
    "server-login": ("basic.example.com", "/page.txt"),
    "server-login, ordinary": ("basic.example.com", "/ordinary/plan.txt"),
    "single-page": ("spa.example.com", "/orders/12"),
    "single-page, api": ("spa.example.com", "/api/x"),
    "sites-own-logins": ("one.example.com", "/page.txt"),
    "sites-own-logins, two": ("two.example.com", "/page.txt"),
    "sites-shared-login": ("docs.example.com", "/page.txt"),
    "sites-shared-login, wiki": ("wiki.example.com", "/x"),
    "upload": ("upload.example.com", "/in/x"),
    "uwsgi": ("wsgi.example.com", "/x"),
    "websocket": ("chat.example.com", "/socket"),
}
EXAMPLE = "example.conf itself"


def ask(examples: Examples, name: str) -> httpx.Response:
    """Ask for what somebody may have, as a navigation that could be led to the login."""
    if name == EXAMPLE:
        with examples.running.client(HTTP_HOST, "alice") as client:
            return client.get("/staff/handbook.txt", headers=Visitor.NAVIGATION)
    host, path = ADDRESSES[name]
    more = {"X-Forwarded-For": "10.1.2.3", "Upgrade": "websocket", "Connection": "upgrade"}
    wanted = {**Visitor.NAVIGATION, **(more if name in {"load-balancer", "websocket"} else {})}
    with examples.client(host, None if name == "load-balancer" else "alice", **wanted) as client:
        return client.put(path, content=b"x") if name == "upload" else client.get(path)


def statuses(examples: Examples) -> dict[str, httpx.Response]:
    """Ask all at once: each takes two seconds while authgate hangs."""
    names = [*ADDRESSES, EXAMPLE]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(lambda name: ask(examples, name), names), strict=True))


@contextmanager
def stopped(house: House) -> Iterator[None]:
    with servers.authgate(house.config):
        pass
    yield


@contextmanager
def killed(house: House) -> Iterator[None]:
    with servers.authgate(house.config) as authgate:
        authgate.signal(signal.SIGKILL)
        authgate.process.wait()
        servers.eventually(lambda: not accepts(house.socket), "the workers are gone")
        yield


@contextmanager
def hung(house: House) -> Iterator[None]:
    with servers.authgate(house.config) as authgate:
        authgate.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            authgate.signal(signal.SIGCONT)


@contextmanager
def without_its_socket(house: House) -> Iterator[None]:
    with servers.authgate(house.config):
        hidden = house.socket.with_suffix(".hidden")
        house.socket.rename(hidden)
        yield
        hidden.rename(house.socket)


def accepts(path: Path) -> bool:
    """Tell whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


FAULTS: Mapping[str, Callable[[House], AbstractContextManager[None]]] = {
    "stopped": stopped,
    "killed": killed,
    "hung": hung,
    "socket gone": without_its_socket,
}


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, dict[str, httpx.Response]]]:
    """What each example answers in each fault, and without one."""
    with servers.open_folder() as folder:
        house = all_examples.build(folder, RULES)
        with (
            applications(folder) as behind,
            servers.nginx(
                folder, house.http_block(all_examples.server_blocks(house, behind)), house.http_port
            ) as nginx,
        ):
            running = Examples(Running(house, nginx, nginx), behind)
            with servers.authgate(house.config):
                found = {"": statuses(running)}
            for fault, broken in FAULTS.items():
                before = behind.counted.requests
                with broken(house):
                    found[fault] = statuses(running)
                assert behind.counted.requests == before, fault
            yield found


def test_every_example_is_asked() -> None:
    assert sorted({name.partition(",")[0] for name in ADDRESSES}) == NAMES


@pytest.mark.parametrize("name", [*ADDRESSES, EXAMPLE])
def test_example_answers_while_authgate_is_well(answers: dict[str, dict[str, httpx.Response]], name: str) -> None:
    answer = answers[""][name]

    assert answer.status_code == (101 if name == "websocket" else 200)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [*ADDRESSES, EXAMPLE])
def test_fault_is_503_and_opens_nothing(answers: dict[str, dict[str, httpx.Response]], name: str, fault: str) -> None:
    answer = answers[fault][name]

    assert answer.status_code == 503
    assert "Not available right now" in answer.text
    assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("5", "no-store")
    assert OPEN not in answer.content
    assert SECRET not in answer.content


@pytest.mark.parametrize("name", NAMES)
def test_authgate_toml_of_the_example_is_valid_as_it_stands(tmp_path: Path, name: str) -> None:
    config = tmp_path / "authgate.toml"
    config.write_text(all_examples.toml(name))

    assert {site.origin for site in load(config).sites} == set(all_examples.origins(name))


@pytest.mark.parametrize("name", NAMES)
def test_example_protects_every_location(name: str) -> None:
    text = (all_examples.FOLDER / f"{name}.conf").read_text()

    for block in re.findall(r"^server \{\n.*?^\}\n", text, re.MULTILINE | re.DOTALL):
        assert block.splitlines()[1].strip() == "include authgate/authgate-server.conf;"
        assert len(re.findall(r"^ *location ", block, re.MULTILINE)) == block.count("include authgate/authgate-protect")


def test_includes_for_applications_and_logins_hold_what_the_one_for_files_holds(tmp_path: Path) -> None:
    config = tmp_path / "authgate.toml"
    config.write_text(all_examples.toml("application"))
    files = nginx_files(load(config))

    def directives(name: str) -> set[str]:
        return {re.sub(r"\s+", " ", line) for line in files[name].splitlines() if line and not line.startswith("#")}

    own = directives("authgate-protect.conf")
    assert own - directives("authgate-protect-app.conf") == {
        'set $ag_target "";',
        "add_header Cache-Control $ag_cache_control always;",
    }
    assert own - directives("authgate-protect-server.conf") == {'set $ag_server_user "";'}
