"""Read paged lists (AIP-158) to their end, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from hutong_client.connection import CALL_SECONDS
from hutong_client.paging import PAGE_SIZE, Page, PageRequest


async def all_pages(method: Callable[..., Awaitable[Page]], request: PageRequest) -> AsyncIterator[Page]:
    """Yield every page of a list. The request's page fields are overwritten."""
    arguments: Any = request
    arguments.page_size = PAGE_SIZE
    while True:
        page = await method(arguments, timeout=CALL_SECONDS)
        yield page
        if not page.next_page_token:
            return
        arguments.page_token = page.next_page_token
