"""Tests that the generated stubs are complete, importable and typed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "clients/python"
MODULES = sorted(
    ".".join(path.relative_to(CLIENT).with_suffix("").parts) for path in (CLIENT / "hutong").rglob("*_pb2*.py")
)
PROTO_ROOT = CLIENT.parents[1] / "protos"
PROTOS = sorted((PROTO_ROOT / "hutong").rglob("*.proto"))


@pytest.mark.parametrize("module", MODULES)
def test_stub_is_importable_and_typed(module: str) -> None:
    """Every stub imports and has a type stub beside it."""
    importlib.import_module(module)
    assert (CLIENT / (module.replace(".", "/") + ".pyi")).exists()


def test_every_proto_has_its_stubs() -> None:
    """Every proto has a module, and a proto with services has a gRPC module too."""
    for proto in PROTOS:
        stem = CLIENT / proto.relative_to(PROTO_ROOT).with_suffix("")
        assert stem.with_name(stem.name + "_pb2.py").exists(), proto.name
        if "\nservice " in proto.read_text(encoding="utf-8"):
            assert stem.with_name(stem.name + "_pb2_grpc.py").exists(), proto.name


def test_packages_are_marked_as_typed() -> None:
    """Both packages have py.typed. Type checkers ignore the types of a package without it."""
    assert (CLIENT / "hutong/py.typed").exists()
    assert (CLIENT / "hutong_client/py.typed").exists()


SNIPPET = """\
import grpc
from hutong.type.v1 import purpose_pb2
from hutong.verification.v1 import verification_service_pb2 as messages
from hutong_client import connect

with connect() as node:
    decision = node.verification.Verify(messages.VerifyRequest(purpose=purpose_pb2.PURPOSE_HOTEL)).decision
    reveal_type(decision.outcome)
    messages.VerifyRequest(region=5)


async def main(channel: grpc.aio.Channel) -> None:
    from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

    reveal_type((await VerificationServiceStub(channel).Verify(messages.VerifyRequest())).decision.reason)
"""


def test_type_checker_sees_messages_and_calls(tmp_path: Path) -> None:
    """A type checker knows the answers of the sync and the asyncio stub, and finds a field of a wrong type."""
    (tmp_path / "snippet.py").write_text(SNIPPET)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(CLIENT.parents[1] / ".mypy_cache"), "snippet.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DecisionOutcome" in done.stdout, done.stdout + done.stderr
    assert "DecisionReason" in done.stdout
    assert done.stdout.count("error:") == 1
    assert 'Argument "region"' in done.stdout
