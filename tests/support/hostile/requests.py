"""Makes requests at random from descriptors, and changes them by field and by byte."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from google.api import field_behavior_pb2, resource_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from services.storage.pepper_marks import pepper_mark
from tests.support.hostile.examples import read_examples
from tests.support.results.factories import LAB_NAME, PEPPER, make_document

DEPTH = 6
"""How deep messages are filled."""
_DAY = 86_400
_UUID = "0190a5e2-7c00-7000-8000-000000000001"
_LABS = (LAB_NAME, "labs/91220502MA000LAB8G")
_NAMES = {
    "Lab": _LABS,
    "Result": [f"{lab}/results/{number}" for lab in _LABS for number in ("R1", "R-EXAMPLE-1", "R-EXAMPLE-4")],
    "Upload": [f"{LAB_NAME}/uploads/u"],
    "Policy": ("jurisdictions/410000/policies/p", "jurisdictions/410100/policies/hotel-example"),
    "Node": ("nodes/410000", "nodes/220000"),
    "Decision": [f"decisions/{_UUID}"],
    "Refusal": [f"refusals/{_UUID}"],
    "PendingChange": [f"pendingChanges/{_UUID}"],
    "EmergencyGrant": [f"emergencyGrants/{_UUID}"],
    "Item": ("items/sars-cov-2-antigen", "items/sars-cov-2-nucleic-acid"),
}
_KINDS = list(_NAMES)
KINDS = {"decisions": "Decision", "refusals": "Refusal", "pendingChanges": "PendingChange"} | {
    "emergencyGrants": "EmergencyGrant"
}
"""The kinds of objects to which servers give names, by the beginning of the name."""
_TEXTS = (
    "",
    "410105",
    "000000",
    "张三",
    "a reason",
    "R1",
    "labs/1",
    "jurisdictions/410000",
    "\0",
    "\u202e",
    "x" * 3_000,
)
_WHOLE = (0, 1, -1, 2, 7, 20, 500, 2**31 - 1, -(2**31))
_LONG = (*_WHOLE, 2**63 - 1, -(2**63))
_WHOLE_TYPES = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}
_LONG_TYPES = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
_MANY = 600
"""Items of a list beyond most limits."""
_MADE_OF_MANY = 30
"""How many of the items of such a list are made. The others are copies of these, so that the caller has time."""
_DEEP = (b"\x0b" * 50_000, b"\x0a\x7f" * 10_000, b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x07", b"\x00")
"""Endings that no encoder writes: groups in groups, lengths beyond the end, and fields without a number."""


class RequestMaker:
    """Makes requests. Equal seeds make equal requests.

    `names` has names that servers have given to objects, by the kind of object.
    """

    def __init__(self, rng: random.Random, names: Mapping[str, Sequence[str]]) -> None:
        self._rng = rng
        self._names = names
        # A message that cannot be decoded ends its stream, so a third of the streams have none.
        self._spoiled = rng.choice((0.0, 0.1, 0.8))

    def make(self, method: MethodDescriptor) -> bytes:
        """Return an encoded request: one of the examples with a few changes, or a random one; sometimes spoiled."""
        examples = read_examples().get(method.full_name)
        if examples and self._rng.random() < 0.5:
            return self._encode(self._changed(self._rng.choice(examples)[0]))
        return self._encode(self._message(method.input_type))

    def make_stream(self, method: MethodDescriptor, length: int) -> Iterator[bytes]:
        """Return the encoded messages of a stream, nearly always in an order that the contract lets be.

        The first message of most streams is a start, and the others have offsets. A stream whose order is random would
        end at its first message.
        """
        descriptor = method.input_type
        examples = read_examples().get(method.full_name)
        if examples and self._rng.random() < 0.5:
            example = self._rng.choice(examples)
            for number in range(length):
                yield self._encode(self._changed(example[min(number, len(example) - 1)]))
            return
        choices = [field.name for field in descriptor.fields if field.containing_oneof is not None]
        has_start = "start" in choices
        others = [name for name in choices if name != "start"] or [""]
        offset = 0
        for number in range(length):
            is_start = has_start and (number == 0) == (self._rng.random() < 0.97)
            message: Any = self._message(descriptor, "start" if is_start else self._rng.choice(others))
            if "batch" in others and message.HasField("batch") and self._rng.random() < 0.9:
                message.batch.offset = offset
                if "next_offset" in message.batch.DESCRIPTOR.fields_by_name:
                    offset = message.batch.next_offset = offset + 1
                else:
                    offset += len(message.batch.tubes)
            yield self._encode(message)

    def _changed(self, example: Message) -> Message:
        """Return a copy with up to three fields made anew or removed, and with a new request id."""
        rng = self._rng
        message = type(example)()
        message.CopyFrom(example)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            self._change(message)
        for name in ("request_id", "correlation_id"):
            if name in message.DESCRIPTOR.fields_by_name and rng.random() < 0.8:
                setattr(message, name, str(uuid.UUID(int=rng.getrandbits(128), version=4)))
        if getattr(message, "name", "") == "$name":
            message.name = self.text(_text_kind(message.DESCRIPTOR.fields_by_name["name"]))  # type: ignore[attr-defined]
        return message

    def _change(self, message: Any) -> None:
        """Make one field anew or remove it, here or in a message within."""
        rng = self._rng
        fields = _facts(message.DESCRIPTOR).fields
        if not fields:
            return
        field = rng.choice(fields)
        if field.make is None and rng.random() < 0.7:
            inner = list(getattr(message, field.name)) if field.is_repeated else [getattr(message, field.name)]
            if inner and not field.is_map:
                self._change(rng.choice(inner))
            return
        message.ClearField(field.name)
        if rng.random() < 0.8:
            self._fill_field(message, field, DEPTH - 2)

    def _message(self, descriptor: Descriptor, only: str = "") -> Message:
        message = message_factory.GetMessageClass(descriptor)()
        self._fill(message, DEPTH, only)
        return message

    def _encode(self, message: Message) -> bytes:
        data = message.SerializeToString()
        return self._spoil(data) if self._rng.random() < self._spoiled else data

    def _fill(self, message: Message, depth: int, only: str = "") -> None:
        """Fill a message. If it has one field of several, `only` may name it."""
        rng, taken = self._rng, set()
        facts = _facts(message.DESCRIPTOR)
        if facts.is_document and rng.random() < 0.7:
            message.CopyFrom(make_document(rng.randrange(50)))
            return
        for field in facts.fields:
            left_out = field.left_out
            if field.group:
                if only:
                    left_out = 0.0 if field.name == only else 1.0
                if field.group in taken:
                    continue
            if rng.random() < left_out:
                continue
            if field.group:
                taken.add(field.group)
            self._fill_field(message, field, depth)

    def _fill_field(self, message: Message, field: _Field, depth: int) -> None:
        if field.is_map:
            return
        if field.is_repeated:
            self._fill_repeated(getattr(message, field.name), field, depth)
        elif field.make is None:
            child = getattr(message, field.name)
            child.SetInParent()
            self._fill_child(child, depth)
        else:
            setattr(message, field.name, field.make(self))

    def _fill_repeated(self, values: Any, field: _Field, depth: int) -> None:
        count = self._rng.choice((0, 1, 1, 2, 3)) if self._rng.random() < 0.99 else _MANY
        if field.make is None and depth <= DEPTH - 3:
            count = min(count, 3)
        made = min(count, _MADE_OF_MANY)
        if field.make is not None:
            values.extend([field.make(self) for _ in range(made)])
        else:
            for _ in range(made):
                self._fill_child(values.add(), depth)
        if count > made:
            values.extend(self._rng.choices(list(values), k=count - made))

    def _fill_child(self, child: Any, depth: int) -> None:
        rng, kind = self._rng, _facts(child.DESCRIPTOR).full_name
        if kind == "google.protobuf.Timestamp":
            near = int(time.time()) - rng.randrange(-_DAY, 20 * _DAY)
            child.seconds = near if rng.random() < 0.9 else rng.choice(_LONG)
            child.nanos = 0 if rng.random() < 0.9 else rng.choice(_WHOLE)
        elif kind == "google.protobuf.Duration":
            child.seconds = rng.choice((60, 3_600, _DAY)) if rng.random() < 0.9 else rng.choice(_LONG)
            child.nanos = 0 if rng.random() < 0.9 else rng.choice(_WHOLE)
        elif depth:
            self._fill(child, depth - 1)

    def one_of(self, often: Sequence[Any], seldom: Sequence[Any], share: float) -> Any:
        """Return one of the values, with that share from the first ones."""
        return self._rng.choice(often if self._rng.random() < share else seldom)

    def mark(self) -> bytes:
        """Return the mark of the servers' pepper, or other bytes."""
        return pepper_mark(PEPPER) if self._rng.random() < 0.9 else self.some_bytes()

    def text(self, kind: str) -> str:
        """Return a text of a field.

        `kind` is a kind of object, "*" for the name of any object, "region", "id", "page_token", or "" for other texts.
        """
        rng = self._rng
        if rng.random() < 0.03:
            return rng.choice(_TEXTS)
        match kind:
            case "region":
                return rng.choice(("410105", "410000", "000000", "220502"))
            case "id":
                return str(uuid.UUID(int=rng.getrandbits(128), version=4))
            case "page_token":
                return ""
            case "*":
                return self._name(rng.choice(_KINDS))
            case "":
                return rng.choice(_TEXTS[1:6])
        return self._name(kind)

    def _name(self, kind: str) -> str:
        known = self._names.get(kind)
        return self._rng.choice(known if known and self._rng.random() < 0.8 else _NAMES[kind])

    def some_bytes(self) -> bytes:
        """Return random bytes, most often of the length of a key or of a hash."""
        return self._rng.randbytes(self._rng.choice((0, 1, 8, 100, *[16] * 8, *[32] * 4)))

    def _spoil(self, data: bytes) -> bytes:
        """Change encoded bytes: flip, cut, repeat, insert, or append what no encoder writes."""
        rng, spoiled = self._rng, bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(spoiled) + 1)
            match rng.randrange(6):
                case 0 if at < len(spoiled):
                    spoiled[at] ^= 1 << rng.randrange(8)
                case 1:
                    del spoiled[at : at + rng.randrange(1, 20)]
                case 2:
                    spoiled[at:at] = spoiled[at : at + rng.randrange(1, 200)]
                case 3:
                    spoiled[at:at] = rng.randbytes(rng.randrange(1, 20))
                case 4:
                    spoiled += rng.choice(_DEEP)
                case _ if rng.random() < 0.002:
                    # An unknown field of some megabytes, beyond the limits of the services or of gRPC.
                    size = rng.choice((5, 17)) << 20
                    spoiled += b"\xfa\x7f" + _varint(size) + bytes(size)
        return bytes(spoiled)


