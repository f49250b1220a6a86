"""Signed links where authgate answers in nginx's place: in the query and in the path, and not to what is internal."""

from collections.abc import Iterator

import pytest

from authgate.keys import Key
from tests import servers
from tests.delivery.site import SECRET, Running, Site, web_server
from tests.deploy import linking
from tests.deploy.linking import link

FOLDERS = {
    "    # The login, the page without authgate.\n": (
        '    set $ag_link_folders "/reports/";\n    # The login, the page without authgate.\n'
    )
}
REPORT = b"report " + SECRET


@pytest.fixture(scope="module")
def linked() -> Iterator[tuple[Running, Key]]:
    with servers.open_folder() as folder:
        site = Site("nginx", folder, FOLDERS)
        site.build()
        (site.files / "reports" / "linked.txt").write_bytes(REPORT)
        key = linking.furnish(folder, site.files)
        text = site.config.read_text()
        assert text.count('allow   = ["group:staff"]') == 1
        rules = text.replace('allow   = ["group:staff"]', 'allow = ["link"]')
        site.config.write_text(rules + linking.SECTION)
        with servers.authgate(site.config) as authgate, web_server(site) as server:
            yield Running(site, authgate, server), key


def test_link_delivers_in_both_forms_and_nothing_beside(linked: tuple[Running, Key]) -> None:
    running, key = linked
    value = link(key, "/reports/**", running.site.host, uses=1)

    for target in (f"/reports/linked.txt?ag={value}", f"/authgate-link/{value}/reports/linked.txt"):
        answer = running.ask(target)
        assert (answer.status_code, answer.content) == (200, REPORT)
        assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
    for target in (
        "/reports/linked.txt",
        f"/reports/linked.txt?ag={value}&ag={value}",
        f"/authgate-link/{value}/reports/linked.txt?ag={value}",
        f"/authgate-link/{value}/_files/reports/linked.txt",
        f"/authgate-link/{value}/_files/denied/secret.txt",
        f"/authgate-link/{value}/denied/secret.txt",
    ):
        answer = running.ask(target)
        assert answer.status_code in {403, 404}, target
        assert SECRET not in answer.content
    assert value[-43:] not in running.site.log.read_text()
