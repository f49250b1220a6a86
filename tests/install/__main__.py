"""``make test-install``: the commands of docs/install.md, word for word, in a fresh Debian 12; and the container.

The first process makes a folder and starts this again in namespaces of its own: whatever is mounted or started there
ends with it, however it ends. The second makes the Debian, installs with the machine's network, and then goes on in a
network of its own, so that port 80 is free.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.install.container import build, compose
from tests.install.debian import Debian, isolate_network, make_base
from tests.install.page import Page
from tests.install.wheels import build_wheels

_PROGRAMS = ("debootstrap", "unshare", "chroot", "mount")


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--inside":
        _inside(Path(sys.argv[2]))
        return
    missing = [name for name in _PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if os.geteuid() != 0 or missing:
        sys.exit(f"authgate: {'missing: ' + ', '.join(missing) if missing else 'only root can make a Debian'}")
    folder = Path(tempfile.mkdtemp(prefix="authgate-install-"))
    folder.chmod(0o755)
    try:
        own = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        inside = [sys.executable, "-m", "tests.install", "--inside", str(folder)]
        status = subprocess.run(["unshare", *own, *inside], check=False).returncode
    finally:
        # One file system: should a mount have outlived everything, nothing in it is touched.
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)
    sys.exit(status)


def _inside(folder: Path) -> None:
    wheels = build_wheels(folder)
    base = make_base(folder / "base")
    images = build(base, folder)
    page = Page(Debian.copy_of(base, folder / "debian"), wheels)
    page.install()
    isolate_network()
    compose(images, folder)
    page.go_on()


if __name__ == "__main__":
    main()
