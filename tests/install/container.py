"""deploy/container without a container engine: its lines are executed, literally, in fresh Debian roots."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.install.debian import CHROOT, Debian
from tests.install.page import PASSWORDS, SECRET, ask, eventually, expect
from tests.install.wheels import copy_sources
from tests.servers import PACKAGE_ROOT

CONTAINERFILE = PACKAGE_ROOT / "deploy/container/Containerfile"
COMPOSE = PACKAGE_ROOT / "deploy/container/compose.yaml"
# Who prepares it, as any user of a machine.
SOMEBODY = 1234
_FROM = re.compile(r"debian:12-slim AS (\w+)")


@dataclass(slots=True)
class Image:
    """One stage of the file, executed.

    Args:
        entrypoint: in exec form, like `command` and `healthcheck`.
    """

    debian: Debian
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield instruction and argument of a Containerfile."""
    whole = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, whole.splitlines()):
        name, _, argument = line.strip().partition(" ")
        yield name, argument.strip()


def build(base: Path, folder: Path) -> dict[str, Image]:
    """Execute the Containerfile; return its stages by name."""
    context = folder / "context"
    copy_sources(context)
    images: dict[str, Image] = {}
    image: Image | None = None
    for name, argument in instructions(CONTAINERFILE.read_text()):
        if name == "FROM":
            found = _FROM.fullmatch(argument)
            if found is None:
                sys.exit(f"FROM {argument}: only debian:12-slim can be had here")
            image = images[found[1]] = Image(Debian.copy_of(base, folder / f"image-{found[1]}"))
        elif image is None:
            sys.exit(f"{name} before FROM")
        else:
            _execute(image, name, argument, context, images)
    return images


def _execute(image: Image, name: str, argument: str, context: Path, images: Mapping[str, Image]) -> None:
    if name == "RUN":
        image.debian.run(argument, environment=image.environment)
    elif name == "COPY":
        *sources, target = argument.split()
        origin = context
        if sources[0].startswith("--from="):
            origin = images[sources.pop(0).removeprefix("--from=")].debian.root
        _copy([origin / source.lstrip("/") for source in sources], target, image.debian.path(target))
    elif name == "ENV":
        image.environment |= dict(word.split("=", 1) for word in shlex.split(argument))
    elif name == "USER":
        image.user = argument
    elif name == "ENTRYPOINT":
        image.entrypoint = json.loads(argument)
    elif name == "CMD":
        image.command = json.loads(argument)
    elif name == "HEALTHCHECK":
        image.healthcheck = json.loads(argument[argument.index("[") :])
    else:
        sys.exit(f"{name}: what it does has to be written here first")


def _copy(sources: list[Path], written: str, target: Path) -> None:
    for source in sources:
        # A folder's content goes into the target, a file below a target that ends with a slash.
        into = target / source.name if written.endswith("/") and source.is_file() else target
        into.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", *([f"{source}/.", into] if source.is_dir() else [source, into])], check=True)


# deploy/container/compose.yaml


