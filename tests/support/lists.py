"""Reads lists of the services page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


async def read_pages(call: Callable[[Any], Awaitable[Any]], request: Any) -> list[Any]:
    """Return every page of a list, each of the request's page size."""
    asked, pages = type(request)(), []
    asked.CopyFrom(request)
    while not pages or asked.page_token:
        pages.append(await call(asked))
        asked.page_token = pages[-1].next_page_token
    return pages
