"""The valid requests of the grpcurl scripts. Changed a little, they reach deeper than requests made from nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from tests.support.access.methods import METHODS, ROOT

_CALL = re.compile(
    r"(hutong[.\w]+/\w+) <<'JSON'\n(.*?)\nJSON|-d '(\{.*?\})'(?=\s)|-d \"(\{.*?\})\" |(hutong[.\w]+/\w+)", re.S
)
"""A method with its stream of messages; the message of a unary call, in either quotes; or a method by itself."""


@cache
def read_examples() -> Mapping[str, Sequence[Sequence[Message]]]:
    """Return the requests of each RPC, by its full name. Each request is one message, or the messages of a stream.

    RPCs come in the order in which their scripts run, so that later ones find what earlier ones have stored.
    """
    methods = {method.full_name: method for method in METHODS}
    found: dict[str, list[list[Message]]] = {}
    for path in sorted((ROOT / "clients/examples/grpcurl").glob("*.sh")):
        for name, values in _calls(path.read_text("utf-8")):
            method = methods[name.replace("/", ".")]
            kind = message_factory.GetMessageClass(method.input_type)
            found.setdefault(method.full_name, []).append([json_format.ParseDict(value, kind()) for value in values])
    return found


def _calls(script: str) -> Iterator[tuple[str, list[Any]]]:
    """Return the calls of a script: the method, and its messages as JSON."""
    given: list[Any] = []
    for streamed, stream, single, double, alone in _CALL.findall(script):
        if streamed:
            yield streamed, list(_values(stream))
        elif alone:
            yield alone, given
            given = []
        else:
            # A shell variable stays as a name that does not exist.
            given = list(_values(single or double.replace('\\"', '"')))


def _values(text: str) -> Iterator[Any]:
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        yield value
        position += len(text[position:]) - len(text[position:].lstrip())
