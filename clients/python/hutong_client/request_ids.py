"""Give a request_id to every request that can have one (AIP-155), so that gRPC may repeat the call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc


class RequestIds(grpc.UnaryUnaryClientInterceptor):
    """Sends a request without a request_id under a new one. The caller's own message is left alone."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Send the request, with a request_id where its type has one."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            named = type(request)()
            named.CopyFrom(request)
            named.request_id = str(uuid.uuid4())
            request = named
        return continuation(client_call_details, request)
