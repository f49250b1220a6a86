"""A site with any number of rules, of which one decides all requests."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from authgate.cli.snippet import nginx_files
from authgate.config import load
from tests import servers


@dataclass(slots=True)
class Site:
    """A running site.

    Args:
        url: of a file that everybody may have.
    """

    folder: Path
    url: str
    authgate: servers.Server

    @property
    def config(self) -> Path:
        """Return the configuration file."""
        return self.folder / "authgate.toml"

    def change(self, number: int) -> None:
        """Change a rule that decides nothing, so that the policy is another one."""
        text = self.config.read_text()
        self.config.write_text(re.sub(r'"/changed/[0-9]*"', f'"/changed/{number}"', text, count=1))

    def memory(self) -> int:
        """Return the bytes of all processes of authgate, shared ones counted once (proc(5), smaps_rollup)."""
        sizes = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.authgate.family()]
        return sum(1024 * int(found[1]) for text in sizes if (found := re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)))


@contextmanager
def site_of(rules: int) -> Iterator[Site]:
    """Build a site with so many rules in a temporary folder and run it with two workers behind nginx."""
    with servers.open_folder() as folder:
        port = servers.free_port()
        group = servers.nginx_group()
        (folder / "files").mkdir()
        (folder / "files" / "file.txt").write_bytes(b"x" * 1024)
        config = folder / "authgate.toml"
        config.write_text(
            f'workers = 2\n[[sites]]\norigin = "http://127.0.0.1:{port}"\n[listen]\n'
            + (f'group = "{group}"\n' if group else "")
            + '[[rules]]\nname = "changed"\npaths = ["/changed/0"]\nallow = ["anyone"]\n'
            + "".join(
                f'[[rules]]\nname = "r{n}"\npaths = ["/d{n % 1000}/e{n}/**"]\n'
                f'allow = ["group:g{n % 50}", "user:u{n}"]\n'
                for n in range(rules - 2)
            )
            + '[[rules]]\nname = "open"\npaths = ["/**"]\nallow = ["anyone"]\n'
        )
        for name, text in nginx_files(load(config)).items():
            (folder / name).write_text(text)
        http = f"""
            include {folder}/authgate-http.conf;
            keepalive_requests 1000000000;
            server {{
                listen 127.0.0.1:{port};
                include {folder}/authgate-server.conf;
                location / {{ root {folder}/files; include {folder}/authgate-protect.conf; }}
            }}
        """
        with servers.authgate(config) as authgate, servers.nginx(folder, http, port):
            yield Site(folder, f"http://127.0.0.1:{port}/file.txt", authgate)
