"""The commands of docs/install.md, word for word, and what has to be true after each."""

import base64
import http.client
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.deploy.house import hidden_fields
from tests.install import systemctl
from tests.install.debian import Debian, say
from tests.install.wheels import Wheels
from tests.servers import PACKAGE_ROOT

PAGE = PACKAGE_ROOT / "docs/install.md"
SITE = "files.example.com"
SECRET = b"only for members\n"
PASSWORDS = {"alice": "a long password", "bob": "another password"}
_DEADLINE = 10.0

_Answer = tuple[int, bytes]


def commands(heading: str) -> list[str]:
    """Return the lines of all ``bash`` blocks below a heading of the page."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    found = [line for block in blocks for line in block.splitlines()]
    if not found:
        sys.exit(f"{PAGE.name} has no commands below {heading!r}")
    return found


class Page:
    """An operator who follows the page."""

    def __init__(self, debian: Debian, wheels: Wheels) -> None:
        self.debian = debian
        self.wheels = wheels
        self.offline = {"PIP_NO_INDEX": "1"}
        files = debian.path("/srv/files")
        files.mkdir()
        (files / "hello.txt").write_bytes(SECRET)
        with debian.path("/etc/hosts").open("a") as hosts:
            hosts.write(f"127.0.0.1 {SITE} other.example.com\n")
        for folder, name in ((wheels.present, "wheels"), (wheels.next, "wheels-next")):
            subprocess.run(["cp", "-r", folder, debian.path(f"/{name}")], check=True)
        stand_in = debian.path("/usr/local/bin/systemctl")
        stand_in.write_text(Path(systemctl.__file__).read_text())
        stand_in.chmod(0o755)

    # With the machine's network

    def install(self) -> None:
        """Run the commands that fetch something."""
        self.lines = commands("Ten commands")
        expect(len(self.lines), 10, "number of commands")
        for _ in range(5):
            self.run(self.lines.pop(0), self.from_wheels("wheels"))
        expect(self.debian.run("authgate --version").split()[-1], self.wheels.version, "installed version")

    def from_wheels(self, name: str) -> dict[str, str]:
        """Let pip take authgate from this checkout, and from nowhere else whatever an index calls so."""
        (wheel,) = self.debian.path(f"/{name}").glob("*.whl")
        constraint = self.debian.path(f"/{name}/constraint.txt")
        constraint.write_text(f"authgate @ file:///{name}/{wheel.name}\n")
        return {"PIP_FIND_LINKS": f"/{name}", "PIP_CONSTRAINT": f"/{name}/constraint.txt"}

    # In a network of its own

    def go_on(self) -> None:
        """Follow the rest of the page."""
        self.run("nginx")  # as the package would have started it
        self.configure()
        self.check()
        cookie = login("alice")
        self.survive_without_authgate()
        self.upgrade(cookie)
        self.roll_back(cookie)
        self.uninstall()

    def configure(self) -> None:
        init, add, *rest = self.lines
        told = self.run(init)
        self.look_at_files()
        # What init says last is what the page says next.
        advice = [line.strip().replace("NAME", "alice") for line in told.partition("as root:")[2].strip().splitlines()]
        expect(advice, [add, *rest], "the commands that init prints")
        self.run(add, typed=[PASSWORDS["alice"]] * 2)
        for line in rest:
            self.run(line)
        eventually(lambda: ask("/hello.txt")[0], 401, "nginx asks authgate")
        again = self.run(init)
        if "wrote" in again:
            sys.exit(f"init wrote again:\n{again}")

    def look_at_files(self) -> None:
        """Compare owners and modes."""
        group = int(self.debian.run("getent group authgate").split(":")[2])
        for name in ("authgate.toml", "users.htpasswd", "groups"):
            status = self.debian.path(f"/etc/authgate/{name}").stat()
            expect((status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)), (0, group, 0o640), name)
        expect(stat.S_IMODE(self.debian.path("/etc/authgate").stat().st_mode), 0o750, "/etc/authgate")
        for name in ("nginx/conf.d/authgate.conf", "systemd/system/authgate.service", "logrotate.d/authgate"):
            status = self.debian.path(f"/etc/{name}").stat()
            expect((status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)), (0, 0, 0o644), name)
        # Debian's own systemd says how far the service is closed in; 10 would be not at all.
        units = "/etc/systemd/system/authgate.service"
        self.run(f"systemd-analyze security --offline=yes --no-pager --threshold=15 {units} >/dev/null")

    def check(self) -> None:
        for line in commands("What you have now"):
            self.run(line)
        self.debian.run("printf '%s\\n' 'another password' | authgate user add bob --password-stdin")
        eventually(lambda: ask("/hello.txt", "bob")[0], 403, "bob is known and no member")
        expect(ask("/hello.txt", "alice"), (200, SECRET), "alice")
        expect(ask("/hello.txt", "alice", password="wrong")[0], 401, "a wrong password")
        status = self.debian.path("/run/authgate/check.sock").stat()
        expect(stat.S_IMODE(status.st_mode), 0o660, "the socket")
        for name in ("authgate.pid", "authgate.status"):
            expect(self.debian.path(f"/run/authgate/{name}").exists(), True, name)
        expect(stat.S_IMODE(self.debian.path("/var/lib/authgate/authgate.db").stat().st_mode), 0o600, "the store")

    def survive_without_authgate(self) -> None:
        for line in commands("Check it"):
            self.run(line)

    def upgrade(self, cookie: str) -> None:
        for line in commands("Upgrade"):
            self.run(line, self.from_wheels("wheels-next") | self.offline)
        expect(self.debian.run("authgate --version").split()[-1], self.wheels.next_version, "version after the upgrade")
        expect(ask("/hello.txt", cookie=cookie), (200, SECRET), "the session after the upgrade")

    def roll_back(self, cookie: str) -> None:
        """Roll back where the newer version has changed the form of the store."""
        *first, remove, reset, start = commands("Roll back")
        stop, *moves, start_older = first
        self.run(stop)
        with closing(sqlite3.connect(self.debian.path("/var/lib/authgate/authgate.db"))) as store:
            (schema,) = store.execute("PRAGMA user_version").fetchone()
            store.execute(f"PRAGMA user_version = {schema + 1}")
        for line in moves:
            self.run(line)
        expect(self.debian.run("authgate --version").split()[-1], self.wheels.version, "version after the rollback")
        said = self.debian.run(f"{start_older} 2>&1 || true")
        if f"has schema {schema + 1}, made by a newer authgate" not in said:
            sys.exit(f"the older authgate does not say why it does not start:\n{said}")
        expect(ask("/hello.txt", "alice")[0], 503, "while the older one does not start")
        for line in (remove, reset, start):
            self.run(line)
        expect(ask("/hello.txt", "alice"), (200, SECRET), "after the rollback")
        expect(ask("/hello.txt", cookie=cookie)[0], 401, "a session of the store that is gone")

    def uninstall(self) -> None:
        with watching() as opened:
            for line in commands("Uninstall"):
                self.run(line)
                expect(ask("/hello.txt")[0] in {401, 403, 503}, True, f"closed after {line}")
        expect(opened, [], "answers to strangers while it was uninstalled")
        expect(ask("/hello.txt", "alice")[0], 403, "after the end")
        left = self.debian.run("find / -xdev -name '*authgate*' -not -path '/proc/*' -not -path '/wheels*'").split()
        allowed = ("/etc/nginx/conf.d/authgate.conf", "/var/log/")
        expect([path for path in left if not path.startswith(allowed)], [], "files that are left")
        expect(self.debian.run("getent passwd authgate || true"), "", "the user")

    def run(self, line: str, environment: Mapping[str, str] | None = None, typed: Sequence[str] = ()) -> str:
        """Run a line; where it ends in ``# 401`` that is what has to be printed."""
        command, _, status = line.partition("  # ")
        if not status:
            return self.debian.run(command, typed, environment)
        # nginx takes a moment to change its workers.
        eventually(lambda: self.debian.run(command).strip(), status, line)
        return ""


