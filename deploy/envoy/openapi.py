"""Write the OpenAPI document of what Envoy serves as HTTP/JSON.

    python -m deploy.envoy.openapi build/api/openapi.swagger.json > deploy/envoy/openapi.yaml

The input is made from the contract by protoc-gen-openapiv2 (`make api`), and has every method. The output has the
methods that `configure.py` serves and the types that they use. A watch is an array, as Envoy answers it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.envoy.configure import DESCRIPTORS, Method, served_methods

_REFERENCE = "#/definitions/"
_ANY = "google.protobuf.Any"
_HEAD = "# Written by deploy/envoy/openapi.py from the contract: make stubs.\n"
_INFO = {
    "title": "Hutong as HTTP/JSON",
    "description": "docs/http.md says how to call. The token goes into the header as `Bearer {token}`.",
    "version": "v1",
    "license": {"name": "Apache-2.0"},
}


def document(made: dict[str, Any], methods: list[Method]) -> dict[str, Any]:
    """Return the document for some methods, made from the plugin's document for all methods."""
    paths = {f"/{method.name}": _path(made["paths"][f"/{method.name}"], method) for method in methods}
    definitions = made["definitions"] | {_ANY: _any(made["definitions"][_ANY])}
    tags = {tag for path in paths.values() for tag in path["post"]["tags"]}
    used = _used(paths, definitions)
    return {
        "swagger": "2.0",
        "info": _INFO,
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"token": {"type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"token": []}],
        "tags": _flowing([tag for tag in made["tags"] if tag["name"] in tags]),
        "paths": _flowing(paths),
        "definitions": _flowing({name: made for name, made in definitions.items() if name in used}),
    }


def _path(made: dict[str, Any], method: Method) -> dict[str, Any]:
    if method.is_stream:
        answer = made["post"]["responses"]["200"]
        answer["description"] = "A JSON array that grows."
        answer["schema"] = {"type": "array", "items": answer["schema"]["properties"]["result"]}
    return made


def _any(made: dict[str, Any]) -> dict[str, Any]:
    """Return the type of an error's detail, with a short description in place of protobuf's long one."""
    made["properties"]["@type"]["description"] = "The type, such as type.googleapis.com/google.rpc.ErrorInfo."
    return made | {"description": "A detail of an error: its type and the fields of that type."}


def _flowing(made: Any) -> Any:
    """Return a part of the document with the line breaks inside the paragraphs of its texts removed."""
    if isinstance(made, dict):
        return {name: _flowing(value) for name, value in made.items()}
    if isinstance(made, list):
        return [_flowing(value) for value in made]
    return re.sub(r"(?<!\n)\n(?![\n -])", " ", made) if isinstance(made, str) else made


def _used(paths: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting: list[Any] = [paths]
    while waiting:
        names = set(re.findall(rf'"{_REFERENCE}([^"]+)"', json.dumps(waiting.pop()))) - found
        found |= names
        waiting += [definitions[name] for name in sorted(names)]
    return found


def main(made: Path) -> str:
    """Return the document as YAML."""
    methods = served_methods(FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()))
    made_document = document(json.loads(made.read_text(encoding="utf-8")), methods)
    return _HEAD + yaml.safe_dump(made_document, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), end="")
