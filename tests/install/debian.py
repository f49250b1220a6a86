"""A Debian 12 in a folder, made by debootstrap, and commands in it."""

import ctypes
import fcntl
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
# What every Debian has that has booted, and a minimal debootstrap has not.
_INCLUDED = "systemd,ca-certificates"
# By its path: inside, the PATH may be an image's own.
CHROOT = shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin") or "chroot"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


@dataclass(frozen=True, slots=True)
class Debian:
    """A root folder.

    Args:
        environment: what its commands are given.
    """

    root: Path
    environment: Mapping[str, str]

    @classmethod
    def copy_of(cls, base: Path, root: Path) -> "Debian":
        """Copy a fresh root, and mount its /proc."""
        subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
        return cls(root, {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"} | _for_packages())

    def path(self, path: str) -> Path:
        """Return a path inside as one outside."""
        return self.root / path.lstrip("/")

    def run(self, command: str, typed: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> str:
        """Run a line of shell as root; what it prints is returned, and shown when it fails.

        Args:
            typed: what somebody types at each question, on a terminal.
        """
        say(command)
        words = [CHROOT, str(self.root), "/bin/bash", "-c", f"cd /root; {command}"]
        variables = {**self.environment, **(environment or {})}
        if not typed:
            ended = subprocess.run(
                words, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            status, out, said = ended.returncode, ended.stdout, ended.stderr
        else:
            status, out = _type(words, variables, typed)
            said = out
        if status:
            sys.exit(f"failed with {status}: {command}\n{out}\n{said}")
        return out


def say(what: str) -> None:
    """Show where the run is."""
    sys.stdout.write(f"# {what}\n")
    sys.stdout.flush()


def make_base(root: Path) -> Path:
    """Make a fresh Debian from the archive that this machine uses."""
    command = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", SUITE, str(root), *_archive()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"debootstrap failed:\n{ended.stdout[-4000:]}\n{ended.stderr}")
    for source in Path("/etc/apt/apt.conf.d").iterdir():
        # How this machine reaches its archive: a proxy, a certificate, a date that is not checked.
        if re.search(r"^\s*Acquire", source.read_text(), re.MULTILINE):
            shutil.copy(source, root / "etc/apt/apt.conf.d")
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", *_pip_files()):
        if Path(name).exists():
            (root / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name.lstrip("/"))
    # A package must not start its service here, as in any chroot: it would get a port of this machine.
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    return root


def _archive() -> list[str]:
    """Return the address of the archive in this machine's own sources; nothing leaves it to debootstrap."""
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    text = "\n".join(path.read_text() for path in files if path.exists())
    found = re.findall(r"^(?:URIs:|deb(?: \[[^\]]*\])?) *(\S+/debian/?)(?=\s|$)", text, re.MULTILINE)
    return found[:1]


def _pip_files() -> list[str]:
    named = [os.environ.get(name, "") for name in ("PIP_CERT", "PIP_CONFIG_FILE", "SSL_CERT_FILE")]
    return ["/etc/pip.conf", *(path for path in named if path.startswith("/"))]


def _for_packages() -> dict[str, str]:
    """Return how this machine reaches its package index and its archive."""
    wanted = re.compile(r"PIP_\w+|SSL_CERT_\w+|(?:https?|no)_proxy", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if wanted.fullmatch(name)}
    kept.pop("PIP_FIND_LINKS", None)
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "DEBIAN_FRONTEND": "noninteractive"}


def _type(words: Sequence[str], environment: Mapping[str, str], typed: Sequence[str]) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said = b""
    answers = list(typed)
    asked = 0
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # its end of the terminal is closed
            break
        said += piece
        # Not before the question: what is typed before it is thrown away.
        if answers and said.count(b": ") > asked:
            asked = said.count(b": ")
            os.write(ours, f"{answers.pop(0)}\n".encode())
    os.close(ours)
    return process.wait(), said.decode()


def isolate_network() -> None:
    """Go on, with everything that is started from now on, in a network of our own that is this machine alone."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        sys.exit(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request + bytes(14))[:18])[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP) + bytes(14))
