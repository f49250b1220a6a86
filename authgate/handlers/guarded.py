"""Calling a site's own function so that whatever it raises comes back as a value."""

import asyncio
import inspect
import traceback
from asyncio import Future as Waiting
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import cast

from authgate.handlers.threads import Threads


@dataclass(frozen=True, slots=True)
class Raised:
    """What came out of a function instead of an answer.

    Args:
        traceback: as Python prints it, with what the exception says.
        outline: the same without what the exception says, which may quote what the function was given.
    """

    traceback: str
    outline: str


def start(function: Callable[..., object], arguments: tuple[object, ...], threads: Threads) -> Waiting[object] | None:
    """Begin to ask; None when no thread is free. What arrives is the answer, or `Raised`."""
    if is_async(function):
        # A task of its own keeps its context variables, its cancellation and its exceptions to itself.
        return asyncio.create_task(_await_guarded(function, arguments))
    context = copy_context()
    future = threads.run(lambda: context.run(_call_guarded, function, arguments))
    return None if future is None else asyncio.wrap_future(future)


def is_async(function: Callable[..., object]) -> bool:
    """Tell whether calling it gives something to wait for."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _call_guarded(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return function(*arguments)
    except BaseException as error:  # noqa: BLE001 - in a future, SystemExit ends the loop and StopIteration never arrives
        return _raised(error)


async def _await_guarded(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return await cast("Awaitable[object]", function(*arguments))
    except BaseException as error:  # noqa: BLE001 - SystemExit would end the loop
        return _raised(error)


def _raised(error: BaseException) -> Raised:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return Raised("".join(traceback.format_exception(error)), f"{frames}{type(error).__name__}")
