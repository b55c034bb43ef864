"""The adapter of the Python client. README.md in this folder describes the protocol."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from hutong.results.v1.upload_pb2 import Tube
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    StreamVerifyRequest,
    VerifyRequest,
)
from hutong_client import (
    Batch,
    Connection,
    HutongError,
    Tls,
    UploadSession,
    all_pages,
    batches_of,
    connect,
    lets_in,
    watch,
)
from hutong_client.watches import SILENCE_SECONDS

from tests.support.conformance.answers import CONSTANTS, describe, find_method, item_json, to_json, write


@dataclass
class Operation:
    """A command under way."""

    number: int
    batches: queue.SimpleQueue[list[Tube] | None] = field(default_factory=queue.SimpleQueue)
    is_left: bool = False
    call: Any = None

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event."""
        write(self.number, event=event, **fields)


class Adapter:
    """Carries out commands, each in a thread."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._operations: dict[int, Operation] = {}

    def run(self) -> None:
        """Carry out commands until the input ends."""
        for line in sys.stdin:
            command = json.loads(line)
            operation = Operation(command.pop("id"))
            self._operations[operation.number] = operation
            handle = getattr(self, command.pop("op"))
            threading.Thread(target=self._carry_out, args=(handle, operation, command), daemon=True).start()

    def _carry_out(self, handle: Callable[..., Any], operation: Operation, command: dict[str, Any]) -> None:
        try:
            result = handle(operation, **command) or {}
        except HutongError as error:
            if not operation.is_left:
                write(operation.number, error=describe(error))
                return
            result = {}
        except Exception as error:  # noqa: BLE001 - the driver reports it
            write(operation.number, error={"message": repr(error)})
            return
        write(operation.number, result=result)

    def dial(self, _: Operation, channel: str, address: str, tls: dict[str, str] | None = None) -> None:
        """Connect all services to one address."""
        files = Tls(Path(tls["ca"]), Path(tls["certificate"]), Path(tls["key"])) if tls else None
        self._connections[channel] = connect(address, address, address, files, {})

    def close(self, _: Operation, channel: str) -> None:
        """Close a channel."""
        self._connections.pop(channel).close()

    def constants(self, _: Operation) -> Any:
        """Return the library's limits."""
        return CONSTANTS

    def call(self, _: Operation, channel: str, method: str, request: Any, timeout_ms: int) -> Any:
        """Make a unary call."""
        call, message = find_method(self._connections[channel], method, request)
        return {"response": to_json(call(message, timeout=timeout_ms / 1000))}

    def pages(self, operation: Operation, channel: str, method: str, request: Any) -> None:
        """Read a list to its end."""
        for page in all_pages(*find_method(self._connections[channel], method, request)):
            operation.emit("page", page=to_json(page))

    def upload(
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

        def batches() -> Iterator[Batch[None]]:
            if batch:
                yield from (Batch(read[at : at + batch], None) for at in range(0, len(read), batch))
            else:
                yield from batches_of(read)
            while hold and (more := operation.batches.get()) is not None:
                yield Batch(more, None)

        session = UploadSession(self._connections[channel].uploads, lab, upload_id, **options)
        for acknowledged in session.send(batches(), offset):
            operation.emit(
                "acknowledged",
                offset=acknowledged.offset,
                tubes=len(acknowledged.batch.tubes),
                response=to_json(acknowledged.response),
            )

    def more(self, _: Operation, of: int, tubes: list[Any]) -> None:
        """Give one more batch to an upload."""
        self._operations[of].batches.put([json_format.ParseDict(tube, Tube()) for tube in tubes])

    def finish(self, _: Operation, of: int) -> None:
        """End the source of an upload."""
        self._operations[of].batches.put(None)

    def upload_state(self, _: Operation, channel: str, lab: str, upload_id: str) -> Any:
        """Return the upload as the service knows it."""
        found = UploadSession(self._connections[channel].uploads, lab, upload_id).get()
        return {"upload": to_json(found) if found else None}

    def watch(
        self, operation: Operation, channel: str, method: str, request: Any, silence_ms: int | None = None
    ) -> None:
        """Watch until the driver cancels."""
        open_stream, message = find_method(self._connections[channel], method, request)

        def opened(asked: Any) -> Any:
            operation.call = open_stream(asked)
            return operation.call

        seconds = SILENCE_SECONDS if silence_ms is None else silence_ms / 1000
        for each in watch(opened, message, silence_seconds=seconds):
            if operation.is_left:
                return
            operation.emit("message", message=to_json(each))

    def cancel(self, _: Operation, of: int) -> None:
        """Leave a watch."""
        self._operations[of].is_left = True
        self._operations[of].call.cancel()

    def gate(self, _: Operation, channel: str, request: Any, timeout_ms: int) -> Any:
        """Ask whether a holder is let in."""
        asked = json_format.ParseDict(request, VerifyRequest())
        decision = self._connections[channel].verification.Verify(asked, timeout=timeout_ms / 1000).decision
        return {"opens": lets_in(decision)}

    def batch_verify(self, _: Operation, channel: str, requests: list[Any], timeout_ms: int) -> Any:
        """Ask a batch."""
        asked = json_format.ParseDict({"requests": requests}, BatchVerifyRequest())
        answer = self._connections[channel].verification.BatchVerify(asked, timeout=timeout_ms / 1000)
        return {"items": [item_json(item) for item in answer.items]}

    def stream_verify(self, operation: Operation, channel: str, questions: list[Any]) -> None:
        """Ask on a stream."""
        asked = [
            StreamVerifyRequest(
                correlation_id=each["correlation_id"],
                request=json_format.ParseDict(each["request"], VerifyRequest()),
            )
            for each in questions
        ]
        for answer in self._connections[channel].verification.StreamVerify(iter(asked)):
            operation.emit("answer", correlation_id=answer.correlation_id, **item_json(answer))


if __name__ == "__main__":
    Adapter().run()
