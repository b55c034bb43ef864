"""Write the configuration of an Envoy that serves the node's RPCs as HTTP/JSON and gRPC-Web.

    python deploy/envoy/configure.py > deploy/envoy/envoy.yaml

Envoy calls the services over mutual TLS as an edge (docs/tls.md), so a call has the role of its token and nothing
else. The methods come from the contract: every read, and every method that a gate or an app may call. Uploads, the
exchange, client streams, administration and the audit are left out. docs/http.md is the documentation for callers.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, MethodOptions
from hutong.access.v1 import access_pb2

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTORS = ROOT / "clients/hutong.binpb"
SERVICES = ("results", "policy", "verification")

MAX_REQUEST_BYTES = 1024 * 1024
"""The limit for a request. The largest request, a batch of 500 questions, has a few hundred kilobytes."""
CALL_SECONDS = 30
"""The most seconds that a call may take, the same as in the clients. A watch ends only after this many seconds of
silence."""
CALLS_PER_SECOND = 2_000
"""The limit for all callers of this Envoy together. The services limit each caller separately."""
_LEFT_OUT = re.compile(r"AdminService|ApprovalService|AuditService|UploadService|ExchangeService|\.internal\.")
_CALLERS = frozenset({access_pb2.ROLE_GATE, access_pb2.ROLE_APP})

GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 8, 429: 8, 503: 14, 504: 4}
"""The gRPC codes of Envoy's own errors, by their HTTP status. Other statuses have the code 13, INTERNAL."""


@dataclass(frozen=True, slots=True)
class Method:
    """A served method. `name` is "package.Service/Method", and `cluster` is the node's service that has the method."""

    name: str
    cluster: str
    is_stream: bool


@dataclass(frozen=True, slots=True)
class Options:
    """Envoy's own addresses, the addresses of the services, and the files that Envoy reads.

    Attributes:
        addresses: host and port of each service.
        ca_file: the authority of the services' certificates.
        edge_certificate: the edge's certificate and key.
        listen_certificate: the certificate that callers see, and its key; None to serve plain HTTP, for loopback only.
        token_keys: the JSON Web Key Set by which Envoy checks tokens; None if only the services check them.
        origins: the web origins whose pages may call.
        otlp: the receiver of traces; None to trace nothing.
        trace_ratio: of the calls that bring no trace of their own, the share that is traced.
    """

    addresses: dict[str, str]
    listen: str
    admin: str
    ca_file: str
    edge_certificate: tuple[str, str]
    listen_certificate: tuple[str, str] | None
    token_keys: str | None
    token_issuer: str
    token_audience: str
    origins: tuple[str, ...]
    descriptors: str
    otlp: str | None
    trace_ratio: float


def served_methods(files: FileDescriptorSet) -> list[Method]:
    """Return the methods that Envoy serves, in the contract's order."""
    return [
        Method(f"{file.package}.{service.name}/{method.name}", file.package.split(".")[1], method.server_streaming)
        for file in files.file
        if file.package.startswith("hutong.")
        for service in file.service
        if not _LEFT_OUT.search(f"{file.package}.{service.name}")
        for method in service.method
        if _is_served(method)
    ]


def _is_served(method: MethodDescriptorProto) -> bool:
    if method.client_streaming:
        return False
    grants = method.options.Extensions[access_pb2.access].grants
    return method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS or any(
        grant.role in _CALLERS for grant in grants
    )


def configure(options: Options, methods: list[Method]) -> dict[str, Any]:
    """Return Envoy's bootstrap configuration."""
    return {
        "admin": {"address": _address(options.admin)},
        "static_resources": {
            "listeners": [_listener(options, methods)],
            "clusters": [
                *(_cluster(options, service) for service in SERVICES),
                *([_plain_cluster(_RECEIVER, options.otlp)] if options.otlp else []),
            ],
        },
    }


def _listener(options: Options, methods: list[Method]) -> dict[str, Any]:
    manager = {
        "stat_prefix": "hutong",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "stream_idle_timeout": f"{CALL_SECONDS}s",
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http_filters": _filters(options, methods),
        "route_config": {"name": "hutong", "virtual_hosts": [_virtual_host(options, methods)]},
        "local_reply_config": _local_replies(),
    }
    if options.otlp:
        manager["tracing"] = _tracing(options)
        # A caller may write anything into the header tracestate, and Envoy would record its content.
        mutation = {"mutations": [{"remove": "tracestate"}]}
        manager["early_header_mutation_extensions"] = [
            _typed("envoy.http.early_header_mutation.header_mutation", _EARLY, mutation)
        ]
    chain: dict[str, Any] = {"filters": [_typed("envoy.filters.network.http_connection_manager", _HCM, manager)]}
    if options.listen_certificate:
        certificate, key = options.listen_certificate
        context = {
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [
                    {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
                ],
            }
        }
        chain["transport_socket"] = _typed("envoy.transport_sockets.tls", _TLS.format("Downstream"), context)
    return {"name": "hutong", "address": _address(options.listen), "filter_chains": [chain]}


