"""The service: a parent that supervises worker processes on sockets it has bound for them."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from authgate.app import examine
from authgate.config import Settings
from authgate.errors import ConfigError, Problem
from authgate.server.sockets import Endpoint, Listener, Port, create_folder, inherit, listen, listen_on_port
from authgate.server.status import pid_file, remove, write_pid
from authgate.server.supervisor import Supervisor

__all__ = ["log_to_stderr", "serve"]


def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Args:
        reload: reads the configuration again, for SIGHUP.

    Raises:
        ConfigError: a socket cannot be bound, or a file that the configuration names is wrong.
    """

    def examined() -> Settings:
        again = reload()
        examine(again)
        return again

    examine(settings)
    with ExitStack() as stack:
        place = f"{settings.path.name}: listen"
        ports, paths = _where(settings)
        inherited = inherit(place, paths, settings.socket_group, ports)
        listeners: dict[str, Listener | Port] = {}
        for name, path in paths.items():
            listeners[name] = inherited.get(name) or listen(f"{place}.{name}", path, settings.socket_group)
            stack.callback(listeners[name].close)
        for name, endpoint in ports.items():
            listeners[name] = inherited.get(name) or listen_on_port(f"{place}.{name}", endpoint)
            stack.callback(listeners[name].close)
        # Beside a socket, or for a port, that is ours now: no other authgate serves it, whatever file it may have left.
        try:
            create_folder(settings.check_socket.parent)
            write_pid(settings.check_socket)
        except OSError as error:
            message = f"cannot write {pid_file(settings.check_socket)}: {(error.strerror or str(error)).lower()}"
            raise ConfigError([Problem(f"{settings.path.name}: listen.check", message)]) from None
        stack.callback(remove, settings.check_socket)
        return Supervisor(settings, listeners, examined).run()


def _where(settings: Settings) -> tuple[dict[str, Endpoint], dict[str, Path]]:
    """Return the ports and the paths of the listeners, by name."""
    ports = {"check": settings.check_port, "web": settings.web_port, "fastcgi": settings.fastcgi}
    paths = {
        "check": None if settings.check_port else settings.check_socket,
        "web": None if settings.web_port else settings.web_socket,
        "api": settings.api_socket,
        "deliver": settings.deliver_socket,
    }
    return (
        {name: port for name, port in ports.items() if port is not None},
        {name: path for name, path in paths.items() if path is not None},
    )


def log_to_stderr() -> None:
    """Send the service's messages to stderr as ``authgate: message``; of other loggers only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("authgate: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("authgate").setLevel(logging.INFO)
