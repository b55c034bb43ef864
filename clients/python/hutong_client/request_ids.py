"""Add a request_id (AIP-155) to every request that can have one, so that gRPC may repeat the call."""

from __future__ import annotations

import uuid
from typing import Any


def with_request_id(request: Any) -> Any:
    """Return the request, or a copy with a new request_id if its type has this field and it is empty."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id:
        return request
    named = type(request)()
    named.CopyFrom(request)
    named.request_id = str(uuid.uuid4())
    return named
