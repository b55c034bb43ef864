"""What failing calls tell, as one value to compare."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from tests.support.servers import error_info, field_violations

Told = tuple[grpc.StatusCode, str, list[str]]
"""Code, reason and the faulty fields, sorted."""


async def told(call: Awaitable[Any]) -> Told:
    """How a call fails; fails the test when it does not."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_info(caught.value).reason, sorted(field_violations(caught.value))
