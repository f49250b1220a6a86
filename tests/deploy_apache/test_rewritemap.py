"""The rewrite map as a real Apache asks it, with the include as it is shipped."""

import os
import re
import shutil
import signal
import socket
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from http.client import HTTPConnection
from pathlib import Path
from termios import FIONREAD
from typing import NamedTuple

import pytest

from tests import servers
from tests.credentials.people import write
from tests.server.test_rewritemap import log_in, log_out_everybody, settle
from tests.servers import DEADLINE, PACKAGE_ROOT, Server, child, children, eventually, free_port, listens

INCLUDE = PACKAGE_ROOT / "deploy" / "apache" / "authgate-rewritemap.conf"
SHIPPED = '"prg:/opt/authgate/bin/authgate rewritemap --config /etc/authgate/authgate.toml" authgate:authgate'

HOST = "files.example.com"
SECRET, OPEN = b"not for you", b"for everybody"
FILES = {
    "open/hello.txt": OPEN,
    "open/letters.txt": b"abcdefghijklmnopqrstuvwxyz",
    "open/cached.txt": OPEN,
    "open/a b%3f?.txt": OPEN,
    "staff/handbook.txt": b"handbook: " + SECRET,
    "staff/a?b%.txt": b"odd: " + SECRET,
    "staff/index.html": b"index: " + SECRET,
    "list/index.html": b"list: " + SECRET,
}
RULES = """
[[rules]]
name = "cached"
paths = ["/files/open/cached.txt"]
allow = ["anyone"]
cache = "public, max-age=60"

[[rules]]
name = "open"
paths = ["/files/open/**", "/files/list/", "/authgate/**"]
allow = ["anyone"]

[[rules]]
name = "staff"
paths = ["/files/staff/**"]
allow = ["group:staff"]
"""
MODULES = (
    *("mpm_event", "authz_core", "rewrite", "unique_id", "headers", "alias", "dir", "env", "cgid", "include", "mime"),
    *("negotiation", "allowmethods"),
)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Site:
    """A running Apache, and authgate's files."""

    def __init__(self, folder: Path, port: int, server: Server) -> None:
        self.folder = folder
        self.port = port
        self.server = server

    def get(self, path: str, cookie: str = "", **more: str) -> Reply:
        """Ask, and ask again when a busy machine could not say within 50 ms."""
        end = time.monotonic() + DEADLINE
        while (reply := self._get(path, cookie, **more)).status == 503 and time.monotonic() < end:
            assert reply.headers["retry-after"] == "5"
        return reply

    def _get(self, path: str, cookie: str, *, host: str = HOST, method: str = "GET", **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Host": host, "Accept": "*/*", "Cookie": cookie} | fields)
            answer = connection.getresponse()
            names = [name.lower() for name, _ in answer.getheaders()]
            assert len(names) == len(set(names)), names
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def status(self, path: str, cookie: str = "", **more: str) -> int:
        reply = self.get(path, cookie, **more)
        assert (SECRET in reply.body) is (reply.status == 200 and "staff" in path), path
        return reply.status

    def program(self) -> int:
        """Return the process id of the rewrite map's program."""
        (pid,) = [pid for pid in children(self.server.process.pid) if b"rewritemap" in _command(pid)]
        return pid

    def workers(self) -> list[int]:
        return [pid for pid in children(self.server.process.pid) if b"rewritemap" not in _command(pid)]

    def restart(self, kind: signal.Signals = signal.SIGUSR1) -> None:
        before = self.log().count("rewritemap: ready")
        self.server.process.send_signal(kind)
        eventually(lambda: self.log().count("rewritemap: ready") > before, "the program was started anew", self.server)

    def log(self) -> str:
        return (self.folder / "apache-error.log").read_text(errors="replace")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def program_of(folder: Path) -> str:
    """Return the command for the map's program, as it is run from this checkout."""
    env, python = shutil.which("env"), sys.executable
    return f"{env} PYTHONPATH={PACKAGE_ROOT} {python} -m authgate rewritemap --config {folder}/authgate.toml"


def lay_out(folder: Path, port: int, rules: str = RULES) -> None:
    """Write files, people and rules."""
    for name, content in FILES.items():
        servers.make_file(os.fsencode(folder / "files" / name), content)
    users = f'[[sites]]\norigin = "http://{HOST}:{port}"\n[users]\nhtpasswd = "users"\ngroups = "groups"\n'
    settle(folder, users + rules)


def configuration(folder: Path, port: int, program: str, more: str = "", above: str = "") -> str:
    """Return Apache's configuration.

    Args:
        more: in the virtual host, whose rules come after those of the include.
        above: before the include.
    """
    include = INCLUDE.read_text()
    assert SHIPPED in include
    group = servers.nginx_group()
    lines = [
        *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES),
        *((f"User {'nobody' if group == 'nogroup' else group}", f"Group {group}") if group else ()),
        *(f'ServerRoot "{folder}"', f'DefaultRuntimeDir "{folder}"', "PidFile apache.pid", "ScriptSock cgid.sock"),
        *(
            "ErrorLog apache-error.log",
            f"ServerName {HOST}",
            f"Listen 127.0.0.1:{port}",
            "TraceEnable Off",
            "TypesConfig /dev/null",
        ),
        *("LogFormat %{AG_DECISION}e|%{AG_USER}e|%>s|%U decision", "CustomLog access.log decision"),
        *("StartServers 2", "ServerLimit 2", "ThreadsPerChild 8", "MaxRequestWorkers 16", "MaxSpareThreads 16"),
        *("MinSpareThreads 1", "<Directory />", "AllowOverride None", "Require all denied", "</Directory>"),
        above,
        include.replace(SHIPPED, f'"prg:{program}"'),
        *(f"<Directory {folder}/files>", "Options None", "AllowOverride None", "AllowMethods GET HEAD"),
        *("Require env AG_OK", "</Directory>"),
        *(f"<VirtualHost *:{port}>", f"ServerName {HOST}", f"DocumentRoot {folder}", "RewriteOptions InheritBefore"),
        *(f"Alias /files {folder}/files", f"Alias /second {folder}/files", f"Alias /authgate {folder}/files/staff"),
        f"Alias /.well-known/acme-challenge {folder}/files/staff",
        *(more, "</VirtualHost>"),
        *(f"<VirtualHost *:{port}>", "ServerName bare.example.com", f"Alias /files {folder}/files", "</VirtualHost>"),
    ]
    return "\n".join([*lines, ""])


@contextmanager
def apache(
    folder: Path, *, program: str | None = None, more: str = "", above: str = "", rules: str = RULES
) -> Iterator[Site]:
    """Run Apache until the end of the block."""
    port = free_port()
    lay_out(folder, port, rules)
    config = folder / "apache.conf"
    config.write_text(configuration(folder, port, program or program_of(folder), more, above))
    command = [servers.require("apache2"), "-DFOREGROUND", "-f", str(config)]
    with child(command, folder / "apache.log") as server:
        eventually(lambda: listens(port), "Apache listens", server)
        yield Site(folder, port, server)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with servers.open_folder() as folder, apache(folder) as running:
        yield running


@pytest.fixture
def own() -> Iterator[Site]:
    """Give one that a test may break."""
    with servers.open_folder() as folder, apache(folder) as running:
        yield running


@pytest.fixture(scope="module")
def alice(site: Site) -> str:
    return log_in(site.folder, "alice")


@pytest.fixture(scope="module")
def bob(site: Site) -> str:
    return log_in(site.folder, "bob")


def test_a_session_opens_what_its_user_may_see(site: Site, alice: str, bob: str) -> None:
    assert site.get("/files/staff/handbook.txt", alice).body == b"handbook: " + SECRET
    assert site.status("/files/staff/handbook.txt", bob) == 403
    assert site.status("/files/staff/handbook.txt") == 401
    assert site.status("/files/open/hello.txt") == 200


def test_answers_are_native(site: Site, alice: str) -> None:
    whole = site.get("/files/open/letters.txt")
    etag = whole.headers["etag"]

    assert site.get("/files/open/letters.txt", Range="bytes=2-4").body == b"cde"
    assert site.get("/files/open/letters.txt", If_None_Match=etag).status == 304
    assert site.get("/files/open/letters.txt", method="HEAD").headers["content-length"] == "26"
    assert site.get("/files/staff/none.txt", alice).status == 404
    assert site.get("/files/staff/none.txt").status == 401


def test_protected_answers_and_refusals_say_how_they_may_be_kept(site: Site, alice: str, bob: str) -> None:
    def kept(path: str, cookie: str = "") -> str:
        return site.get(path, cookie).headers["cache-control"]

    assert kept("/files/staff/handbook.txt", alice) == "private, no-cache"
    assert kept("/files/open/cached.txt") == "public, max-age=60"
    assert kept("/files/staff/handbook.txt") == kept("/files/staff/handbook.txt", bob) == "no-store"


def test_a_refusal_and_the_access_log_name_the_decision(site: Site, alice: str, bob: str) -> None:
    refused = site.get("/files/staff/handbook.txt", bob).headers["x-authgate-decision"]
    allowed = site.get("/files/staff/handbook.txt", alice)
    pattern = r"[0-9a-f]{4}-[0-9a-f]{12}"

    assert re.fullmatch(pattern, refused)
    assert "x-authgate-decision" not in allowed.headers
    eventually(
        lambda: re.search(
            rf"^{refused}\|-\|403\|/files/staff/handbook.txt\n{pattern}\|alice\|200\|", access(site), re.MULTILINE
        ),
        "both are in the access log",
    )


def access(site: Site) -> str:
    return (site.folder / "access.log").read_text()


@pytest.mark.parametrize(
    ("path", "back"),
    [
        ("/files/staff/handbook.txt?a=%20b&c", "/files/staff/handbook.txt%3Fa%3D%2520b%26c"),
        ("/files/staff/a%3fb%25.txt", "/files/staff/a%253Fb%2525.txt"),
        ("/files/staff/x?next=//evil.example/", "/"),
    ],
)
def test_who_navigates_is_sent_to_the_login_of_the_site(site: Site, path: str, back: str) -> None:
    reply = site.get(path, Accept="text/html")

    assert reply.status == 302
    assert reply.headers["location"] == f"http://{HOST}:{site.port}/authgate/login?next={back}"
    assert reply.headers["cache-control"] == "no-store"
    assert site.get(path, Sec_Fetch_Mode="navigate").status == 302
    assert site.get(path, Sec_Fetch_Mode="cors", Accept="text/html").status == 401


def test_a_program_is_told_that_a_login_is_missing(site: Site) -> None:
    reply = site.get("/files/staff/handbook.txt")

    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Authgate")


def test_authorization_is_refused_whatever_it_says(site: Site, alice: str) -> None:
    for value in ("Basic YWxpY2U6YQ==", "Bearer x", "x"):
        assert site.status("/files/staff/handbook.txt", alice, Authorization=value) == 403
        assert site.status("/files/open/hello.txt", Authorization=value) == 403


@pytest.mark.parametrize(
    "path",
    [
        "/files/open/../staff/handbook.txt",
        "/files/open/%2e%2e/staff/handbook.txt",
        "/files//staff/handbook.txt",
        "/files/./staff//handbook.txt",
        "/%66iles/s%74aff/handbook.txt",
        "/files/staff/handbook.txt/extra",
        "/files/open/hello.txt%0a/../../staff/handbook.txt",
        "http://other.example/files/staff/handbook.txt",
        "/files/staff/handbook.txt%20HTTP/1.1",
        "/files/staff/handbook.txt?%20/files/open/hello.txt",
        "/files/staff/handbook.txt?x${authgate:n}|OK",
        "/files/staff/handbook.txt%3e1%20OK%20-%20x%20-",
        "/files/staff/%24%7bauthgate:x%7d",
    ],
)
def test_no_way_of_writing_a_target_opens_what_is_not_open(site: Site, bob: str, path: str) -> None:
    assert site.status(path) in {400, 401, 403, 404}
    assert site.status(path, bob) in {400, 403, 404}


def test_names_with_every_mark_are_asked_about_as_they_are(site: Site, alice: str) -> None:
    assert site.get("/files/open/a%20b%253f%3f.txt").body == OPEN
    assert site.get("/files/staff/a%3fb%25.txt", alice).body == b"odd: " + SECRET


@pytest.mark.parametrize(
    "value",
    [
        "x=1 a b c d",
        "x=${authgate:n}|OK} %{HTTP:Host} $1 %1",
        'x=\t"{}|\\%41%0a\x80\xff',
        "UNIQUE_ID=x; AG_OK=1; x>1 OK alice - -",
    ],
)
def test_no_cookie_gets_out_of_its_field(site: Site, alice: str, value: str) -> None:
    assert site.status("/files/staff/handbook.txt", value) == 401
    assert site.status("/files/staff/handbook.txt", f"{value}; {alice}") == 200


def test_no_header_stands_in_for_what_the_rules_set(site: Site, bob: str) -> None:
    for name in ("AG_OK", "AG-OK", "REDIRECT_AG_OK", "Unique-Id", "Remote-User", "X-Authgate-User", "X-Authgate-Path"):
        assert site.status("/files/staff/handbook.txt", bob, **{name: "1"}) == 403


def test_long_requests_are_refused_and_the_next_is_not(site: Site, alice: str) -> None:
    many = "x=" + "%" * 8000
    assert site.status(f"/files/staff/handbook.txt?{'%25' * 2500}", f"{alice}; {many}", Accept=8000 * "\xe9") == 200
    assert site.status("/files/" + "x" * 7000) in {403, 404}
    assert site.status("/files/staff/handbook.txt", alice) == 200


def test_a_virtual_host_without_the_rules_serves_nothing(site: Site, alice: str) -> None:
    assert site.status("/files/open/hello.txt", host="bare.example.com") == 403
    assert site.status("/files/staff/handbook.txt", alice, host="bare.example.com") == 403


def test_another_alias_is_another_path(site: Site, alice: str) -> None:
    assert site.status("/second/staff/handbook.txt", alice) == 403
    assert site.status("/second/open/hello.txt") == 403


def test_a_path_that_is_not_asked_about_serves_nothing(site: Site, alice: str) -> None:
    assert site.status("/authgate/handbook.txt", alice) == 403
    assert site.status("/.well-known/acme-challenge/handbook.txt", alice) == 403


def test_trace_and_what_does_not_read_are_refused(site: Site, alice: str) -> None:
    assert site.status("/files/open/hello.txt", method="TRACE") == 405
    assert site.status("/files/staff/handbook.txt", alice, method="POST") == 405


def test_an_index_is_asked_about_by_its_own_name(site: Site, alice: str, bob: str) -> None:
    assert site.get("/files/staff/", alice).body == b"index: " + SECRET
    assert site.status("/files/staff/", bob) == 403
    # The folder is open and its index is not.
    assert site.status("/files/list/", alice) == 403
    assert site.status("/files/list/") == 403


def test_a_revocation_is_in_force_at_once(own: Site) -> None:
    cookie = log_in(own.folder, "alice")
    assert own.status("/files/staff/handbook.txt", cookie) == 200

    log_out_everybody(own.folder)

    eventually(lambda: own.status("/files/staff/handbook.txt", cookie) == 401, "the session has ended")


def test_rules_of_the_site_are_asked_about_with_what_they_make() -> None:
    above = (
        "RewriteEngine On\nRewriteRule ^/files/open/way.txt$ /files/staff/handbook.txt\n"
        "RewriteRule ^/files/open/last.txt$ /files/staff/handbook.txt [PT]\n"
    )
    below = "RewriteRule ^/files/open/below.txt$ /files/staff/handbook.txt [PT]\n"
    per_directory = (
        "<Directory FOLDER/files/open>\nOptions FollowSymLinks\nRewriteEngine On\n"
        "RewriteRule ^inner.txt$ /files/staff/handbook.txt\n</Directory>"
    )
    with servers.open_folder() as folder:
        more = below + per_directory.replace("FOLDER", str(folder))
        with apache(folder, above=above, more=more) as site:
            cookie = log_in(folder, "alice")
            assert site.get("/files/staff/handbook.txt", cookie).status == 200
            for name, for_alice in (("way", 200), ("last", 403), ("below", 404), ("inner", 200)):
                path = f"/files/open/{name}.txt"
                assert SECRET not in site.get(path).body, path
                assert site.get(path, cookie).status == for_alice, path


def test_includes_are_asked_about() -> None:
    page = b'<!--#include virtual="/files/staff/handbook.txt" --> page'
    with servers.open_folder() as folder:
        servers.make_file(os.fsencode(folder / "files/open/page.shtml"), page)
        ssi = (
            f"<Directory {folder}/files/open>\nOptions +Includes\nAddOutputFilter INCLUDES .shtml\n"
            "AddType text/html .shtml\n</Directory>"
        )
        with apache(folder, more=ssi) as site:
            assert SECRET in site.get("/files/open/page.shtml", log_in(folder, "alice")).body
            for cookie in ("", log_in(folder, "bob")):
                body = site.get("/files/open/page.shtml", cookie).body
                assert b"page" in body
                assert SECRET not in body


# When something is wrong with the program


def test_a_program_that_was_killed_opens_nothing_until_a_graceful_restart(own: Site) -> None:
    cookie = log_in(own.folder, "alice")
    assert own.status("/files/staff/handbook.txt", cookie) == 200
    os.kill(own.program(), signal.SIGKILL)

    eventually(lambda: own.status("/files/open/hello.txt") == 403, "the program is dead")
    for _ in range(5):
        assert own.status("/files/open/hello.txt") == 403
        assert own.status("/files/staff/handbook.txt", cookie) == 403
    own.restart()

    assert own.status("/files/staff/handbook.txt", cookie) == 200


@pytest.mark.parametrize("kind", [signal.SIGUSR1, signal.SIGHUP])
def test_a_restart_starts_the_program_anew_with_the_files_of_now(own: Site, kind: signal.Signals) -> None:
    assert own.status("/files/open/hello.txt") == 200
    before = own.program()
    lay_out(own.folder, own.port, RULES.replace("group:staff", "anyone"))
    assert own.get("/files/staff/handbook.txt").status == 401

    own.restart(kind)

    eventually(lambda: before not in children(own.server.process.pid), "the former program has ended")
    assert own.program() != before
    assert own.get("/files/staff/handbook.txt").status == 200


def test_a_program_that_hangs_opens_nothing(own: Site) -> None:
    program = own.program()
    assert own.status("/files/open/hello.txt") == 200
    os.kill(program, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", own.port), timeout=0.5) as connection:
        connection.sendall(f"GET /files/open/hello.txt HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            connection.recv(1)
        os.kill(program, signal.SIGCONT)
        connection.settimeout(DEADLINE)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_an_answer_that_a_dead_process_of_apache_did_not_read_opens_nothing_and_the_map_recovers(own: Site) -> None:
    cookie = log_in(own.folder, "alice")
    assert own.status("/files/staff/handbook.txt", cookie) == 200
    program, workers = own.program(), own.workers()
    os.kill(program, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", own.port), timeout=DEADLINE) as connection:
        connection.sendall(
            f"GET /files/staff/handbook.txt HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        eventually(lambda: unread(program) > 50, "the question has been asked")
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        assert connection.recv(1) == b""
    os.kill(program, signal.SIGCONT)

    eventually(lambda: set(own.workers()).isdisjoint(workers) and own.workers(), "there are new processes")
    for _ in range(3):
        assert own.status("/files/staff/handbook.txt") in {401, 403}
    eventually(lambda: own.status("/files/staff/handbook.txt", cookie) == 200, "questions and answers go together")
    for _ in range(3):
        assert own.status("/files/staff/handbook.txt") == 401


def unread(pid: int) -> int:
    """Return how many bytes of questions a program has not read."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        mode = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
        flags = int(re.search(r"^flags:\s+(\d+)", mode, re.MULTILINE)[1], 8)  # type: ignore[index]
        if target.startswith("pipe:") and flags & os.O_ACCMODE == os.O_RDONLY:
            descriptor = os.open(f"/proc/{pid}/fd/{entry.name}", os.O_RDONLY | os.O_NONBLOCK)
            found = array("i", [0])
            ioctl(descriptor, FIONREAD, found)
            os.close(descriptor)
            if found[0]:
                return found[0]
    return 0


STUB = """
import os, sys
begun = b""
while piece := os.read(0, 65536):
    *lines, begun = (begun + piece).split(b"\\n")
    for line in lines:
        nonce = line.split(b" ")[0]
        os.write(1, ANSWER)
"""


@pytest.mark.parametrize(
    "answer",
    [
        'b"x OK - id -\\n" + nonce + b" OK - id -\\n"',
        'b"\\n" + nonce + b" OK - id -\\n"',
        'b"OK - id -\\n"',
        'b" OK - id -\\n"',
        'b"> OK - id -\\n"',
        'nonce + b"\\n"',
        'nonce + b" OK\\n"',
        'nonce + b" OK \\n"',
        'nonce + b" OK - id - \\n"',
        'nonce + b" OK alice - id - more\\n"',
        'nonce + b" NOT OK - id -\\n"',
        'nonce + b" ok - id -\\n"',
        'nonce + b"x OK - id -\\n"',
        'b"x" + nonce + b" OK - id -\\n"',
        'nonce[:-1] + b" OK - id -\\n"',
        'b"NULL\\n"',
        'nonce + b" LOGIN\\n"',
        'nonce + b" DENY 200 id\\n"',
        'b"x" * 100000 + b"\\n"',
    ],
)
def test_nothing_but_the_answer_to_this_question_opens(tmp_path: Path, answer: str) -> None:
    with stubbed(answer) as site:
        for _ in range(3):
            assert site.status("/files/open/hello.txt") == 403


def test_the_stub_would_open_with_the_right_answer() -> None:
    with stubbed('nonce + b" OK alice id -\\n"') as site:
        assert site.status("/files/staff/handbook.txt") == 200


@contextmanager
def stubbed(answer: str) -> Iterator[Site]:
    """Run Apache with a program that answers everything in one way."""
    with servers.open_folder() as folder:
        write(folder / "stub.py", STUB.replace("ANSWER", answer))
        with apache(folder, program=f"{sys.executable} {folder}/stub.py") as site:
            yield site


def test_a_program_that_refuses_to_start_opens_nothing_and_says_why() -> None:
    handler = '[[rules]]\nname = "odd"\npaths = ["/odd/**"]\nallow = ["handler:rights::may"]\n'
    with servers.open_folder() as folder, apache(folder, rules=RULES + handler) as site:
        eventually(lambda: 'rules[3] "odd": authgate rewritemap asks no handler' in said(site), "it says why")

        assert site.status("/files/open/hello.txt") == 403


def said(site: Site) -> str:
    return site.log() + site.server.text()


def test_without_a_nonce_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.MODULES", tuple(name for name in MODULES if name != "unique_id"))
    with servers.open_folder() as folder, apache(folder) as site:
        assert site.status("/files/open/hello.txt") == 403


def test_included_in_a_virtual_host_it_has_a_program_of_its_own() -> None:
    def inside(text: str, folder: Path) -> str:
        include = INCLUDE.read_text().replace(SHIPPED, f'"prg:{program_of(folder)}"')
        assert include in text
        return text.replace(include, "").replace("RewriteOptions InheritBefore", include)

    with servers.open_folder() as folder, changed(folder, lambda text: inside(text, folder)) as site:
        assert site.status("/files/open/hello.txt") == 200
        assert site.status("/files/staff/handbook.txt") == 401
        assert site.status("/files/open/hello.txt", host="bare.example.com") == 403


@contextmanager
def changed(folder: Path, change: Callable[[str], str]) -> Iterator[Site]:
    port = free_port()
    lay_out(folder, port)
    config = folder / "apache.conf"
    config.write_text(change(configuration(folder, port, program_of(folder))))
    with child([servers.require("apache2"), "-DFOREGROUND", "-f", str(config)], folder / "apache.log") as server:
        eventually(lambda: listens(port), "Apache listens", server)
        yield Site(folder, port, server)
