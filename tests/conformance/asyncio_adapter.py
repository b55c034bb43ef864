"""The adapter of the Python client for asyncio. README.md in this folder describes the protocol."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from hutong.results.v1.upload_pb2 import Tube
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    StreamVerifyRequest,
    VerifyRequest,
)
from hutong_client import Batch, HutongError, Tls, batches_of, lets_in
from hutong_client.aio import Connection, UploadSession, all_pages, connect, watch
from hutong_client.watches import SILENCE_SECONDS

from tests.support.conformance.answers import CONSTANTS, describe, find_method, item_json, to_json, write

_LINE_BYTES = 64 * 1024 * 1024
"""More than the largest line: an upload of 2,300 tubes."""


class Operation:
    """A command under way."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.batches: asyncio.Queue[list[Tube] | None] = asyncio.Queue()
        self.is_left = False
        self.task: asyncio.Task[None] | None = None

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event."""
        write(self.number, event=event, **fields)


class Adapter:
    """Carries out commands, each in a task."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._operations: dict[int, Operation] = {}

    async def run(self) -> None:
        """Carry out commands until the input ends."""
        reader = asyncio.StreamReader(limit=_LINE_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            operation = Operation(command.pop("id"))
            self._operations[operation.number] = operation
            handle = getattr(self, command.pop("op"))
            operation.task = asyncio.create_task(self._carry_out(handle, operation, command))

    async def _carry_out(
        self, handle: Callable[..., Awaitable[Any]], operation: Operation, command: dict[str, Any]
    ) -> None:
        try:
            result = await handle(operation, **command) or {}
        except HutongError as error:
            write(operation.number, error=describe(error))
            return
        except asyncio.CancelledError:
            if not operation.is_left:
                raise
            result = {}
        except Exception as error:  # noqa: BLE001 - the driver reports it
            write(operation.number, error={"message": repr(error)})
            return
        write(operation.number, result=result)

    async def dial(self, _: Operation, channel: str, address: str, tls: dict[str, str] | None = None) -> None:
        """Connect all services to one address."""
        files = Tls(Path(tls["ca"]), Path(tls["certificate"]), Path(tls["key"])) if tls else None
        self._connections[channel] = connect(address, address, address, files, {})

    async def close(self, _: Operation, channel: str) -> None:
        """Close a channel."""
        await self._connections.pop(channel).close()

    async def constants(self, _: Operation) -> Any:
        """Return the library's limits."""
        return CONSTANTS

    async def call(self, _: Operation, channel: str, method: str, request: Any, timeout_ms: int) -> Any:
        """Make a unary call."""
        call, message = find_method(self._connections[channel], method, request)
        return {"response": to_json(await call(message, timeout=timeout_ms / 1000))}

    async def pages(self, operation: Operation, channel: str, method: str, request: Any) -> None:
        """Read a list to its end."""
        async for page in all_pages(*find_method(self._connections[channel], method, request)):
            operation.emit("page", page=to_json(page))

    async def upload(
        self,
        operation: Operation,
        channel: str,
        lab: str,
        upload_id: str,
        tubes: list[Any],
        batch: int,
        offset: int = 0,
        hold: bool = False,
        **options: Any,
    ) -> None:
        """Upload in batches of `batch` tubes, or as the library splits them."""
        read = [json_format.ParseDict(tube, Tube()) for tube in tubes]

        async def batches() -> AsyncIterator[Batch[None]]:
            if batch:
                for at in range(0, len(read), batch):
                    yield Batch(read[at : at + batch], None)
            else:
                for each in batches_of(read):
                    yield each
            while hold and (more := await operation.batches.get()) is not None:
                yield Batch(more, None)

        session = UploadSession(self._connections[channel].uploads, lab, upload_id, **options)
        async for acknowledged in session.send(batches(), offset):
            operation.emit(
                "acknowledged",
                offset=acknowledged.offset,
                tubes=len(acknowledged.batch.tubes),
                response=to_json(acknowledged.response),
            )

    async def more(self, _: Operation, of: int, tubes: list[Any]) -> None:
        """Give one more batch to an upload."""
        self._operations[of].batches.put_nowait([json_format.ParseDict(tube, Tube()) for tube in tubes])

    async def finish(self, _: Operation, of: int) -> None:
        """End the source of an upload."""
        self._operations[of].batches.put_nowait(None)

    async def upload_state(self, _: Operation, channel: str, lab: str, upload_id: str) -> Any:
        """Return the upload as the service knows it."""
        found = await UploadSession(self._connections[channel].uploads, lab, upload_id).get()
        return {"upload": to_json(found) if found else None}

    async def watch(
        self, operation: Operation, channel: str, method: str, request: Any, silence_ms: int | None = None
    ) -> None:
        """Watch until the driver cancels."""
        seconds = SILENCE_SECONDS if silence_ms is None else silence_ms / 1000
        opened = find_method(self._connections[channel], method, request)
        async for each in watch(*opened, silence_seconds=seconds):
            operation.emit("message", message=to_json(each))

    async def cancel(self, _: Operation, of: int) -> None:
        """Leave a watch."""
        operation = self._operations[of]
        operation.is_left = True
        assert operation.task is not None
        operation.task.cancel()

    async def gate(self, _: Operation, channel: str, request: Any, timeout_ms: int) -> Any:
        """Ask whether a holder is let in."""
        asked = json_format.ParseDict(request, VerifyRequest())
        answer = await self._connections[channel].verification.Verify(asked, timeout=timeout_ms / 1000)
        return {"opens": lets_in(answer.decision)}

    async def batch_verify(self, _: Operation, channel: str, requests: list[Any], timeout_ms: int) -> Any:
        """Ask a batch."""
        asked = json_format.ParseDict({"requests": requests}, BatchVerifyRequest())
        answer = await self._connections[channel].verification.BatchVerify(asked, timeout=timeout_ms / 1000)
        return {"items": [item_json(item) for item in answer.items]}

    async def stream_verify(self, operation: Operation, channel: str, questions: list[Any]) -> None:
        """Ask on a stream."""
        asked = [
            StreamVerifyRequest(
                correlation_id=each["correlation_id"],
                request=json_format.ParseDict(each["request"], VerifyRequest()),
            )
            for each in questions
        ]
        async for answer in self._connections[channel].verification.StreamVerify(iter(asked)):
            operation.emit("answer", correlation_id=answer.correlation_id, **item_json(answer))


if __name__ == "__main__":
    asyncio.run(Adapter().run())
