"""Add a request_id (AIP-155) to every request that can have one, so that gRPC may repeat the call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc


class RequestIds(grpc.UnaryUnaryClientInterceptor):
    """Client interceptor that adds a new request_id to a copy of a request without one."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Send the request, with a request_id if its type has this field."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            named = type(request)()
            named.CopyFrom(request)
            named.request_id = str(uuid.uuid4())
            request = named
        return continuation(client_call_details, request)
