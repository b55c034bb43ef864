"""Each protocol inverts an import or has two implementations (docs/adr/0035-few-protocols.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = (ROOT / "services", ROOT / "clients/python/hutong_client")
INVERTING = {
    "AuditTrail": "services/audit/trail.py",
    "MissingReportRouter": "services/results/exchange/downstream/missing_report_routing.py",
    "NationwideRecords": "services/results/exchange/upstream/nation_client.py",
    "NodeFreshness": "services/results/exchange/downstream/freshness.py",
    "TubeColumns": "services/results/upload/model.py",
}
"""Protocols that invert an import, with a file that implements them in a higher layer."""
OF_LIBRARIES = {
    "Enum": "generated enums have no type of their own",
    "Receiver": "a future is a receiver",
    "WatchMessage": "generated messages of several watches",
    "WatchRequest": "generated requests of several watches",
    "_Page": "generated responses of all lists",
    "_PageRequest": "generated requests of all lists",
}
"""Protocols with implementations in generated code or in the standard library."""

CLASSES = [
    (path, node)
    for tree in TREES
    for path in sorted(tree.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.ClassDef)
]


def is_protocol(found: ast.ClassDef) -> bool:
    return any(ast.unparse(base).partition("[")[0] == "Protocol" for base in found.bases)


def members(found: ast.ClassDef) -> set[str]:
    """Return the names of the methods and fields that a class states."""
    methods = {each.name for each in found.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    assigned = {
        ast.unparse(node).removeprefix("self.")
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return methods | assigned


PROTOCOLS = {found.name: found for _, found in CLASSES if is_protocol(found)}


def implementations(name: str) -> list[tuple[Path, str]]:
    """Return the classes with all members of a protocol."""
    wanted = members(PROTOCOLS[name])
    return [(path, each.name) for path, each in CLASSES if not is_protocol(each) and wanted <= members(each)]


def test_exactly_five_protocols_invert_an_import() -> None:
    assert INVERTING.keys() | OF_LIBRARIES.keys() <= PROTOCOLS.keys()
    assert len(INVERTING) == 5


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_protocol_inverts_an_import_or_has_two_implementations(name: str) -> None:
    found = implementations(name)
    if name in INVERTING:
        assert ROOT / INVERTING[name] in {path for path, _ in found}
    elif name not in OF_LIBRARIES:
        assert len(found) >= 2, f"{name} has no second implementation: {found}; see docs/adr/0035-few-protocols.md"
