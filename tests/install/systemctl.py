#!/usr/bin/python3
"""A stand-in for systemctl where no systemd runs: does what the units say, with systemd's own programs where there are.

Units are checked by `systemd-analyze verify`, enabled by the real `systemctl`, and started by `systemd-socket-activate`
with the sockets, directories, user, umask and environment that the unit files name. It is copied into the Debian of
`make test-install` and uses nothing but its Python. nginx is told things by nginx itself.

What systemd does and this does not: the sandbox (of it only NoNewPrivileges, CapabilityBoundingSet, UMask and, where
the kernel can, MemoryDenyWriteExecute are in force), restarts, and sockets that are open while the service changes.
"""

import ctypes
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

UNITS = Path("/etc/systemd/system")
STATE = Path("/run/stand-in")
LOG = Path("/var/log/journal-of-authgate")
DEADLINE = 60.0
_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN = 65, 1

Unit = dict[str, list[str]]


def read_unit(name: str) -> Unit:
    """Return all assignments of a unit file; an empty one forgets those before it."""
    unit: Unit = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if not equals or line.startswith(("#", ";", "[")):
            continue
        unit[key] = [*unit.get(key, []), value] if value else []
    return unit


def verify() -> None:
    units = [str(UNITS / name) for name in ("authgate.service", "authgate.socket")]
    said = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    # Of Debian's own units on a machine without systemd it may complain; of ours it must not.
    wrong = [line for line in (said.stdout + said.stderr).splitlines() if "authgate" in line]
    if wrong:
        sys.exit("systemd-analyze verify:\n" + "\n".join(wrong))


