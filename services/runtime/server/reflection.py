"""Server reflection in its versions v1 and v1alpha, which have the same messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import cache
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from hutong.error.v1 import error_reason_pb2

V1 = "grpc.reflection.v1.ServerReflection"
_POOL = descriptor_pool.Default()
_OF_ERRORS = (error_reason_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)
"""The reasons and details of errors. No file of a service imports them, so this module does."""


async def _by_service(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Replace the names of methods in requests by the names of their services.

    The pool of descriptors does not find methods.
    """
    async for request in requests:
        if request.HasField("file_containing_symbol"):
            request.file_containing_symbol = service_of(request.file_containing_symbol)
        yield request


def service_of(symbol: str) -> str:
    """Return the service of a method "package.Service/Method" or "package.Service.Method".

    Return any other symbol unchanged.
    """
    service, _, method = symbol.replace("/", ".").rpartition(".")
    try:
        found = _POOL.FindServiceByName(service)
    except KeyError:
        return symbol
    return service if method in found.methods_by_name else symbol


def add_reflection(names: Iterable[str], server: grpc.aio.Server) -> None:
    """Add reflection about services to a server, in both versions."""
    _describe_v1()
    reflected: Any = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME, V1])

    async def answer(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for found in reflected.ServerReflectionInfo(_by_service(requests), context):
            yield found

    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for version in (reflection.SERVICE_NAME, V1):
        server.add_registered_method_handlers(version, {"ServerReflectionInfo": handler})


@cache
def _describe_v1() -> None:
    """Make the descriptor of v1 from that of v1alpha, once in a process. The library has no v1."""
    older = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(older)
    described = json_format.MessageToJson(older).replace("v1alpha", "v1")
    _POOL.Add(json_format.Parse(described, FileDescriptorProto()))