@dataclass(frozen=True, slots=True)
class Service:
    """What of a service of compose.yaml can be done without an engine: all but its ports and restarts."""

    name: str
    settings: Mapping[str, Any]
    image: Image

    def mount(self, project: Path, volumes: Path) -> None:
        """Put volumes and tmpfs in their places, and close the rest to writing."""
        root = self.image.debian.root
        _mount("--rbind", root, root)
        wanted = [volume.split(":") for volume in self.settings["volumes"]]
        wanted += [["", target] for target in self.settings["tmpfs"]]
        # Outer places first, as engines do it: /run before /run/authgate.
        for source, target, *options in sorted(wanted, key=lambda volume: volume[1]):
            place = self.image.debian.path(target)
            place.mkdir(parents=True, exist_ok=True)
            if not source:
                _mount("-t", "tmpfs", "tmpfs", place)
                continue
            origin = project / source if source.startswith(".") else volumes / source
            if not origin.exists():
                # A new volume has the content and the owner of the folder that it covers.
                subprocess.run(["cp", "-a", place, origin], check=True)
            _mount("--bind", origin, place)
            if options == ["ro"]:
                _mount("-o", "remount,ro,bind", place)
        if self.settings["read_only"] is True:
            _mount("-o", "remount,ro,bind", root)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start its entry point."""
        return subprocess.Popen([*self._confined(), *self.image.entrypoint, *self.image.command], env=self._variables())

    def is_healthy(self) -> bool:
        """Tell what its health check says."""
        command = [*self._confined(), *self.image.healthcheck]
        return subprocess.run(command, env=self._variables(), capture_output=True, check=False).returncode == 0

    def _variables(self) -> dict[str, str]:
        return {**self.image.debian.environment, **self.image.environment}

    def _confined(self) -> list[str]:
        kept = [f"+{name.lower()}" for name in self.settings.get("cap_add", [])]
        if self.settings["cap_drop"] != ["ALL"] or self.settings["security_opt"] != ["no-new-privileges:true"]:
            sys.exit(f"{self.name}: every capability is dropped, and none can be won")
        command = ["/usr/bin/unshare", "--net"] if self.settings.get("network_mode") == "none" else []
        command += [CHROOT, str(self.image.debian.root), "setpriv", "--no-new-privs"]
        command += [f"--bounding-set={','.join(['-all', *kept])}", "--inh-caps=-all"]
        user, _, group = self.settings.get("user", "").partition(":")
        if user:
            command += [f"--reuid={user}", f"--regid={group}", f"--groups={','.join(self.settings['group_add'])}"]
        return command


def compose(images: Mapping[str, Image], folder: Path) -> None:
    """Do what compose.yaml says, its first lines included, and ask through its nginx."""
    project, volumes = folder / "project", folder / "volumes"
    volumes.mkdir()
    (project / "files").mkdir(parents=True)
    (project / "files/hello.txt").write_bytes(SECRET)
    os.chown(project, SOMEBODY, SOMEBODY)
    for line in preparation():
        _prepare(line, project, images["authgate"])
    document = yaml.safe_load(COMPOSE.read_text())
    services = {
        name: Service(name, settings, images[settings["build"]["target"]])
        for name, settings in document["services"].items()
    }
    with ExitStack() as stack:
        for name in sorted(services, key=lambda name: "depends_on" in services[name].settings):
            services[name].mount(project, volumes)
            process = services[name].start()
            stack.callback(_stop, process)
            if services[name].image.healthcheck:
                eventually(services[name].is_healthy, True, f"{name} is healthy")
        eventually(lambda: _listens(80), True, "nginx listens")
        expect(ask("/hello.txt")[0], 401, "a stranger, in containers")
        expect(ask("/hello.txt", "alice"), (200, SECRET), "alice, in containers")
        _find_no_tools(images["authgate"])
    expect(services["authgate"].is_healthy(), False, "the health of what is stopped")


def preparation() -> list[str]:
    """Return the commands in the first lines of compose.yaml."""
    return re.findall(r"^#   (\S.*)$", COMPOSE.read_text().partition("\nservices:")[0], re.MULTILINE)


def _prepare(line: str, project: Path, image: Image) -> None:
    words = shlex.split(line.replace("$(id -u)", str(SOMEBODY)).replace("$PWD", str(project)))
    if words[:3] == ["docker", "compose", "run"]:
        options, arguments = words[3 : words.index("authgate")], words[words.index("authgate") + 1 :]
        user, _, group = options[options.index("--user") + 1].partition(":")
        source, _, target = options[options.index("--volume") + 1].partition(":")
        place = image.debian.path(target)
        place.mkdir(parents=True, exist_ok=True)
        _mount("--bind", source, place)
        inside = ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--clear-groups"]
        command = f"cd /; {shlex.join([*inside, *image.entrypoint, *arguments])}"
        image.debian.run(command, [PASSWORDS["alice"]] * 2 if "add" in arguments else [], image.environment)
        subprocess.run(["umount", place], check=True)
    elif words[0] == "sudo":
        subprocess.run(words[1:], cwd=project, check=True)
    elif words[:2] != ["docker", "compose"]:
        sys.exit(f"compose.yaml: {line}: not known")


def _find_no_tools(image: Image) -> None:
    for name in ("pip", "pip3", "gcc", "cc", "make", "curl"):
        for folder in ("opt/authgate/bin", "usr/bin", "usr/local/bin"):
            expect(image.debian.path(f"{folder}/{name}").exists(), False, f"{folder}/{name} in the image")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(30)
