"""Write service-config.json, the table of channel options and retries for clients in every language.

The retries follow the idempotency levels of the contract. `make protos` runs this after generating the stubs.

    python protos/channel_table.py clients/hutong.binpb clients/service-config.json

An output named *.ts is a TypeScript module, because browsers and Node load JSON modules in different ways.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, MethodOptions

CHANNEL = {
    # The services' limit for one message in either direction.
    "maxMessageBytes": 4 * 1024 * 1024,
    # A connection whose other end has disappeared is noticed within 30 s.
    "keepaliveTimeMillis": 20_000,
    "keepaliveTimeoutMillis": 10_000,
    # TCP, mutual TLS and the first HTTP/2 frames take four round trips. This is enough for round trips of two seconds.
    "connectTimeoutMillis": 10_000,
    # A service that returns is reconnected within a second.
    "initialReconnectBackoffMillis": 100,
    "maxReconnectBackoffMillis": 1_000,
}
RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    # A server that stops cancels what arrives before its client knows of the stop. It has not begun such a call.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
NOT_BEGUN = RETRIES | {"retryableStatusCodes": ["CANCELLED"]}
"""The retries of unary calls that may not be repeated once a service has begun them."""


def may_be_repeated(method: MethodDescriptorProto) -> bool:
    """Check by the `idempotency_level` in the contract whether gRPC may repeat a call.

    A change is idempotent by its content or by its request_id. A client stream is never repeated, because an upload
    resumes from the acknowledged offset. Verify has no level, because an adverse decision is stored each time.
    """
    level = method.options.idempotency_level
    if method.client_streaming:
        return False
    return level == MethodOptions.NO_SIDE_EFFECTS or (level == MethodOptions.IDEMPOTENT and not method.server_streaming)


def channel_table(files: FileDescriptorSet) -> str:
    """Return the table as JSON. Internal services are left out, because only the node itself calls them."""
    methods = [
        ({"service": f"{file.package}.{service.name}", "method": method.name}, method)
        for file in files.file
        if file.package.startswith("hutong.") and ".internal." not in file.package
        for service in file.service
        for method in service.method
    ]
    repeatable = [name for name, method in methods if may_be_repeated(method)]
    once = [
        name
        for name, method in methods
        if not (may_be_repeated(method) or method.client_streaming or method.server_streaming)
    ]
    configs = [{"name": repeatable, "retryPolicy": RETRIES}, {"name": once, "retryPolicy": NOT_BEGUN}]
    table = {"channel": CHANNEL, "serviceConfig": {"methodConfig": configs}}
    return json.dumps(table, indent=2) + "\n"


def main(descriptors: str, *outputs: str) -> None:
    """Write the table of a descriptor set to each of the files."""
    table = channel_table(FileDescriptorSet.FromString(Path(descriptors).read_bytes()))
    for output in outputs:
        text = table
        if output.endswith(".ts"):
            text = f"// Made by protos/channel_table.py.\nexport const table = {table.rstrip()} as const;\n"
        Path(output).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