def _tracing(options: Options) -> dict[str, Any]:
    """Return how Envoy records calls. No path is recorded, because a caller may write anything into a path."""
    config = {
        "grpc_service": {"envoy_grpc": {"cluster_name": _RECEIVER}, "timeout": "1s"},
        "service_name": "hutong-edge",
    }
    return {
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {"@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"} | config,
        },
        "random_sampling": {"value": options.trace_ratio * 100},
        "spawn_upstream_span": False,
        "custom_tags": [{"tag": tag, "literal": {"value": _NOT_RECORDED}} for tag in _TAGS_OF_CALLERS],
    }


def _filters(options: Options, methods: list[Method]) -> list[dict[str, Any]]:
    services = sorted({method.name.partition("/")[0] for method in methods})
    transcoder = {
        "proto_descriptor": options.descriptors,
        "services": services,
        "auto_mapping": True,
        "convert_grpc_status": True,
        "request_validation_options": {"reject_unknown_query_parameters": True},
        "print_options": {"always_print_primitive_fields": False},
    }
    limit = {
        "stat_prefix": "hutong_limit",
        "token_bucket": {
            "max_tokens": CALLS_PER_SECOND,
            "tokens_per_fill": CALLS_PER_SECOND,
            "fill_interval": "1s",
        },
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    filters = [
        _filter("local_ratelimit", "local_ratelimit", "LocalRateLimit", limit),
        _filter("cors", "cors", "Cors", {}),
    ]
    if options.token_keys:
        provider = {
            "issuer": options.token_issuer,
            "audiences": [options.token_audience],
            "forward": True,
            "local_jwks": {"filename": options.token_keys},
        }
        # A call without a token goes on to the service, because the service refuses the call with a reason.
        rule = {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": _REQUIREMENTS}}}
        authentication = {"providers": {"hutong": provider}, "rules": [rule], "bypass_cors_preflight": True}
        filters.append(_filter("jwt_authn", "jwt_authn", "JwtAuthentication", authentication))
    filters += [
        _filter("buffer", "buffer", "Buffer", {"max_request_bytes": MAX_REQUEST_BYTES}),
        _filter("grpc_web", "grpc_web", "GrpcWeb", {}),
        _filter("grpc_json_transcoder", "grpc_json_transcoder", "GrpcJsonTranscoder", transcoder),
        _filter("router", "router", "Router", {}),
    ]
    return filters


def _virtual_host(options: Options, methods: list[Method]) -> dict[str, Any]:
    cors = {
        "allow_origin_string_match": [{"exact": origin} for origin in options.origins],
        "allow_methods": "POST, OPTIONS",
        "allow_headers": ", ".join(_HEADERS),
        "expose_headers": "grpc-message, grpc-retry-pushback-ms, grpc-status, grpc-status-details-bin, x-request-id",
        "max_age": "600",
    }
    routes: list[dict[str, Any]] = [
        {
            "match": {"path": f"/{method.name}"},
            "decorator": {"operation": method.name, "propagate": False},
            "route": {"cluster": method.cluster, "timeout": "0s" if method.is_stream else f"{CALL_SECONDS}s"},
        }
        for method in methods
    ]
    routes.append(
        {
            "match": {"prefix": "/"},
            "decorator": {"operation": "(not served)", "propagate": False},
            "direct_response": {"status": 404, "body": {"inline_string": _NO_METHOD}},
        }
    )
    return {
        "name": "hutong",
        "domains": ["*"],
        "typed_per_filter_config": {"envoy.filters.http.cors": {"@type": _HTTP.format("cors", "CorsPolicy")} | cors},
        "routes": routes,
    }


def _local_replies() -> dict[str, Any]:
    def mapper(status: int, code: int) -> dict[str, Any]:
        comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": "unused"}}
        return {
            "filter": {"status_code_filter": {"comparison": comparison}},
            "body_format_override": {"json_format": {"code": code, "message": "%LOCAL_REPLY_BODY%"}},
        }

    return {
        "mappers": [mapper(status, code) for status, code in GRPC_CODES.items()],
        "body_format": {"json_format": {"code": 13, "message": "%LOCAL_REPLY_BODY%"}},
    }


def _cluster(options: Options, service: str) -> dict[str, Any]:
    host = options.addresses[service].rpartition(":")[0]
    context = {
        "sni": host,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "validation_context": {"trusted_ca": {"filename": options.ca_file}},
        }
        | _certificates(options.edge_certificate),
    }
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {"connection_keepalive": _KEEPALIVE}}}
    return {
        "name": service,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {_PROTOCOL: {"@type": f"type.googleapis.com/{_PROTOCOL}"} | http2},
        "transport_socket": _typed("envoy.transport_sockets.tls", _TLS.format("Upstream"), context),
        "load_assignment": _endpoint(service, options.addresses[service]),
    }


