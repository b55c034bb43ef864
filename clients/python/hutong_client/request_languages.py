"""Ask services for texts in the language of the process, by the metadata `accept-language`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import grpc
from hutong_texts import ENGLISH, current_language

ACCEPT_LANGUAGE = "accept-language"
"""The metadata key by which a call asks for texts in a language."""


def with_language(metadata: Iterable[tuple[str, str | bytes]] | None) -> Any:
    """Return the metadata with the language of the process, unless that is English or the metadata names one."""
    language = current_language()
    given = tuple(metadata or ())
    if language == ENGLISH or any(key == ACCEPT_LANGUAGE for key, _ in given):
        return metadata
    return (*given, (ACCEPT_LANGUAGE, language.replace("_", "-")))


class _Details(NamedTuple):
    """gRPC's details of a call, as interceptors pass them on."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class RequestLanguages(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Client interceptor that adds the language to every call."""

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        """Send the request with the language."""
        return continuation(_with_language(details), request)

    def intercept_unary_stream(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        """Begin a watch with the language."""
        return continuation(_with_language(details), request)

    def intercept_stream_stream(self, continuation: Callable[[Any, Any], Any], details: Any, requests: Any) -> Any:
        """Begin an upload or a gate's stream with the language."""
        return continuation(_with_language(details), requests)


def _with_language(details: Any) -> Any:
    if current_language() == ENGLISH:
        return details
    return _Details(
        details.method,
        details.timeout,
        with_language(details.metadata),
        details.credentials,
        details.wait_for_ready,
        details.compression,
    )
