"""Reasons: what the source says is what the contract documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hutong.error.v1.error_reason_pb2 import ErrorReason

import services
from services.domain import errors

SOURCES = sorted(Path(services.__file__).parent.rglob("*.py"))
DOCUMENTED = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name}
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
_REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def reasons_in(tree: ast.AST) -> Iterator[str]:
    """Every constant in the place of a reason: of errors, violations, ErrorInfo, and shorthands that take one."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = ast.unparse(call.func).rsplit(".", 1)[-1]
        places: list[ast.expr] = [word.value for word in call.keywords if word.arg == "reason"]
        if called in ERRORS - {"Violation"} and call.args:
            places.append(call.args[0])
        elif called == "Violation" and len(call.args) > 1:
            places.append(call.args[1])
        elif called == "field" and len(call.args) > 2:
            places.append(call.args[2])
        for place in places:
            for node in ast.walk(place):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _REASON.fullmatch(node.value):
                    yield node.value


def test_every_reason_in_the_services_is_documented() -> None:
    """A reason that a client can meet stands in hutong.error.v1.ErrorReason, with an example."""
    found = {(source.name, reason) for source in SOURCES for reason in reasons_in(ast.parse(source.read_text("utf-8")))}
    assert len({reason for _, reason in found}) > 10
    assert [(source, reason) for source, reason in sorted(found) if reason not in DOCUMENTED] == []


def test_the_search_finds_reasons_wherever_they_stand() -> None:
    """Reasons are found in errors, in violations by place and by keyword, in shorthands, and in alternatives."""
    text = """
raise errors.NotFound("ONE", "text")
InvalidArgument.field("path", "text", "TWO")
Violation("path", "THREE", "text"), Violation(field="path", reason="FOUR", description="text")
Unavailable("FIVE" if far else "SIX", "text")
"""
    assert set(reasons_in(ast.parse(text))) == {"ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX"}
