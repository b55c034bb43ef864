"""Write the error reasons of the contract as exceptions of the Python client and as constants of the Go client.

    python protos/error_reasons.py clients/hutong.binpb reasons.py reasons.go

`make protos` runs this after generating the stubs.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

FILE = "hutong/error/v1/error_reason.proto"
PREFIX = "ERROR_REASON_"
KINDS = frozenset({"NOT_FOUND", "ALREADY_EXISTS", "INTERNAL", "NOT_SERVED"})
"""Reasons whose names the Python client already has for the exceptions of a gRPC code."""
WIDTH = 116
_PYTHON = '''"""An exception for each error reason of the contract. Made by protos/error_reasons.py.

A call that fails raises an exception that is of its reason's class and of its gRPC code's class, as CursorTooOld and
OutOfRange. The reasons NOT_FOUND, ALREADY_EXISTS, INTERNAL and NOT_SERVED have the class of their code alone.
"""

from __future__ import annotations

from hutong_client.errors.kinds import HutongError
'''
_GO = """// Made by protos/error_reasons.py.

package hutong

// Reasons of failed calls, as errors.Is(err, hutong.ReasonCursorTooOld) asks for them. A newer service may have others.
const (
"""


def reasons(files: FileDescriptorSet) -> dict[str, str]:
    """Return the first sentence of each reason's comment."""
    (file,) = (file for file in files.file if file.name == FILE)
    comments = {tuple(it.path): it.leading_comments for it in file.source_code_info.location}
    return {
        value.name.removeprefix(PREFIX): _first_sentence(comments.get((5, 0, 2, number), ""))
        for number, value in enumerate(file.enum_type[0].value)
        if value.number
    }


def _first_sentence(comment: str) -> str:
    text = " ".join(comment.split())
    return re.split(r"(?<=\.) ", text)[0]


def camel(reason: str) -> str:
    """Return a reason's name as a class is named: CursorTooOld."""
    return "".join(word.capitalize() for word in reason.split("_"))


def python(found: dict[str, str]) -> str:
    """Return the module of the Python client."""
    parts = [_PYTHON]
    for reason, text in found.items():
        if reason in KINDS:
            continue
        if len(text) <= WIDTH - 6:
            docstring = f'    """{text}"""\n'
        else:
            lines = textwrap.wrap(text, WIDTH)
            docstring = f'    """{reason}.\n\n' + "".join(f"    {line}\n" for line in lines) + '    """\n'
        parts.append(f"\n\nclass {camel(reason)}(HutongError):\n{docstring}")
    names = "".join(f'    "{reason}": {camel(reason)},\n' for reason in found if reason not in KINDS)
    parts.append(f"\n\nBY_REASON: dict[str, type[HutongError]] = {{\n{names}}}\n")
    parts.append('"""The exception of each reason."""\n')
    return "".join(parts)


def go(found: dict[str, str]) -> str:
    """Return the file of the Go client."""
    parts = [_GO]
    for reason, text in found.items():
        lines = textwrap.wrap(f"Reason{camel(reason)}: {text[0].lower()}{text[1:]}", WIDTH)
        parts += [f"\t// {line}\n" for line in lines]
        parts.append(f'\tReason{camel(reason)} Reason = "{reason}"\n')
    return "".join(parts) + ")\n"


def main(descriptors: str, *outputs: str) -> None:
    """Write the reasons of a descriptor set to each of the files, by its suffix."""
    found = reasons(FileDescriptorSet.FromString(Path(descriptors).read_bytes()))
    for output in outputs:
        Path(output).write_text(go(found) if output.endswith(".go") else python(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
