"""Each construct of `losses.py`: lost without its cure, kept with it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests import servers
from tests.deploy.house import HTTP_HOST, OPEN, SECRET, Visitor, exchange, status_of
from tests.deploy_apache.house import ApacheHouse, apache
from tests.deploy_apache.losses import LOSSES, OTHER_HOST, RULES, Loss


@pytest.fixture(scope="module")
def house() -> Iterator[ApacheHouse]:
    """Give a house with authgate in it and without Apache."""
    with servers.open_folder() as folder:
        built = ApacheHouse(folder, sites=(OTHER_HOST,), rules=RULES)
        built.build()
        for loss in LOSSES.values():
            for name, content in loss.files.items():
                servers.make_file(f"{built.files}/{name}".encode(), content)
        with servers.authgate(built.config):
            yield built


@pytest.fixture(scope="module")
def cookies(house: ApacheHouse) -> dict[str, str]:
    """Give what alice's browser has after the login."""
    with apache(house):
        visitor = Visitor(house)
        visitor.login("alice")
        return visitor.cookies


@pytest.mark.parametrize("name", LOSSES)
def test_check_is_lost_without_the_cure_and_kept_with_it(
    house: ApacheHouse, cookies: dict[str, str], name: str
) -> None:
    loss = LOSSES[name]
    lines = replace(house, inside=loss.inside, behind=loss.behind, below=loss.below, modules=loss.modules)
    cured = lines
    if loss.cured is not None:
        cured = replace(lines, below=loss.cured) if loss.below else replace(lines, inside=loss.cured)

    def without(file: str, text: str) -> str:
        for where, written, instead in loss.without:
            if where == file:
                assert written in text, f"{file} does not hold {written!r} any more"
            if where in {file, "*"}:
                text = text.replace(written, instead)
        return text

    with apache(replace(lines, change=without, missing=loss.missing)):
        lost = answer_of(house, loss, cookies)
    with apache(cured):
        kept = answer_of(house, loss, cookies)
        plain = exchange(house.http_port, request("GET /public/hello.txt", house, HTTP_HOST))

    assert loss.lost(lost), lost
    assert not loss.lost(kept)
    assert SECRET not in kept
    assert status_of(kept) == loss.status
    assert OPEN in plain


def answer_of(house: ApacheHouse, loss: Loss, cookies: dict[str, str]) -> bytes:
    """Ask everything that belongs to a loss; return the last answer."""
    host = OTHER_HOST if "ServerAlias" in loss.inside else HTTP_HOST
    answer = b""
    for number, line in enumerate(loss.ask):
        cookie = f"Cookie: authgate={cookies['authgate']}\r\n" if loss.session and number == 0 else ""
        answer = exchange(house.http_port, request(line, house, host, cookie))
    return answer


def request(line: str, house: ApacheHouse, host: str, more: str = "") -> bytes:
    return f"{line} HTTP/1.1\r\nHost: {host}:{house.http_port}\r\n{more}Connection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("RewriteRule ^/public/go$ /denied/secret.txt", 403),
        ("RewriteRule ^/public/go$ /public/hello.txt", 200),
        ("RewriteRule ^/public/go$ FILES/denied/secret.txt", 403),
        # Past the include: authgate hears neither the path nor the secret.
        ("RewriteRule ^/public/go$ /public/hello.txt [L]", 403),
        ("RewriteRule ^/public/go$ /denied/secret.txt [PT]", 403),
        ("RewriteRule ^/public/go$ /denied/secret.txt [END]", 403),
        ("RewriteRule ^/public/go$ /denied/secret.txt [R]", 302),
    ],
)
def test_rewrite_rules_above_the_include_are_asked_about_with_what_they_make(
    house: ApacheHouse, rule: str, found: int
) -> None:
    with apache(replace(house, inside=f"RewriteEngine On\n{rule.replace('FILES', str(house.files))}")):
        answer = exchange(house.http_port, request("GET /public/go", house, HTTP_HOST))

    assert status_of(answer) == found
    assert SECRET not in answer
