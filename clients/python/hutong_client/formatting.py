"""Format the contract's values as text: instants, durations, enum values and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1.lookup_pb2 import DataSource
from hutong_texts import current_language, tr
from hutong_texts.catalogue import translate_word

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
"""Civil time in all of China. A fixed offset is exact, because there has been no daylight saving since 1991."""


class Enum(Protocol):
    """An enum of the contract."""

    def Name(self, number: Any) -> str:
        """Return the name of a value; raise ValueError if the value is unknown."""

    def items(self) -> Sequence[tuple[str, Any]]:
        """Return all names with their values."""


def as_dict(message: Message) -> dict[str, Any]:
    """Convert a message by the proto JSON mapping, with the contract's snake_case field names."""
    return MessageToDict(message, preserving_proto_field_name=True)


def moment(stamp: Timestamp) -> str:
    """Format an instant in civil time of China, "2022-08-11 09:30:00"; an unset instant gives an empty text."""
    if not stamp.seconds:
        return ""
    return datetime.fromtimestamp(stamp.seconds, SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def span(duration: Duration) -> str:
    """Format a duration: "48 h", "1 h 30 min" or "45 s"."""
    seconds = duration.seconds
    if seconds < 60:
        return tr("{seconds} s", seconds=seconds)
    hours, minutes = divmod(round(seconds / 60), 60)
    if not minutes:
        return tr("{hours} h", hours=hours)
    if not hours:
        return tr("{minutes} min", minutes=minutes)
    return tr("{hours} h {minutes} min", hours=hours, minutes=minutes)


def enum_name(enum: Enum, number: int) -> str:
    """Return the contract's name of an enum value. If this version does not know the value, return its number."""
    try:
        return enum.Name(number)
    except ValueError:
        return str(number)


def mask(text: str, first: int = 1, last: int = 0) -> str:
    """Mask all but the first and last characters of a text, as the services do: "张**" for a name.

    A short text keeps at most its first character. A text of one character is masked as a whole.
    """
    bare = text.strip()
    if len(bare) <= 2 * (first + last):
        first, last = 1 if len(bare) > 1 else 0, 0
    return bare[:first] + "*" * (len(bare) - first - last) + bare[len(bare) - last :]


def word(enum: Enum, number: int, prefix: str) -> str:
    """Format an enum value as words, "not recognized" or 不认可; an unknown value is its number."""
    name = enum_name(enum, number)
    return translate_word(name, current_language()) or name.removeprefix(prefix).replace("_", " ").lower()


def label(enum: Enum, number: int, prefix: str) -> str:
    """Format an enum value as its name in the contract, "NOT_RECOGNIZED", or in Chinese.

    An unknown value is its number.
    """
    name = enum_name(enum, number)
    return translate_word(name, current_language()) or name.removeprefix(prefix)


def item_name(item: str) -> str:
    """Format a test item as its id alone. The empty name stands for "sars-cov-2-nucleic-acid"."""
    return item.removeprefix("items/") or "sars-cov-2-nucleic-acid"


def source_name(source: DataSource) -> str:
    """Return the name of a source: its node, then its service if the service is known, as in "nodes/410000/policy"."""
    if source.results_service:
        return f"{source.results_service}/results"
    if source.policy_service:
        return f"{source.policy_service}/policy"
    return source.node
