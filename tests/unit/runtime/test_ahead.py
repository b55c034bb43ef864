"""Steps that are begun before it is known whether their results are needed."""

from __future__ import annotations

import asyncio
import gc

import pytest

from services.runtime.ahead import begin_ahead


async def test_an_error_that_nothing_awaits_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError

    begun = begin_ahead(fail())
    await asyncio.wait([begun])
    del begun
    gc.collect()
    assert not caplog.records
    with pytest.raises(RuntimeError):
        await begin_ahead(fail())
