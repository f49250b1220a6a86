"""Internal folders: the recipe that goes round, which leaks, and what does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.delivery.site import apache
from tests.deploy.house import OPEN, SECRET, exchange, status_of
from tests.deploy_apache.house import Running, house_of

# What django-sendfile has advised for Apache, and its other forms: nobody asks for /private/ by name.
RECIPES = {
    "RewriteCond": "RewriteEngine On\nRewriteCond %{THE_REQUEST} ^[\\S]+\\ /private/\nRewriteRule ^ - [R=404,L]",
    "RewriteRule": 'RewriteEngine On\nRewriteCond "%{THE_REQUEST}" "^[A-Z]+ /private/"\nRewriteRule ^ - [F]',
    "Require": '<Location /private/>\nRequire expr "%{THE_REQUEST} !~ m#^\\S+ /private/#"\n</Location>',
}
# Ours: only what a rule of this server has led there.
BY_VARIABLE = (
    "RewriteEngine On\nRewriteRule ^/download/(.*)$ /private/$1 [PT,E=INTERNAL:1]\n"
    "<Location /private/>\nRequire env INTERNAL\n</Location>"
)
WRITTEN = ("/private/secret.txt", "//private/secret.txt", "/%70rivate/secret.txt", "/x/..//private/secret.txt")
MODULES = ("mpm_event", "authz_core", "alias", "rewrite", "mime")


@contextmanager
def served(folder: Path, recipe: str) -> Iterator[int]:
    servers.make_file(f"{folder}/private/secret.txt".encode(), SECRET)
    port = servers.free_port()
    config = (
        f"Alias /private {folder}/private\n<Directory {folder}/private>\nRequire all granted\n</Directory>\n{recipe}\n"
    )
    with apache(folder, config, port, MODULES):
        yield port


def ask(port: int, target: str, more: str = "") -> bytes:
    return exchange(port, f"GET {target} HTTP/1.1\r\nHost: x\r\n{more}Connection: close\r\n\r\n".encode())


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_with_the_request_line_leaks(tmp_path: Path, name: str) -> None:
    with servers.open_folder() as folder, served(folder, RECIPES[name]) as port:
        answers = {target: ask(port, target) for target in WRITTEN}

    assert status_of(answers[WRITTEN[0]]) in {403, 404}
    assert {target for target, answer in answers.items() if SECRET in answer} == {*WRITTEN[1:]}


def test_recipe_with_a_variable_does_not() -> None:
    with servers.open_folder() as folder, served(folder, BY_VARIABLE) as port:
        forged = "INTERNAL: 1\r\nREDIRECT_INTERNAL: 1\r\nREDIRECT_STATUS: 200\r\n"
        for target in WRITTEN:
            assert status_of(ask(port, target)) == 403
            assert SECRET not in ask(port, target, forged)

        assert SECRET in ask(port, "/download/secret.txt")


@pytest.mark.parametrize("wiring", ["fastcgi", "rewritemap"])
def test_with_authgate_each_way_of_writing_is_the_same_question(wiring: str) -> None:
    rules = '[[rules]]\nname = "private"\npaths = ["/private/**"]\nallow = ["user:alice"]\n'
    with servers.open_folder() as folder:
        servers.make_file(f"{folder}/files/private/secret.txt".encode(), SECRET)
        with house_of(folder, wiring=wiring, rules=rules, inside="Alias /private /srv/files/private") as running:
            alice, bob = running.browser("alice"), running.browser("bob")
            found = {
                user: {exactly(running, target, visitor.cookies) for target in WRITTEN}
                for user, visitor in (("alice", alice), ("bob", bob))
            }

            assert found == {"alice": {(200, True)}, "bob": {(403, False)}}
            assert OPEN in running.raw("GET /public/hello.txt HTTP/1.1")


def exactly(running: Running, target: str, cookies: dict[str, str]) -> tuple[int, bool]:
    """Ask with a target as it stands; return the status, and whether the secret came."""
    host = f"intranet.example.com:{running.house.http_port}"
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: authgate={cookies['authgate']}\r\nConnection: close\r\n\r\n"
    )
    answer = exchange(running.house.http_port, head.encode())
    return status_of(answer), SECRET in answer
