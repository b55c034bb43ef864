"""The contract as data: the methods of all services, from the descriptor set."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[3]


def _methods() -> list[MethodDescriptor]:
    methods: list[MethodDescriptor] = []
    for file in FileDescriptorSet.FromString((ROOT / "clients/hutong.binpb").read_bytes()).file:
        if file.package.startswith("hutong.") and file.service:
            importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
            services = descriptor_pool.Default().FindFileByName(file.name).services_by_name.values()
            methods += [method for service in services for method in service.methods]
    return methods


METHODS = _methods()
"""Every RPC of the contract."""


def find_call(channel: grpc.aio.Channel, method: MethodDescriptor, **serializers: Callable[..., Any]) -> Any:
    """Return what begins calls of an RPC, as the attribute of a stub does. Without serializers messages are bytes."""
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    return getattr(channel, kind)(f"/{method.containing_service.full_name}/{method.name}", **serializers)
