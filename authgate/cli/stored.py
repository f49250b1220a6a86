"""What commands do with the store itself, beside a running service, and how they show what is in it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from authgate.cli.output import fail, report, visible
from authgate.config import Settings
from authgate.errors import ConfigError, StoreUnavailable
from authgate.stores import Store
from authgate.stores.opening import open_store

_Result = TypeVar("_Result")


def ask_store(settings: Settings, what: str, ask: Callable[[Store], Awaitable[_Result]], nothing: _Result) -> _Result:
    """Return what `ask` finds in the configured store.

    Args:
        what: there is in it, for messages: ``sessions``.
        nothing: what an empty store would give. A store file that does not exist is not created here: it would
            belong to whoever runs this command, and the service could not write it.
    """
    if settings.store == "memory:":
        fail(
            f"the {what} of the store memory: live inside the running service",
            f'write store = "sqlite:state/authgate.db" in {settings.path}',
            code=2,
        )
    if not Path(settings.store.removeprefix("sqlite:")).exists():
        return nothing

    async def opened() -> _Result:
        store = open_store(settings.store, time.time)
        try:
            return await ask(store)
        finally:
            await store.aclose()

    try:
        return asyncio.run(opened())
    except ConfigError as error:
        report(error)
    except StoreUnavailable as error:
        fail(f"the store cannot be used now: {error}", "try again; nothing else was changed")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, the first of them the heads."""
    shown = [[visible(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        click.echo("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def moment(seconds: float | None) -> str:
    """Write an instant as RFC 3339 does, in UTC; empty for one that no calendar has."""
    try:
        return "" if seconds is None else datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


def read_moment(text: str, more: str = "") -> float:
    """Return an instant that was given on the command line; exit when it is none.

    Args:
        more: what may be written besides, for the hint.
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.timestamp()
    except (ValueError, OverflowError):
        pass
    return fail(f'"{text}" is no moment', f"write 2026-11-20T19:30:00+01:00, with its zone{more}", code=2)
