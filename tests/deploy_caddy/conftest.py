"""One house for all tests that do not break it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deploy.applications import Applications, applications
from tests.deploy_caddy.house import Running, house_of
from tests.servers import open_folder

RULES = """
[[rules]]
name = "applications"
paths = ["/app/**", "/php/**"]
deny = ["user:bob"]
allow = ["authenticated"]

[[rules]]
name = "open applications"
paths = ["/open/**"]
allow = ["anyone"]

[[rules]]
name = "named"
paths = ["/named/**"]
allow = ["group:staff", "group:finance"]

[[rules]]
name = "from here"
paths = ["/here/**"]
allow = ["ip:127.0.0.0/8"]

[[rules]]
name = "writing"
paths = ["/upload/**"]
methods = ["PUT"]
allow = ["user:alice"]
"""


@dataclass(frozen=True, slots=True)
class Inhabited:
    """A house with applications in it."""

    running: Running
    applications: Applications


@pytest.fixture(scope="session")
def inhabited_house() -> Iterator[Inhabited]:
    with open_folder() as folder, applications(folder) as running_applications:
        lines = f"\t\timport authgate_app\n\t\treverse_proxy 127.0.0.1:{running_applications.http}\n"
        before = "".join(f"\thandle /{name}/* {{\n{lines}\t}}\n" for name in ("app", "open", "named", "here", "upload"))
        fastcgi = f"\t\tphp_fastcgi unix/{running_applications.fastcgi} {{\n\t\t\ttry_files {{path}}\n\t\t}}\n"
        before += f"\thandle /php/* {{\n\t\troot * {folder}/files\n\t\timport authgate_app\n{fastcgi}\t}}\n"
        with house_of(folder, rules=RULES, before=before) as running:
            yield Inhabited(running, running_applications)


@pytest.fixture(scope="session")
def caddy_house(inhabited_house: Inhabited) -> Running:
    return inhabited_house.running
