"""Generate the typed client stubs and the descriptor set from the .proto files.

It runs in its own environment, which `make` builds from `protos/requirements.lock`, because the generator is old on
purpose. Its output loads on current runtimes and on those of two years ago, so no user of the stubs has to upgrade.

    python protos/generate.py --python-out clients/python --descriptor-out clients/hutong.binpb
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import protovalidate
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTO_ROOT = Path(__file__).resolve().parent
VALIDATE_PROTO = "buf/validate/validate.proto"
DETAIL_PROTOS = ("google/rpc/code.proto", "google/rpc/error_details.proto")
"""The types inside the Any details of a status. No file imports them, and tools would show the details as bytes."""


def validate_descriptor() -> FileDescriptorProto:
    """Return the descriptor of protovalidate's rules. The installed package has it, so the tree needs no copy."""
    return FileDescriptorProto.FromString(protovalidate.ViolationPb.desc().file.proto.to_binary())


def run_protoc(arguments: list[str]) -> None:
    """Call protoc with the well-known and googleapis types on its path; exit if it fails."""
    wellknown = str(files("grpc_tools") / "_proto")
    googleapis = str(distribution("googleapis-common-protos").locate_file(""))
    if protoc.main(["protoc", f"-I{wellknown}", f"-I{googleapis}", f"-I{PROTO_ROOT}", *arguments]) != 0:
        sys.exit("protoc failed: see above")


def generate(python_out: Path, descriptor_out: Path) -> None:
    """Write `*_pb2.py`, `*_pb2.pyi`, `*_pb2_grpc.py`, `*_pb2_grpc.pyi` and one self-contained descriptor set."""
    sources = sorted(str(path.relative_to(PROTO_ROOT)) for path in PROTO_ROOT.rglob("*.proto"))
    services = [name for name in sources if name.endswith("_service.proto")]
    with tempfile.TemporaryDirectory() as scratch:
        # The tree's protos are given as sources, validate.proto only as a descriptor. protoc takes one kind of input
        # in a run, so the stubs of validate.proto need a separate run.
        base = Path(scratch) / "base.binpb"
        run_protoc(
            [
                f"--descriptor_set_out={base}",
                "--include_imports",
                "google/protobuf/descriptor.proto",
                "google/protobuf/duration.proto",
                "google/protobuf/field_mask.proto",
                "google/protobuf/timestamp.proto",
            ]
        )
        rules = FileDescriptorSet.FromString(base.read_bytes())
        rules.file.append(validate_descriptor())
        rules_path = Path(scratch) / "rules.binpb"
        rules_path.write_bytes(rules.SerializeToString())
        known = f"--descriptor_set_in={rules_path}"
        python_out.mkdir(parents=True, exist_ok=True)
        run_protoc([known, f"--python_out={python_out}", f"--pyi_out={python_out}", VALIDATE_PROTO])
        run_protoc([known, f"--python_out={python_out}", f"--mypy_out=quiet:{python_out}", *sources])
        run_protoc([known, f"--grpc_python_out={python_out}", f"--mypy_grpc_out=quiet:{python_out}", *services])
        descriptor_out.parent.mkdir(parents=True, exist_ok=True)
        described = [*sources, *DETAIL_PROTOS]
        run_protoc(
            [known, f"--descriptor_set_out={descriptor_out}", "--include_imports", "--include_source_info", *described]
        )


def main() -> None:
    """Read the options and generate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python-out", type=Path, required=True)
    parser.add_argument("--descriptor-out", type=Path, required=True)
    options = parser.parse_args()
    generate(options.python_out, options.descriptor_out)


if __name__ == "__main__":
    main()
