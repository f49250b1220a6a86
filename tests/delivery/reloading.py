"""Reloads under load, behind whichever web server."""

from click.testing import CliRunner

from authgate.cli.reload import reload
from tests.delivery.site import Running
from tests.load import load

RELOADS = 6


def reloads_lose_nothing(running: Running) -> None:
    """Reload while requests come; each of them has to be answered with its file."""
    site = running.site
    headers = {"Host": f"{site.host}:{site.port}"}
    with load(site.folder, f"http://127.0.0.1:{site.port}/public/letters.txt", rate=1000, headers=headers) as measured:
        for _ in range(RELOADS):
            result = CliRunner().invoke(reload, ["--config", str(site.config)])
            assert result.exit_code == 0, result.output

    assert measured.answers.keys() == {200}, measured
    assert measured.errors == 0, measured
