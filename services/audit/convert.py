"""Converts rows of the audit to messages, and to the objects that the command prints."""

from __future__ import annotations

from typing import Any

from google.rpc import code_pb2
from hutong.audit.v1.audit_event_pb2 import AuditEvent
from hutong.type.v1.purpose_pb2 import Purpose

from services.audit.model import StoredEvent
from services.domain.instant import MINUTE, format_instant, to_timestamp
from services.runtime.audit import AuditKind


def event_to_proto(row: StoredEvent) -> AuditEvent:
    """Return the message of a row. The message does not contain the tag of the person."""
    return AuditEvent(
        name=event_name(row),
        kind=row.kind,  # type: ignore[arg-type]
        event_time=to_timestamp(row.time),
        request_id=row.request_id,
        role=row.role,
        caller=row.caller,
        on_behalf_of=row.on_behalf_of,
        peer=row.peer,
        method=row.method,
        purpose=row.purpose,  # type: ignore[arg-type]
        region=row.region,
        object=row.object,
        code=code_pb2.Code.Name(row.code),
        outcome=row.outcome,
        item_count=row.item_count,
        case_id=row.case_id,
    )


def event_name(row: StoredEvent) -> str:
    """Return the resource name of a row."""
    return f"auditEvents/{row.writer_id}-{row.sequence}"


def event_to_object(row: StoredEvent, service: str) -> dict[str, Any]:
    """Return a row as a JSON object of the command. Empty fields are left out."""
    stated = {
        "service": service,
        "name": event_name(row),
        "kind": AuditKind(row.kind).name,
        "time": format_instant(row.time)[:16] + "+08:00" if row.time % MINUTE == 0 else format_instant(row.time),
        "request_id": row.request_id,
        "role": row.role,
        "caller": row.caller,
        "on_behalf_of": row.on_behalf_of,
        "peer": row.peer,
        "method": row.method,
        "purpose": Purpose.Name(Purpose.ValueType(row.purpose)).removeprefix("PURPOSE_") if row.purpose else "",
        "region": row.region,
        "object": row.object,
        "code": code_pb2.Code.Name(row.code),
        "outcome": row.outcome,
        "case_id": row.case_id,
    }
    return {key: value for key, value in stated.items() if value} | {"item_count": row.item_count}
