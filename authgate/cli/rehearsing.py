"""Handlers for a command that asks the policy itself: imported, set up, and closed at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from authgate.config import Settings
from authgate.handlers import Handlers, load_handlers

_Result = TypeVar("_Result")


def run_with_handlers(settings: Settings, ask: Callable[[Handlers], Awaitable[_Result]]) -> _Result:
    """Return what `ask` finds out.

    Raises:
        ConfigError: a handler cannot be imported or set up.
    """

    async def opened() -> _Result:
        handlers = load_handlers(settings.policy.handlers, settings.path.parent.absolute())
        try:
            await handlers.setup()
            return await ask(handlers)
        finally:
            await handlers.close()

    return asyncio.run(opened())
