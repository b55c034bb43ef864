"""Add a request_id (AIP-155) to every request that has this field, so that gRPC may repeat the call."""

from __future__ import annotations

import uuid
from typing import Any


def with_request_id(request: Any) -> Any:
    """Return the request. If its type has the field request_id and the field is empty, return a copy with a new one."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id:
        return request
    named = type(request)()
    named.CopyFrom(request)
    named.request_id = str(uuid.uuid4())
    return named
