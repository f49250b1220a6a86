"""The setting ``store`` as a store."""

from contextlib import suppress
from pathlib import Path

from authgate.errors import ConfigError, Problem, StoreUnavailable
from authgate.stores import Clock, Store
from authgate.stores.memory import MemoryStore
from authgate.stores.sqlite import SqliteStore

_FORMS = 'write "sqlite:state/authgate.db", or "memory:" for a trial with one worker'


def open_store(url: str, clock: Clock) -> Store:
    """Return the store that `url` names: ``memory:`` or ``sqlite:PATH`` with an absolute path.

    Raises:
        ConfigError: the URL is neither, or the file must not or cannot be used as it is.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon and not rest:
        return MemoryStore(clock)
    # An absolute path only: a relative one would name another file in each working directory.
    if scheme != "sqlite" or not rest.startswith("/") or rest.endswith("/") or "\0" in rest:
        # The URL is not repeated: one day somebody writes a password into it.
        raise ConfigError([Problem("store", "is not a store authgate knows", _FORMS)])
    store = SqliteStore(Path(rest), clock)
    # A store that is merely away now is no reason not to start: requests are refused until it is back.
    with suppress(StoreUnavailable):
        store.prepare()
    return store
