"""105 nasty request targets, measured on nginx 1.22: with authgate in between they lead to the same file or to none."""

import json
from collections.abc import Iterator, Mapping

import pytest

from tests import servers
from tests.deploy.house import HTTP_HOST, House, Running, body_of, exchange, inhabited, status_of

OPEN_HOST = "targets.example.com"

# Of each of these hosts one file is closed, whatever way leads to it.
GUARDED: Mapping[str, str] = {
    "no-b.example.com": "/b",
    "no-a-b.example.com": "/a/b",
    "no-semicolon.example.com": "/a;x/b",
}

CASES = json.loads((servers.PACKAGE_ROOT / "tests" / "vectors" / "paths" / "targets.json").read_text())

# The file shortens what is long.
LONG = {
    "/xxxxxxxxxxxxxxxxxxx...(7001 bytes)": "/" + "x" * 7000,
    "/yyyyyyyyyyyyyyyyyyy...(9001 bytes)": "/" + "y" * 9000,
    "/a/../a/../a/../a/.....(2502 bytes)": "/a/.." * 500 + "/b",
}


def target_of(case: Mapping[str, str]) -> bytes:
    return LONG.get(case["target"], case["target"]).encode("latin-1")


def marker(name: bytes) -> bytes:
    return b"the bytes of " + name


@pytest.fixture(scope="module")
def unmerged_port() -> int:
    return servers.free_port()


@pytest.fixture(scope="module")
def tree(unmerged_port: int) -> Iterator[Running]:
    rules = [f'[[rules]]\nname = "{host}"\nhosts = ["{host}"]\npaths = ["{path}"]\ndeny = ["anyone"]\n'
             for host, path in GUARDED.items()]  # fmt: skip
    hosts = [OPEN_HOST, *GUARDED]
    rules.append(f'[[rules]]\nname = "all"\nhosts = {json.dumps(hosts)}\npaths = ["/**"]\nallow = ["anyone"]\n')
    with servers.open_folder() as folder:
        house = House(folder, sites=tuple(hosts), rules="".join(rules))
        house.build()
        root = folder / "targets"
        for case in CASES:
            if case["nginx_file"] is not None:
                name = case["nginx_file"].encode("latin-1")
                path = str(root).encode() + name
                servers.make_file(path, marker(name))
        # merge_slashes is the default server's of a port: the request line is read before the host is known.
        block = "".join(
            f"""
            server {{
                include authgate/authgate-server.conf;
                listen 127.0.0.1:{port};
                server_name {" ".join(hosts)};
                merge_slashes {merge};
                location ^~ / {{ root {root}; include authgate/authgate-protect.conf; }}
            }}
            """
            for port, merge in ((house.http_port, "on"), (unmerged_port, "off"))
        )
        with inhabited(house, block) as running:
            yield running


def ask(port: int, host: str, target: bytes) -> bytes:
    return exchange(port, b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host.encode()))


def expected_status(case: Mapping[str, str], server: str) -> int:
    """Return what was measured without authgate, or the refusal of a path with more than one reading."""
    if case["target"].lower().startswith("http://"):
        # A host in the target counts (RFC 9112 section 3.2.2). This one is the default server's or, where there is
        # none, unknown to authgate.
        return 421
    path = case[f"{server}_uri"].encode("latin-1")
    if any(byte < 0x20 or byte == 0x7F for byte in path):
        return 400
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return 403
    return 403 if b"//" in path else int(case[f"{server}_status"])


@pytest.mark.parametrize("case", CASES, ids=[case["target"] for case in CASES])
def test_target_leads_to_the_measured_file_or_to_none(tree: Running, case: Mapping[str, str]) -> None:
    answer = ask(tree.house.http_port, OPEN_HOST, target_of(case))

    assert status_of(answer) == expected_status(case, "nginx")
    if status_of(answer) == 200:
        assert body_of(answer) == marker(case["nginx_file"].encode("latin-1"))
    else:
        assert marker(b"") not in answer


@pytest.mark.parametrize("case", CASES, ids=[case["target"] for case in CASES])
def test_target_leads_nowhere_else_where_slashes_are_not_merged(
    tree: Running, unmerged_port: int, case: Mapping[str, str]
) -> None:
    answer = ask(unmerged_port, OPEN_HOST, target_of(case))

    assert status_of(answer) == expected_status(case, "nginx_nomerge")
    if status_of(answer) == 200:
        assert body_of(answer) == marker(case["nginx_nomerge_file"].encode("latin-1"))
    else:
        assert marker(b"") not in answer


@pytest.mark.parametrize("host", GUARDED)
def test_no_target_leads_to_a_closed_file(tree: Running, host: str) -> None:
    closed = GUARDED[host].encode()
    served = []
    for case in CASES:
        answer = ask(tree.house.http_port, host, target_of(case))
        assert body_of(answer) != marker(closed), case["target"]
        served.append(body_of(answer))

    assert marker(b"/B") in served


def test_no_target_leads_out_of_the_rules_of_another_host(tree: Running) -> None:
    for case in CASES:
        assert marker(b"") not in ask(tree.house.http_port, HTTP_HOST, target_of(case)), case["target"]
