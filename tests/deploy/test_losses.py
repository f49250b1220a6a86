"""How the check is lost, and that it is not: each construct without the cure that an include has, and with it."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from authgate.cli.snippet import nginx_files
from authgate.config import load
from tests import servers
from tests.deploy.applications import Applications, applications
from tests.deploy.house import OPEN, SECRET, House, inhabited, status_of
from tests.deploy.losses import ADVICE, APP, FILES, HTTP, LOSSES, NGINX_PASSWORD, PASS, SERVER_LOGIN, Loss, login

RULES = """
[[rules]]
name = "elsewhere"
hosts = ["elsewhere.example.com"]
paths = ["/**"]
allow = ["anyone"]
[[rules]]
name = "members"
paths = ["/members/**"]
allow = ["user:alice"]
[[rules]]
name = "office"
paths = ["/office/**"]
allow = ["ip:10.0.0.0/8"]
[[rules]]
name = "scripts"
paths = ["/one.php", "/two.php/**", "/l/closed.html", "/admin/**", "/denied/**"]
deny = ["anyone"]
[[rules]]
name = "others"
paths = ["/**"]
allow = ["anyone"]
"""


EVERY: Mapping[str, Loss] = {**LOSSES, **ADVICE}


def host(name: str, variant: str) -> str:
    return f"{variant}-{list(EVERY).index(name)}.example.com"


def changed(files: Mapping[str, str], changes: tuple[tuple[str, str, str], ...], prefix: str) -> dict[str, str]:
    """Return the includes with some lines changed, under names of their own where http level is concerned."""
    result = dict(files)
    for file, written, instead in changes:
        assert written in result[file], (file, written)
        result[file] = result[file].replace(written, instead, 1)
    if any(file == HTTP for file, _, _ in changes):
        result = {name: re.sub(r"\b(?:ag|authgate)_(?=\w)", prefix, text) for name, text in result.items()}
        result[HTTP] = result[HTTP].partition("# One JSON object a line")[0]
    return result


def server_block(house: House, loss: Loss, name: str, folder: str, behind: Applications, block: str) -> str:
    text = f"""
    server {{
        {loss.before if block is loss.block else ""}
        include INCLUDES/authgate-server.conf;
        listen 127.0.0.1:{house.http_port};
        server_name {name};
        root {house.files};
        {block}
    }}
    """
    places = {
        "INCLUDES": folder,
        "ROOT": str(house.files),
        "PORT": str(behind.http),
        "USERS": str(house.folder / "nginx.htpasswd"),
        "FASTCGI": str(behind.fastcgi),
    }
    for written, real in places.items():
        text = text.replace(written, real)
    return text


def configuration(house: House, behind: Applications) -> str:
    """Write the changed includes, and return a server block with and one without the cure for each."""
    files = nginx_files(load(house.config))
    parts = [
        f"""
        variables_hash_max_size 8192; variables_hash_bucket_size 128;
        server_names_hash_max_size 8192;
        proxy_cache_path {house.folder}/kept keys_zone=kept:1m;
        server {{
            listen unix:{house.socket.parent}/long.sock;
            add_header Location http://x.example/{"x" * 2250} always;
            add_header X-Long {"x" * 2250} always;
            return 401;
        }}
        """
    ]
    for number, (name, loss) in enumerate(EVERY.items()):
        for variant, changes in (("lost", (*loss.without, *loss.both)), ("cured", loss.both)):
            folder = house.folder / f"{variant}-{number}"
            folder.mkdir()
            own = changed(files, changes, f"{variant}{number}_")
            for file, text in own.items():
                (folder / file).write_text(text)
            if any(file == HTTP for file, _, _ in changes):
                parts.append(f"include {folder}/{HTTP};")
            block = loss.cured if loss.cured and variant == "cured" else loss.block
            if any(file == HTTP for file, _, _ in changes):
                block = re.sub(r"\$ag_", f"${variant}{number}_", block)
            parts.append(server_block(house, loss, host(name, variant), str(folder), behind, block))
    return "\n".join(parts)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    hosts = tuple(host(name, variant) for name in EVERY for variant in ("lost", "cured"))
    hosts = ("elsewhere.example.com", *hosts)
    with servers.open_folder() as folder, applications(folder) as behind:
        house = House(folder, sites=hosts, rules=RULES, rules_of_files="", users="server_login = true\n")
        house.build()
        lay_out(house.files)
        (folder / "nginx.htpasswd").write_text(f"alice:{{PLAIN}}{NGINX_PASSWORD}\n")
        with inhabited(house, configuration(house, behind)):
            yield house


def lay_out(files: Path) -> None:
    """Write what the constructs lead to."""
    for name in ("l/folder", "members", "office"):
        (files / name).mkdir(parents=True)
    include = b'<!--#include virtual="/denied/secret.txt" -->'
    contents = {
        "l/page.shtml": include + OPEN,
        "l/hello.html": OPEN,
        "l/closed.html": SECRET,
        "l/folder/name-of-a-file": OPEN,
        "members/hello.txt": SECRET,
        "office/plan.txt": SECRET,
    }
    for name, content in contents.items():
        (files / name).write_bytes(content)
    servers.make_file(str(files / "members").encode() + b"/a\r\nX-Authgate-User: alice", SECRET)
    (files / "l" / "link.txt").symlink_to(files / "denied" / "secret.txt")
    (files / "members").chmod(0o777)


def ask(port: int, name: str, requests: tuple[str, ...], source: str) -> bytes:
    """Ask and return the last answer; nothing when there is none within two seconds."""
    answer = b""
    for request in requests:
        line, separator, fields = request.partition("\r\n")
        head = f"{line} HTTP/1.1\r\nHost: {name}\r\n"
        text = f"{head}{fields if separator else ''}".replace("HOST", name)
        if "\r\n\r\n" not in text:
            text = f"{text.rstrip()}\r\nConnection: close\r\n\r\n"
        elif "Content-Length" in text:
            text = text.replace("Content-Length", "Connection: close\r\nContent-Length")
        else:
            text += "\r\n\r\n"
        answer = b""
        with closing(socket.create_connection(("127.0.0.1", port), 2, (source, 0))) as connection:
            connection.sendall(text.encode())
            try:
                while part := connection.recv(65536):
                    answer += part
                    if "2147483648" in request:
                        break  # nginx waits for a body that does not come
            except TimeoutError:
                pass
    return answer


@pytest.mark.parametrize("name", LOSSES)
def test_check_is_lost_without_the_cure_of_the_include_and_not_with_it(house: House, name: str) -> None:
    loss = EVERY[name]

    lost, cured = (ask(house.http_port, host(name, variant), loss.ask, loss.source) for variant in ("lost", "cured"))

    assert loss.lost(lost), lost
    assert status_of(cured) == loss.status, cured
    assert not loss.lost(cured), cured


@pytest.mark.parametrize("name", ADVICE)
def test_check_is_lost_as_it_is_written_and_not_as_it_is_advised(house: House, name: str) -> None:
    loss = EVERY[name]

    lost, cured = (ask(house.http_port, host(name, variant), loss.ask, loss.source) for variant in ("lost", "cured"))

    assert loss.lost(lost), lost
    assert status_of(cured) == loss.status, cured
    assert not loss.lost(cured), cured


def test_host_of_another_site_is_decided_by_its_rules_until_a_default_server_answers_421(house: House) -> None:
    lost, cured = servers.free_port(), servers.free_port()
    block = f"""
        include {house.folder}/authgate/authgate-server.conf;
        server_name {host("autoindex", "cured")};
        root {house.files};
        location ^~ /denied/ {{ include {house.folder}/authgate/authgate-protect.conf; }}
    """
    http = f"""
    include {house.folder}/authgate/authgate-http.conf;
    server {{ listen 127.0.0.1:{lost}; {block} }}
    server {{ listen 127.0.0.1:{cured}; {block} }}
    server {{ listen 127.0.0.1:{cured} default_server; server_name _; return 421; }}
    """
    with servers.open_folder() as folder, servers.nginx(folder, http, lost):
        answers = [
            ask(port, "elsewhere.example.com", ("GET /denied/secret.txt",), "127.0.0.1") for port in (lost, cured)
        ]

    assert SECRET in answers[0]
    assert status_of(answers[1]) == 421


def test_every_loss_is_documented_under_its_name() -> None:
    text = (servers.PACKAGE_ROOT / "docs" / "nginx.md").read_text()
    section = text.partition("## How the check can be lost")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\|.* \| ([^|]+) \|$", section, re.MULTILINE)) == sorted(
        ["Name", *LOSSES, "Name", *ADVICE]
    )


# What is wrong and closed all the same.
CLOSED: Mapping[str, tuple[str, str, int]] = {
    "nested location without the line": (
        (
            f"location ^~ / {{ {PASS} {APP}"
            " location ~ x$ { proxy_pass http://127.0.0.1:PORT; proxy_set_header X-Mine 1; } }"
        ),
        "GET /x\r\nRemote-User: root",
        403,
    ),
    "limit_except with auth_basic off": (
        f"location ^~ /members/ {{ set $ag_user_file USERS; {SERVER_LOGIN} limit_except GET {{ auth_basic off; }} }}",
        f"POST /members/hello.txt\r\n{login('alice', 'wrong')}",
        403,
    ),
    "nested location with auth_basic off": (
        f"location ^~ /members/ {{ set $ag_user_file USERS; {SERVER_LOGIN} location ~ x$ {{ auth_basic off; }} }}",
        f"GET /members/x\r\n{login('alice', 'wrong')}",
        403,
    ),
    "$ag_user_file not set": (
        f"location ^~ /members/ {{ {SERVER_LOGIN} }}",
        f"GET /members/hello.txt\r\n{login('alice', NGINX_PASSWORD)}",
        401,
    ),
    "$ag_user_file that does not exist": (
        f"location ^~ /members/ {{ set $ag_user_file ROOT/nothing; {SERVER_LOGIN} }}",
        f"GET /members/hello.txt\r\n{login('alice', NGINX_PASSWORD)}",
        403,
    ),
    "rewrite before the line": (
        f"location ^~ /l/ {{ rewrite ^/l/(.*)$ /denied/$1 break; {FILES} }}",
        "GET /l/secret.txt",
        403,
    ),
}


@pytest.fixture(scope="module")
def closed(house: House) -> Iterator[int]:
    port = servers.free_port()
    blocks = [
        re.sub(r"listen [^;]+;", f"listen 127.0.0.1:{port};", text)
        for number, (block, _, _) in enumerate(CLOSED.values())
        for text in [
            server_block(
                house,
                Loss(block, ()),
                host(list(EVERY)[number], "cured"),
                f"{house.folder}/authgate",
                Applications(servers.free_port(), house.folder, house.folder),
                block,
            )
        ]
    ]
    http = f"include {house.folder}/authgate/authgate-http.conf;" + "".join(blocks)
    with servers.open_folder() as folder, servers.nginx(folder, http, port):
        yield port


@pytest.mark.parametrize("name", CLOSED)
def test_mistake_that_loses_the_line_or_the_login_is_closed(closed: int, name: str) -> None:
    _, request, status = CLOSED[name]

    answer = ask(closed, host(list(EVERY)[list(CLOSED).index(name)], "cured"), (request,), "127.0.0.1")

    assert status_of(answer) == status
    assert SECRET not in answer
