"""The client for asyncio.

It has the same connection, upload session, pages, watch and gate's stream as `hutong_client`.

    async with connect() as node:
        answer = await node.verification.Verify(VerifyRequest(...), timeout=5)

Failed calls raise the exceptions of `hutong_client`.
"""

from __future__ import annotations

from hutong_client.aio.connection import Connection, connect
from hutong_client.aio.gate_stream import stream_answers
from hutong_client.aio.paging import all_pages
from hutong_client.aio.upload import UploadSession
from hutong_client.aio.watches import watch

__all__ = ["Connection", "UploadSession", "all_pages", "connect", "stream_answers", "watch"]
