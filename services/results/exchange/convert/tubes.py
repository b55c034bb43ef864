"""Conversion of replicated tubes, the form in which nearly all results are sent."""

from __future__ import annotations

from itertools import repeat

from hutong.exchange.v1 import replica_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import read_instant
from services.domain.instant import set_timestamp
from services.domain.names import format_item, format_lab, format_node, parse_item, parse_node
from services.domain.subject import KEY_LENGTH, NAME_HASH_LENGTH
from services.results.exchange.model import ReplicaTubes, SharedColumns
from services.results.records.model import PENDING

_LAB = "labs/"
_PLAIN_COLUMNS = ("tube_code", "pool_size", "specimen", "method", "outcome", "sample_region", "sample_site")
"""Columns of a tube that are sent unchanged."""
_TIME_COLUMNS = ("sample_time", "receive_time", "test_time", "report_time")
"""Columns of a tube that are sent in microseconds, with 0 for a missing time."""
_NO_NAME = bytes(NAME_HASH_LENGTH)
"""The entry of a person without a hash of the name in a column of such hashes."""
_NO_KEY = bytes(KEY_LENGTH)
"""The entry of a person without a key under the other key version."""


def fill_tubes(message: replica_pb2.ReplicatedTubes, tubes: ReplicaTubes) -> None:
    """Fill an empty message with tubes. Nearly all replicated results are sent in this form."""
    message.lab = format_lab(tubes.lab)
    if tubes.source_node:
        message.source_node = format_node(tubes.source_node)
    message.key_version = tubes.key_version
    set_timestamp(message.upload_time, tubes.upload_time)
    columns = dict(zip(SharedColumns._fields, zip(*tubes.tubes, strict=True), strict=True))
    for name in _PLAIN_COLUMNS:
        getattr(message, name).extend(columns[name])
    for name in _TIME_COLUMNS:
        getattr(message, f"{name}_micros").extend([time or 0 for time in columns[name]])
    if any(columns["item"]):
        message.item.extend(map(format_item, columns["item"]))
    message.person_count.extend(tubes.sizes)
    message.subject_keys = b"".join(tubes.subject_keys)
    message.report_number.extend(tubes.report_numbers)
    message.content_hashes = b"".join(tubes.content_hashes)
    names = [name if len(name) == NAME_HASH_LENGTH else _NO_NAME for name in tubes.name_hashes]
    if any(name is not _NO_NAME for name in names):
        message.name_hashes = b"".join(names)
    if any(tubes.other_keys):
        message.other_subject_keys = b"".join(key or _NO_KEY for key in tubes.other_keys)


def tubes_from_proto(message: replica_pb2.ReplicatedTubes, sender: str) -> ReplicaTubes:
    """Return the tubes that a node sent. If the message names no source node, the source node is the sender.

    Raises:
        InvalidArgument: no node can have sent them, because columns have different lengths, or a time, key or number is
            missing.
    """
    lab = message.lab.removeprefix(_LAB)
    if len(lab) != 18 or message.key_version < 1 or not message.HasField("upload_time"):
        raise InvalidArgument.field("tubes", english("has no laboratory, upload time or version of its keys"))
    columns = {name: list(getattr(message, name)) for name in _PLAIN_COLUMNS}
    columns |= {name: list(getattr(message, f"{name}_micros")) for name in _TIME_COLUMNS}
    columns["item"] = [parse_item(item, "tubes.item") for item in message.item or repeat("", len(message.person_count))]
    sizes = list(message.person_count)
    persons = sum(sizes)
    if {len(column) for column in columns.values()} != {len(sizes)} or min(sizes, default=0) < 1:
        raise InvalidArgument.field("tubes", english("has columns of different lengths, or a tube without persons"))
    if [not time for time in columns["report_time"]] != [outcome == PENDING for outcome in columns["outcome"]]:
        raise InvalidArgument.field("tubes", english("has not the times of its outcomes"))
    if min(columns["sample_time"]) < 1:
        raise InvalidArgument.field("tubes", english("has a tube without a sampling time"))
    report_numbers = list(message.report_number)
    subject_keys = _split(message.subject_keys, KEY_LENGTH)
    content_hashes = _split(message.content_hashes, KEY_LENGTH)
    lengths = {len(report_numbers), len(subject_keys), len(content_hashes)}
    # The last key of a column may be cut short.
    if lengths != {persons} or {len(subject_keys[-1]), len(content_hashes[-1])} != {KEY_LENGTH}:
        raise InvalidArgument.field(
            "tubes", english("has not one subject key, report number and content hash for each person")
        )
    name_hashes = _optional(message.name_hashes, persons, _NO_NAME, english("hash of the name"))
    other_keys = (
        _optional(message.other_subject_keys, persons, _NO_KEY, english("other key"))
        if message.other_subject_keys
        else ()
    )
    if not all(report_numbers):
        raise InvalidArgument.field("tubes", english("has a person without a report number"))
    for name in _TIME_COLUMNS[1:]:
        columns[name] = [time or None for time in columns[name]]
    return ReplicaTubes(
        lab,
        message.key_version,
        read_instant(message.upload_time, "tubes.upload_time"),
        parse_node(message.source_node, "tubes.source_node") if message.source_node else sender,
        list(map(SharedColumns._make, zip(*(columns[name] for name in SharedColumns._fields), strict=True))),
        sizes,
        subject_keys,
        report_numbers,
        content_hashes,
        name_hashes,
        other_keys,
    )


def _split(joined: bytes, length: int) -> list[bytes]:
    """Divide a column of concatenated values. The last value may be cut short."""
    return [joined[start : start + length] for start in range(0, len(joined), length)]


def _optional(joined: bytes, persons: int, none: bytes, what: str) -> list[bytes]:
    """Return a column in which the entry `none` stands for a person without a value.

    If the column is empty, no person has a value.
    """
    if not joined:
        return [b""] * persons
    if len(joined) != persons * len(none):
        raise InvalidArgument.field("tubes", english("has not one {what} for each person", what=what))
    return [b"" if one == none else one for one in _split(joined, len(none))]
