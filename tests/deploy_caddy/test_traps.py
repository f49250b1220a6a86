"""What Caddy's own language makes easy to get wrong: closed where the snippets can close it, else as the heads say."""

from collections.abc import Iterator

import pytest

from tests import servers
from tests.deploy.house import OPEN, SECRET, status_of
from tests.deploy_caddy.house import Running, house_of

# What an operator may write, each in its own folder of paths.
BEFORE = """
	handle /rewritten/* {
		root * /srv/files
		rewrite * /denied/secret.txt
		import authgate_protect
		file_server
	}
	handle_path /stripped/* {
		root * /srv/files
		import authgate_protect
		file_server
	}
	handle /prefix/* {
		root * /srv/files
		import authgate_protect
		uri strip_prefix /prefix
		file_server
	}
	handle /tried/* {
		root * /srv/files
		import authgate_protect
		try_files {path} /denied/secret.txt
		file_server
	}
	handle /nested/* {
		root * /srv/files
		import authgate_protect
		handle /nested/inner/* {
			rewrite * /denied/secret.txt
			file_server
		}
		handle {
			rewrite * /denied/secret.txt
			file_server
		}
	}
	handle /method/* {
		root * /srv/files
		import authgate_protect
		method GET
		uri strip_prefix /method
		file_server
	}
	handle /answered/* {
		import authgate_protect
		respond "for everybody, the secret is not for you"
	}
	handle /single/* {
		root * /srv/files
		import authgate_protect
		route {
			try_files {path} /index.html
			file_server
		}
	}
	handle /behind/* {
		root * /srv/files
		route {
			import authgate_protect
			file_server
		}
	}
	handle /OPEN/* {
		root * /srv/files
		file_server
	}
"""

RULES = """
[[rules]]
name = "single page"
paths = ["/single/**"]
allow = ["anyone"]

[[rules]]
name = "not this one"
paths = ["/folder/index.html"]
deny = ["anyone"]

[[rules]]
name = "folder"
paths = ["/folder/**"]
allow = ["anyone"]

[[rules]]
name = "nothing to do with the files"
paths = ["/nested/**", "/rewritten/**", "/tried/**", "/prefix/**", "/stripped/**", "/method/**", "/answered/**"]
deny = ["anyone"]
"""


@pytest.fixture(scope="module")
def trapped() -> Iterator[Running]:
    with servers.open_folder() as folder:
        for name in ("open/x.txt", "folder/index.html"):
            path = folder / "files" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(SECRET)
        with house_of(folder, before=BEFORE, rules=RULES) as running:
            yield running


@pytest.mark.parametrize(
    "target",
    [
        "/rewritten/x",
        "/stripped/public/hello.txt",
        "/stripped/denied/secret.txt",
        "/prefix/public/hello.txt",
        "/prefix/denied/secret.txt",
        "/method/public/hello.txt",
        "/tried/x",
        "/nested/inner/x",
        "/nested/x",
        "/answered/x",
        "/behind/x",
    ],
)
def test_a_path_that_was_rewritten_before_the_question_is_refused(trapped: Running, target: str) -> None:
    answer = trapped.raw(f"GET {target} HTTP/1.1")

    assert status_of(answer) == 403
    assert SECRET not in answer
    assert OPEN not in answer


def test_a_single_page_comes_after_the_question(trapped: Running) -> None:
    answer = trapped.get("/single/some/view")

    assert answer.status_code == 200
    assert OPEN in answer.content


def test_a_matcher_of_paths_does_not_tell_capitals_from_small_letters(trapped: Running) -> None:
    # The head of authgate.caddy says so: with `handle /OPEN/*` beside the protected block, /open/ is open too.
    assert trapped.get("/open/x.txt").content == SECRET


def test_a_folder_is_its_index_page(trapped: Running) -> None:
    # As the head of authgate.caddy says: nobody is asked about /folder/index.html when /folder/ is asked for.
    assert trapped.get("/folder/index.html").status_code == 403
    assert trapped.get("/folder/").content == SECRET


ERRORS = "\thandle_errors {\n\t\troot * /srv/files\n\t\tfile_server\n\t}\n"


def test_an_error_page_of_the_site_does_not_serve_the_file_when_authgate_is_away() -> None:
    with servers.open_folder() as folder, house_of(folder, before=ERRORS) as running:
        running.authgate.stop()
        answer = running.get("/staff/handbook.txt")

    assert answer.status_code == 503
    assert SECRET not in answer.content


def test_an_error_page_above_the_import_does() -> None:
    def above(name: str, text: str) -> str:
        return (
            text.replace("\timport authgate_site\n", f"{ERRORS}\timport authgate_site\n")
            if name == "Caddyfile"
            else text
        )

    with servers.open_folder() as folder, house_of(folder, change=above) as running:
        assert running.get("/staff/handbook.txt").status_code == 401
        running.authgate.stop()

        assert SECRET in running.get("/staff/handbook.txt").content