def main_pid() -> int | None:
    """Return the process that was started, whether it waits for its first request or serves."""
    try:
        pid = int((STATE / "pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return None if state == "Z" else pid


def make_directories(service: Unit) -> dict[str, str]:
    """Make RuntimeDirectory= and the like as systemd.exec(5) says, and return the variables that name them."""
    user = pwd.getpwnam(service["User"][-1])
    variables = {}
    for key, place in (("Runtime", "/run"), ("State", "/var/lib"), ("Logs", "/var/log")):
        for name in service.get(f"{key}Directory", []):
            folder = Path(place) / name
            folder.mkdir(exist_ok=True)
            status = folder.stat()
            if (status.st_uid, status.st_gid) != (user.pw_uid, user.pw_gid):
                # The trap: systemd gives away everything that is in it, sockets too.
                for path in (folder, *folder.rglob("*")):
                    os.chown(path, user.pw_uid, user.pw_gid)
            folder.chmod(int(service.get(f"{key}DirectoryMode", ["0755"])[-1], 8))
            variables[f"{key.upper()}_DIRECTORY"] = str(folder)
    return variables


def confine(service: Unit) -> None:
    os.umask(int(service["UMask"][-1], 8))
    if service.get("MemoryDenyWriteExecute") == ["yes"]:
        # An older kernel does not know it.
        ctypes.CDLL(None).prctl(_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


def as_user(service: Unit) -> list[str]:
    command = ["setpriv", f"--reuid={service['User'][-1]}", f"--regid={service['Group'][-1]}", "--clear-groups"]
    if service["CapabilityBoundingSet"] == []:
        command += ["--bounding-set=-all", "--inh-caps=-all"]
    if service["NoNewPrivileges"] == ["yes"]:
        command += ["--no-new-privs"]
    return command


def start_socket() -> None:
    """Listen, and let the first connection start the service."""
    if main_pid() is not None:
        return
    service, sockets = read_unit("authgate.service"), read_unit("authgate.socket")
    for line in sockets.get("ExecStartPre", []):
        subprocess.run(shlex.split(line), check=True)
    variables = make_directories(service) | {"NOTIFY_SOCKET": str(STATE / "notify")}
    paths = [Path(path) for path in sockets["ListenStream"]]
    command = ["systemd-socket-activate"]
    command += [f"--listen={path}" for path in paths]
    command += [f"--setenv={name}={value}" for name, value in variables.items()]
    command += ["--", *as_user(service), *shlex.split(service["ExecStart"][-1])]
    for path in paths:
        path.unlink(missing_ok=True)
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: confine(service),  # noqa: PLW1509 - there are no threads
        )
    (STATE / "pid").write_text(str(process.pid))
    wait(lambda: all(listens(path) for path in paths), "the sockets", process)
    for path in paths:
        shutil.chown(path, sockets["SocketUser"][-1], sockets["SocketGroup"][-1])
        path.chmod(int(sockets["SocketMode"][-1], 8))


def listens(path: Path) -> bool:
    # /proc/net/unix, not a connection: that would be the one that starts the service. 00010000: __SO_ACCEPTCON.
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(line[-1] == str(path) and line[3] == "00010000" for line in lines)


def wait(true: Callable[[], bool], what: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > end or process.poll() is not None:
            sys.exit(f"stand-in: {what}: not there\n{LOG.read_text()}")
        time.sleep(0.01)


def start_service() -> None:
    """Start, as systemd would without waiting for a connection, and return when the service says that it is ready."""
    verify()
    if serving():
        return
    STATE.mkdir(exist_ok=True)
    address = STATE / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(address))
        address.chmod(0o666)
        told.settimeout(DEADLINE)
        start_socket()
        first = Path(read_unit("authgate.socket")["ListenStream"][0])
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(first))
            listen_for_ready(told)
    (STATE / "serving").write_text("")


def listen_for_ready(told: socket.socket) -> None:
    told.settimeout(0.1)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            if b"READY=1" in told.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            if main_pid() is None:
                break
    sys.exit(f"Job for authgate.service failed.\n{LOG.read_text()}")


def serving() -> bool:
    return (STATE / "serving").exists() and main_pid() is not None


def stop() -> None:
    """End service and sockets."""
    pid = main_pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        patience = float(read_unit("authgate.service")["TimeoutStopSec"][-1])
        end = time.monotonic() + patience
        while main_pid() is not None:
            if time.monotonic() > end:
                sys.exit("stand-in: it did not stop in time")
            time.sleep(0.01)
    (STATE / "serving").unlink(missing_ok=True)
    sockets = read_unit("authgate.socket")
    if sockets.get("RemoveOnStop") == ["yes"]:
        for path in sockets["ListenStream"]:
            Path(path).unlink(missing_ok=True)


def reload_service() -> None:
    service = read_unit("authgate.service")
    command = [*as_user(service), *shlex.split(service["ExecReload"][-1])]
    ended = subprocess.run(command, check=False, preexec_fn=lambda: confine(service))
    if ended.returncode:
        sys.exit(f"Job for authgate.service failed: {ended.returncode}")


def really(*words: str) -> None:
    """Let the real systemctl do what it can without a running systemd."""
    subprocess.run(["/usr/bin/systemctl", *words], check=True, capture_output=True)


def main(words: list[str]) -> None:
    verb, *rest = words
    now = "--now" in rest
    units = [word if "." in word else f"{word}.service" for word in rest if not word.startswith("-")]
    if units == ["nginx.service"] and verb == "reload":
        subprocess.run(["nginx", "-s", "reload"], check=True)
        return
    if verb == "daemon-reload":
        return
    if not set(units) <= {"authgate.service", "authgate.socket"} or not units:
        sys.exit(f"stand-in: {json.dumps(words)}: not known")
    if verb in {"enable", "disable"}:
        really(verb, *units)
    if verb in {"stop", "restart"} or (verb == "disable" and now):
        stop()
    if verb in {"start", "restart"} or (verb == "enable" and now):
        start_service()
    if verb == "reload":
        reload_service()
    if verb not in {"enable", "disable", "start", "stop", "restart", "reload", "reset-failed"}:
        sys.exit(f"stand-in: {verb}: not known")


if __name__ == "__main__":
    main(sys.argv[1:])
