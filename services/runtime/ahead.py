"""Begins a step of a call whose result may not be needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def begin_ahead(step: Awaitable[T]) -> asyncio.Future[T]:
    """Begin a step, for example the reading of a stream's next message. Its error is not logged if nothing awaits it.

    A caller that breaks off its call makes such a step fail. asyncio would log a traceback for each of these errors,
    so that a caller could fill the log.
    """
    begun = asyncio.ensure_future(step)
    begun.add_done_callback(_take_error)
    return begun


def _take_error(begun: asyncio.Future[T]) -> None:
    if not begun.cancelled():
        begun.exception()
