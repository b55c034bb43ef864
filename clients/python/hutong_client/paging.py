"""Read paged lists (AIP-158) to their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from hutong_client.connection import CALL_SECONDS

PAGE_SIZE = 500
"""The services' limit for a page."""


class _Page(Protocol):
    next_page_token: str


class _PageRequest(Protocol):
    page_size: int
    page_token: str


Page = TypeVar("Page", bound=_Page)
PageRequest = TypeVar("PageRequest", bound=_PageRequest)


def all_pages(method: Callable[..., Page], request: PageRequest) -> Iterator[Page]:
    """Yield every page of a list. The request's page fields are overwritten."""
    arguments: Any = request
    arguments.page_size = PAGE_SIZE
    while True:
        page = method(arguments, timeout=CALL_SECONDS)
        yield page
        if not page.next_page_token:
            return
        arguments.page_token = page.next_page_token