def make_metadata(rng: random.Random) -> list[tuple[str, str | bytes]]:
    """Return metadata as a careless or hostile caller might send it."""
    found: list[tuple[str, str | bytes]] = []
    for key, values in (
        ("hutong-case", ("case-1", "", " ", "x" * 65, "a b ")),
        ("x-request-id", ("id-1", "x" * 1_000, "{}", "\\")),
        ("traceparent", ("00-" + "1" * 32 + "-" + "2" * 16 + "-01", "00-zz", "")),
        ("authorization", ("Bearer x", "Bearer a.b.c", "Basic eA==", "")),
        ("hutong-on-behalf-of", ("gates/410100/7", "local", "nobody")),
        ("grpc-accept-encoding", ("br", "identity,identity")),
        ("x-bytes-bin", (b"\0\xff", rng.randbytes(200))),
    ):
        if rng.random() < 0.15:
            found.append((key, rng.choice(values)))
    if rng.random() < 0.01:
        found += [(f"x-{number}", "y" * 500) for number in range(rng.choice((10, 100)))]
    return found


class _Field(NamedTuple):
    """What is needed of a field to fill it. Descriptors are slow to ask.

    `left_out` is the share of messages without it, and `make` makes a value unless the field is a message.
    """

    name: str
    group: str
    left_out: float
    is_repeated: bool
    is_map: bool
    make: Callable[[RequestMaker], Any] | None