def _plain_cluster(name: str, address: str) -> dict[str, Any]:
    """Return a server that Envoy calls in plain text. The server should therefore be on the same machine."""
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {_PROTOCOL: {"@type": f"type.googleapis.com/{_PROTOCOL}"} | http2},
        "load_assignment": _endpoint(name, address),
    }


def _endpoint(name: str, address: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(address)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP = "type.googleapis.com/envoy.extensions.filters.http.{}.v3.{}"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{}TlsContext"
_EARLY = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEEPALIVE = {"interval": "20s", "timeout": "10s"}
_REQUIREMENTS = [{"provider_name": "hutong"}, {"allow_missing": {}}]
_HEADERS = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "hutong-case",
    "x-grpc-web",
    "x-request-id",
    "x-user-agent",
)
_RECEIVER = "otlp"
_TAGS_OF_CALLERS = (
    "http.url",
    "user_agent",
    "peer.address",
    "guid:x-request-id",
    "guid:x-client-trace-id",
    "downstream_cluster",
    "grpc.authority",
    "grpc.content_type",
    "grpc.message",
    "grpc.path",
)
"""The attributes of Envoy's spans whose values a caller can choose, or that hold the text of an error. Envoy
cannot leave them out, so their values are replaced."""
_NOT_RECORDED = "(not recorded)"
_NO_METHOD = "no such method is served here"


def _certificates(files: tuple[str, str]) -> dict[str, Any]:
    certificate, key = files
    return {"tls_certificates": [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}]}


def _typed(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": kind} | config}


def _filter(name: str, package: str, message: str, config: dict[str, Any]) -> dict[str, Any]:
    return _typed(f"envoy.filters.http.{name}", _HTTP.format(package, message), config)


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def parse(arguments: list[str]) -> Options:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description="Write Envoy's configuration to standard output.")
    for service, port in zip(SERVICES, (50051, 50052, 50053), strict=True):
        parser.add_argument(f"--{service}", default=f"127.0.0.1:{port}", help="address of the service")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="address that callers use")
    parser.add_argument("--admin", default="127.0.0.1:9901", help="address of Envoy's own pages, for operators")
    parser.add_argument("--ca", default="certs/node-ca.pem", help="authority of the services' certificates")
    parser.add_argument("--certificate", default="certs/edge.pem", help="the edge's certificate")
    parser.add_argument("--key", default="certs/edge.key", help="the edge's key")
    parser.add_argument("--listen-certificate", default="", help="certificate for callers; without it plain HTTP")
    parser.add_argument("--listen-key", default="", help="its key")
    parser.add_argument("--token-keys", default="", help="JSON Web Key Set; without it only the services check tokens")
    parser.add_argument("--token-issuer", default="", help="as HUTONG_TOKEN_ISSUER")
    parser.add_argument("--token-audience", default="hutong", help="as HUTONG_TOKEN_AUDIENCE")
    parser.add_argument("--origin", action="append", default=[], help="a web origin whose pages may call; repeatable")
    parser.add_argument("--otlp", default="", help="receiver of traces (OTLP over gRPC), in plain text; default none")
    parser.add_argument("--trace-ratio", type=float, default=0.01, help="as HUTONG_TRACE_RATIO")
    parser.add_argument("--descriptors", default="clients/hutong.binpb", help="the contract's descriptor set")
    given = parser.parse_args(arguments)
    return Options(
        addresses={service: getattr(given, service) for service in SERVICES},
        listen=given.listen,
        admin=given.admin,
        ca_file=given.ca,
        edge_certificate=(given.certificate, given.key),
        listen_certificate=(given.listen_certificate, given.listen_key) if given.listen_certificate else None,
        token_keys=given.token_keys or None,
        token_issuer=given.token_issuer,
        token_audience=given.token_audience,
        origins=tuple(given.origin),
        descriptors=given.descriptors,
        otlp=given.otlp or None,
        trace_ratio=given.trace_ratio,
    )


def main(arguments: list[str]) -> str:
    """Return the configuration for a command line, as YAML."""
    methods = served_methods(FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()))
    head = "# Written by deploy/envoy/configure.py from the contract. Change the command line there, not this file.\n"
    return head + yaml.safe_dump(configure(parse(arguments), methods), sort_keys=False, width=120)


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
