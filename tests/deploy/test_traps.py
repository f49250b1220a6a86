"""nginx constructs that open another file than the one authgate was asked about, or none that it was asked about.

Each trap is a location below ``/t/`` whose own files everybody may have, and a way from there to ``/denied/``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.deploy.house import OPEN, SECRET, House, Running, inhabited
from tests.servers import open_folder

HOST = "traps.example.com"

# What an uploader would like to know, and to show.
SSI_PAGE = b'<!--#echo var="http_cookie" --> <!--#include virtual="/denied/secret.txt" -->'


@dataclass(frozen=True, slots=True)
class Trap:
    """Directives of one location, and the address below it that leads to a denied file.

    Args:
        before: directives before the include line.
        after: directives after it.
        status: what the address answers.
    """

    address: str
    before: str = ""
    after: str = ""
    status: int = 403


TRAPS: Mapping[str, Trap] = {
    "rewrite last": Trap("go/secret.txt", before="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1 last;"),
    "rewrite break": Trap("go/secret.txt", before="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1 break;"),
    "rewrite without a flag": Trap("go/secret.txt", before="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1;"),
    # After the line a rewrite does nothing: what is opened is what was asked about.
    "late rewrite last": Trap("go/secret.txt", after="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1 last;", status=404),
    "late rewrite break": Trap("go/secret.txt", after="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1 break;", status=404),
    "late rewrite in an if": Trap(
        "go/secret.txt", after="if ($uri ~ ^/t/[^/]+/go/(.*)$) { rewrite ^ /denied/$1 last; }", status=404
    ),
    "rewrite last into a location without the line": Trap(
        "go/table.csv", before="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1 last;"
    ),
    "late rewrite last into a location without the line": Trap(
        "go/table.csv", after="rewrite ^/t/[^/]+/go/(.*)$ /denied/$1 last;", status=404
    ),
    "index": Trap("folder/", after="index nothing.html /denied/index.html;"),
    "try_files": Trap("nothing.txt", after="try_files $uri /denied/secret.txt;"),
    "try_files into a named location": Trap("nothing.txt", after="try_files $uri @bare;"),
    "error_page 404": Trap("nothing.txt", after="error_page 404 /denied/secret.txt;"),
    "error_page 404 with its own status": Trap("nothing.txt", after="error_page 404 =200 /denied/secret.txt;"),
    "error_page 404 into a location without set": Trap("nothing.txt", after="error_page 404 =200 /unset/secret.txt;"),
    "internal redirect into a location without set": Trap("nothing.txt", after="try_files $uri /unset/secret.txt;"),
    "internal redirect into a nested location": Trap("nothing.csv", after="try_files $uri /denied/table.csv;"),
    "autoindex": Trap("folder/"),
}


def server_block(house: House) -> str:
    locations = "".join(
        f"location ^~ /t/{number}/ {{\n{trap.before}\ninclude authgate/authgate-protect.conf;\n{trap.after}\n}}\n"
        for number, trap in enumerate(TRAPS.values())
    )
    return f"""
    server {{
        listen 127.0.0.1:{house.http_port};
        server_name {HOST};
        root {house.files};
        ssi on; ssi_types *; autoindex on;
        include authgate/authgate-server.conf;
        {locations}
        location ^~ /denied/ {{
            include authgate/authgate-protect.conf;
            location ~ \\.csv$ {{ }}
        }}
        location ^~ /unset/ {{ alias {house.files}/denied/; auth_request /_authgate; }}
        location @bare {{ auth_request /_authgate; rewrite ^ /denied/secret.txt break; }}
        location ^~ /nested/ {{
            include authgate/authgate-protect.conf;
            location ~ \\.csv$ {{ }}
            location ~ \\.txt$ {{ include authgate/authgate-protect.conf; }}
        }}
        location ^~ /without/ {{ }}
        location ^~ /added/ {{ default_type text/html; add_before_body /denied/secret.txt; }}
        location ^~ /arguments/ {{
            set $args $uri;
            rewrite ^/arguments/to/ /arguments/hello.txt;
            include authgate/authgate-protect.conf;
        }}
    }}
    """


@pytest.fixture(scope="module")
def traps() -> Iterator[Running]:
    rules = f"""
    [[rules]]
    name = "traps"
    hosts = ["{HOST}"]
    paths = ["/t/**", "/nested/**", "/unset/**", "/arguments/**"]
    allow = ["anyone"]
    """
    with open_folder() as folder:
        house = House(folder, sites=(HOST,), rules=rules)
        house.build()
        for number in range(len(TRAPS)):
            own = house.files / "t" / str(number)
            (own / "folder").mkdir(parents=True)
            (own / "hello.txt").write_bytes(OPEN)
            (own / "folder" / "name-of-a-file").write_bytes(OPEN)
        for name in ("nested", "without", "added", "arguments"):
            (house.files / name).mkdir()
            (house.files / name / "hello.txt").write_bytes(OPEN)
            (house.files / name / "table.csv").write_bytes(SECRET)
        (house.files / "nested" / "page.shtml").write_bytes(SSI_PAGE)
        (house.files / "without" / "page.shtml").write_bytes(
            b'<!--#include virtual="/denied/secret.txt" --><!--#include virtual="/t/0/hello.txt" -->' + OPEN
        )
        with inhabited(house, server_block(house)) as running:
            yield running


@pytest.mark.parametrize("name", TRAPS)
def test_no_way_from_an_allowed_to_a_denied_file(traps: Running, name: str) -> None:
    trap = TRAPS[name]
    base = f"/t/{list(TRAPS).index(name)}"
    with traps.client(HOST) as client:
        plain = client.get(f"{base}/hello.txt")
        answer = client.get(f"{base}/{trap.address}")

    assert (plain.status_code, plain.content) == (200, OPEN)
    assert SECRET not in answer.content
    assert b"name-of-a-file" not in answer.content
    assert answer.status_code == trap.status


def test_post_to_a_file_does_not_lead_to_a_denied_error_page(traps: Running) -> None:
    with traps.client(HOST) as client:
        answers = [client.post(f"/t/{number}/hello.txt") for number in range(len(TRAPS))]

    assert not any(SECRET in answer.content for answer in answers)


def test_nested_location_is_closed_until_it_has_its_own_line(traps: Running) -> None:
    with traps.client(HOST) as client:
        without, with_its_own = client.get("/nested/table.csv"), client.get("/nested/hello.txt")

    assert (without.status_code, with_its_own.status_code) == (403, 200)


def test_protected_files_are_not_read_for_ssi_commands(traps: Running) -> None:
    # They could show to a script what it must not see, such as the session cookie, and include what nobody asked about.
    with traps.client(HOST) as client:
        answer = client.get("/nested/page.shtml", headers={"Cookie": "authgate=x"})

    assert (answer.status_code, answer.content) == (200, SSI_PAGE)


def test_ssi_page_outside_the_protected_locations_cannot_include_protected_files(traps: Running) -> None:
    # auth_request does not run in subrequests, wherever they come from.
    with traps.client(HOST) as client:
        answer = client.get("/without/page.shtml")

    assert answer.status_code == 200
    assert SECRET not in answer.content
    assert answer.content.endswith(OPEN)


def test_addition_module_cannot_include_protected_files(traps: Running) -> None:
    with traps.client(HOST) as client:
        answer = client.get("/added/hello.txt")

    assert SECRET not in answer.content


def test_decoded_bytes_in_arguments_reach_authgate_as_none(traps: Running) -> None:
    # %0d%0a in $args would otherwise end the header and begin another one.
    with traps.client(HOST) as client:
        plain = client.get("/arguments/to/a=b")
        forged = client.get("/arguments/to/a%0d%0aX-Authgate-Path:%20/denied/secret.txt")

    # Two paths would be a contradiction, and refused.
    assert [(answer.status_code, answer.content) for answer in (plain, forged)] == [(200, OPEN), (200, OPEN)]
