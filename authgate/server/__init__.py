"""The service: a parent that supervises worker processes on sockets it has bound for them."""

import logging
from collections.abc import Callable
from contextlib import ExitStack

from authgate.app import examine
from authgate.config import Settings
from authgate.server.sockets import listen
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
        listeners = {}
        for name, path in (("check", settings.check_socket), ("web", settings.web_socket)):
            listeners[name] = listen(f"{settings.path.name}: listen.{name}", path, settings.socket_group)
            stack.callback(listeners[name].close)
        return Supervisor(settings, listeners, examined).run()


def log_to_stderr() -> None:
    """Send the service's messages to stderr as ``authgate: message``; of other loggers only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("authgate: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("authgate").setLevel(logging.INFO)
