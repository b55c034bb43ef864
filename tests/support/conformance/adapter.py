"""The driver's side of an adapter: a process that answers commands by means of one client library.

tests/conformance/README.md describes the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.support.waiting import TIMEOUT_SECONDS

_LINE_BYTES = 64 * 1024 * 1024
"""More than the largest line: an upload of 2,300 tubes."""


class ClientError(Exception):
    """An error that the client library raised.

    Attributes:
        is_typed: whether it is of the library's own type for failed calls.
        code: the name of gRPC's status code.
        reason: a name of ErrorReason without its prefix; empty if there is none.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(json.dumps(error, ensure_ascii=False))
        self.is_typed = bool(error.get("typed"))
        self.code = str(error.get("code", ""))
        self.reason = str(error.get("reason", ""))
        self.metadata: Mapping[str, str] = error.get("metadata", {})
        self.fields = [violation["field"] for violation in error.get("field_violations", ())]
        self.retry_delay_ms = float(error.get("retry_delay_ms", 0))
        self.can_be_retried = bool(error.get("can_be_retried"))


class Operation:
    """A command under way."""

    def __init__(self, adapter: Adapter, number: int) -> None:
        self.number = number
        self._adapter = adapter
        self.lines: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async def events(self, name: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the events of this name until the operation ends. Raise ClientError if it fails."""
        while True:
            line = await self.lines.get()
            if "event" not in line:
                self.lines.put_nowait(line)
                if "error" in line:
                    raise ClientError(line["error"])
                return
            assert line["event"] == name, line
            yield line

    async def event(self, name: str) -> Mapping[str, Any]:
        """Return the next event, which must have this name."""
        async with asyncio.timeout(3 * TIMEOUT_SECONDS):
            async for event in self.events(name):
                return event
        raise AssertionError(f"the operation ended without the event {name}")

    async def all(self, name: str) -> list[Mapping[str, Any]]:
        """Return all events until the operation ends. Raise ClientError if it fails."""
        async with asyncio.timeout(3 * TIMEOUT_SECONDS):
            return [event async for event in self.events(name)]

    async def result(self) -> Mapping[str, Any]:
        """Return the result, and pass over events. Raise ClientError if the operation fails."""
        async with asyncio.timeout(3 * TIMEOUT_SECONDS):
            while "event" in (line := await self.lines.get()):
                pass
        self.lines.put_nowait(line)
        if "error" in line:
            raise ClientError(line["error"])
        return line["result"]

    async def more(self, tubes: Sequence[Message]) -> None:
        """Give one more batch to an upload that is held open."""
        await self._adapter.ask("more", of=self.number, tubes=[to_json(tube) for tube in tubes])

    async def finish(self) -> None:
        """End the source of an upload that is held open."""
        await self._adapter.ask("finish", of=self.number)

    async def cancel(self) -> None:
        """Leave a watch."""
        await self._adapter.ask("cancel", of=self.number)


class Adapter:
    """A running adapter. It carries out any number of commands at the same time."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._numbers = itertools.count(1)
        self._operations: dict[int, Operation] = {}
        self._last_line = b""
        self._reading = asyncio.ensure_future(self._read())

    def start(self, op: str, **fields: Any) -> Operation:
        """Begin an operation."""
        operation = Operation(self, next(self._numbers))
        self._operations[operation.number] = operation
        line = json.dumps({"id": operation.number, "op": op, **fields}, ensure_ascii=False)
        assert self._process.stdin is not None
        if self._reading.done():
            operation.lines.put_nowait({"error": {"message": self._ended()}})
        else:
            self._process.stdin.write(line.encode() + b"\n")
        return operation

    async def ask(self, op: str, **fields: Any) -> Mapping[str, Any]:
        """Carry out an operation and return its result."""
        return await self.start(op, **fields).result()

    async def close(self) -> None:
        """Close the adapter's input, after which it ends. Kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):
            while line := await self._process.stdout.readline():
                self._last_line = line
                answer = json.loads(line)
                self._operations[answer["id"]].lines.put_nowait(answer)
        for operation in self._operations.values():
            operation.lines.put_nowait({"error": {"message": self._ended()}})

    def _ended(self) -> str:
        return f"the adapter ended after {self._last_line[:200]!r}:\n{self._log.read_text('utf-8', 'replace')[-3000:]}"


@contextlib.asynccontextmanager
async def running_adapter(command: Sequence[str], directory: Path, log: Path) -> AsyncIterator[Adapter]:
    """Run an adapter until the block ends. Its standard error goes to the log."""
    pipe = asyncio.subprocess.PIPE
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, stdin=pipe, stdout=pipe, stderr=stderr, limit=_LINE_BYTES
        )
    adapter = Adapter(process, log)
    try:
        yield adapter
    finally:
        await adapter.close()


def to_json(message: Message) -> Any:
    """Return a message as an adapter reads it."""
    return json_format.MessageToDict(message)


def read_json(value: Any, message: Any) -> Any:
    """Fill a message from what an adapter wrote, and return it."""
    return json_format.ParseDict(value, message, ignore_unknown_fields=True)
