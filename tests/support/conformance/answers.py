"""The code that the two Python adapters share: methods by their paths, and the JSON of their answers."""

from __future__ import annotations

import json
import threading
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory
from hutong_client import HutongError, from_status
from hutong_client.upload import MAX_BATCH_BYTES, MAX_TUBES
from hutong_client.watches import SILENCE_SECONDS

STUBS = {
    "hutong.results.v1.LabService": "labs",
    "hutong.results.v1.ResultsService": "results",
    "hutong.results.v1.UploadService": "uploads",
    "hutong.policy.v1.PolicyService": "policies",
    "hutong.verification.v1.VerificationService": "verification",
    "hutong.verification.v1.RefusalService": "refusals",
}
"""The attribute of a connection for each service."""
CONSTANTS = {
    "max_tubes": MAX_TUBES,
    "max_batch_bytes": MAX_BATCH_BYTES,
    "silence_ms": round(SILENCE_SECONDS * 1000),
}
_writing = threading.Lock()


def write(number: int, **fields: Any) -> None:
    """Write one line."""
    line = json.dumps({"id": number, **fields}, ensure_ascii=False)
    with _writing:
        print(line, flush=True)


def find_method(connection: Any, method: str, request: Any) -> tuple[Any, Any]:
    """Return a method of the library's stub, as "hutong.results.v1.LabService/GetLab", and its request."""
    service, _, name = method.rpartition("/")
    descriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]  # type: ignore[no-untyped-call]
    message = message_factory.GetMessageClass(descriptor.input_type)()
    return getattr(getattr(connection, STUBS[service]), name), json_format.ParseDict(request, message)


def item_json(item: Any) -> dict[str, Any]:
    """Return the decision or the error of an item."""
    if item.WhichOneof("item") == "error":
        return {"error": describe(from_status(item.error))}
    return {"decision": to_json(item.decision)}


def describe(error: HutongError) -> dict[str, Any]:
    """Return an error as the protocol has it."""
    delay = error.retry_delay
    return {
        "typed": True,
        "type": type(error).__name__,
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "metadata": dict(error.metadata),
        "field_violations": [{"field": it.field, "reason": it.reason} for it in error.field_violations],
        "retry_delay_ms": delay.total_seconds() * 1000 if delay else 0,
        "can_be_retried": error.can_be_retried,
    }


def to_json(message: Any) -> Any:
    """Return a message in JSON."""
    return json_format.MessageToDict(message)