def ask(path: str, user: str = "", *, password: str = "", cookie: str = "") -> _Answer:
    """Ask nginx; return status and body."""
    headers = {"Host": SITE, "Connection": "close"}
    if user:
        text = f"{user}:{password or PASSWORDS[user]}"
        headers["Authorization"] = f"Basic {base64.b64encode(text.encode()).decode()}"
    if cookie:
        headers["Cookie"] = cookie
    with closing(http.client.HTTPConnection("127.0.0.1", 80, timeout=_DEADLINE)) as client:
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        return answer.status, answer.read()


def login(user: str) -> str:
    """Log in by the form; return the cookie."""
    headers = {"Host": SITE, "Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with closing(http.client.HTTPConnection("127.0.0.1", 80, timeout=_DEADLINE)) as client:
        client.request("GET", "/authgate/login", headers=headers)
        answer = client.getresponse()
        form = hidden_fields(answer.read().decode())
        cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        headers |= {"Cookie": "; ".join(cookies), "Content-Type": "application/x-www-form-urlencoded"}
        headers |= {"Origin": f"http://{SITE}"}
        client.request(
            "POST",
            "/authgate/login",
            urlencode({**form, "username": user, "password": PASSWORDS[user]}),
            headers,
        )
        answer = client.getresponse()
        answer.read()
        expect(answer.status, 303, "login by the form")
        cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    (cookie,) = (one for one in cookies if one.startswith("authgate=") and len(one) > len("authgate="))
    expect(ask("/hello.txt", cookie=cookie), (200, SECRET), "the session")
    return cookie


@contextmanager
def watching() -> Iterator[list[_Answer]]:
    """Ask as a stranger all the time; give what was answered with 200, or with the file."""
    opened: list[_Answer] = []
    done = threading.Event()
    asked = 0

    def watch() -> None:
        nonlocal asked
        while not done.wait(0.002):
            status, body = ask("/hello.txt")
            asked += 1
            if status == 200 or SECRET in body:
                opened.append((status, body))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield opened
    finally:
        done.set()
        thread.join()
        say(f"a stranger asked {asked} times meanwhile")


def expect(found: object, wanted: object, what: str) -> None:
    """End the run when something is not as it has to be."""
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")


def eventually(look: Callable[[], object], wanted: object, what: str) -> None:
    """Wait until `look()` is as it has to be."""
    end = time.monotonic() + _DEADLINE
    while (found := look()) != wanted:
        if time.monotonic() > end:
            expect(found, wanted, what)
        time.sleep(0.05)