class _Facts(NamedTuple):
    full_name: str
    is_document: bool
    fields: Sequence[_Field]


@cache
def _facts(descriptor: Descriptor) -> _Facts:
    name = descriptor.full_name
    return _Facts(name, name == "hutong.type.v1.IdentityDocument", [_field(field) for field in descriptor.fields])


def _field(field: FieldDescriptor) -> _Field:
    message, group = field.message_type, field.containing_oneof
    return _Field(
        name=field.name,
        group="" if group is None else group.name,
        left_out=0.03 if field_behavior_pb2.REQUIRED in _behaviour(field) else 0.4,
        is_repeated=field.is_repeated,
        is_map=message is not None and message.GetOptions().map_entry,
        make=None if message is not None else _value_maker(field),
    )


def _value_maker(field: FieldDescriptor) -> Callable[[RequestMaker], Any]:
    """Return what makes a value of a field that is no message."""
    kind = field.cpp_type
    if field.type == FieldDescriptor.TYPE_STRING:
        text_kind = _text_kind(field)
        return lambda maker: maker.text(text_kind)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return RequestMaker.mark if field.name == "pepper_mark" else RequestMaker.some_bytes
    often: Sequence[Any] = (0.0, 1.0, -1.0, float("nan"), float("inf"), 1e300)
    seldom, share = often, 1.0
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        often, seldom, share = [value.number for value in field.enum_type.values][1:], _WHOLE, 0.97
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        often = seldom = (False, True)
    elif kind in _WHOLE_TYPES | _LONG_TYPES:
        is_signed = kind in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
        limits = _WHOLE if kind in _WHOLE_TYPES else _LONG
        often, seldom, share = (1, 2, 3), limits if is_signed else [abs(value) for value in limits], 0.9
    return lambda maker: maker.one_of(often, seldom, share)


def _text_kind(field: FieldDescriptor) -> str:
    """Return what texts a field has, as `RequestMaker.text` takes it."""
    kind = field.GetOptions().Extensions[resource_pb2.resource_reference].type.removeprefix("hutong.org/")
    if kind in _NAMES:
        return str(kind)
    if field.name.endswith("region"):
        return "region"
    if field.name in {"request_id", "log_id", "correlation_id"}:
        return "id"
    return {"name": "*", "page_token": "page_token"}.get(field.name, "")


def _behaviour(field: FieldDescriptor) -> Sequence[int]:
    return field.GetOptions().Extensions[field_behavior_pb2.field_behavior]  # type: ignore[no-any-return]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
