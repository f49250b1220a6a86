"""What systemd is told about the service (sd_notify(3)), where it is what started it."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from authgate.server.status import State

_STATES: Mapping[State, str] = {
    State.STARTING: "",
    # A reload that came to nothing has ended as well, and the service runs.
    State.RUNNING: "READY=1\n",
    State.FAILED: "READY=1\n",
    State.RELOADING: "RELOADING=1\n",
}
# Longer than systemd takes to read, shorter than what anybody waits for.
_PATIENCE = 1.0


def notify(state: State, message: str) -> None:
    """Say what the service is doing, and for ``systemctl status`` in words."""
    _send(f"{_STATES[state]}STATUS={message or state}")


def notify_stopping() -> None:
    """Say that the service ends."""
    _send("STOPPING=1")


def _send(text: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    # Nobody who does not hear it is a reason to end.
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_PATIENCE)
        if address:
            # "@": the abstract namespace.
            sender.sendto(text.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
