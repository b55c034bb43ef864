"""Conversion between the messages of the exchange and the domain."""

from __future__ import annotations

from itertools import repeat
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.exchange.v1 import node_pb2, replica_pb2
from hutong.type.v1 import identity_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, from_timestamp, set_timestamp, to_timestamp
from services.domain.names import format_item, format_lab, format_node, parse_item, parse_lab, parse_node
from services.domain.subject import KEY_LENGTH, NAME_HASH_LENGTH
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.exchange.model import (
    AdverseSubject,
    Change,
    Replica,
    ReplicaTubes,
    SharedColumns,
    WriterPosition,
)
from services.results.labs.convert import key_to_proto, stated_keys
from services.results.labs.model import Lab, StandingChange
from services.results.missing_reports.model import MissingReport
from services.results.records.convert import fill_stored_columns
from services.results.records.model import PENDING, StoredResult

LINK_LENGTH = len("links/") + 36
_LAB = "labs/"
_NODE = "nodes/"


def fill_change(message: replica_pb2.ReplicatedChange, change: Change) -> None:
    """Fill an empty message with a change."""
    if isinstance(change, Replica):
        fill_replica(message.result, change)
    elif isinstance(change, DocumentLink):
        fill_link(message.link, change)
    elif isinstance(change, Lab):
        _fill_lab(message.lab, change)
    elif isinstance(change, AdverseSubject):
        message.adverse_subject.subject_key = change.subject_key
    else:
        _fill_missing_report(message.missing_report, change)


def fill_replica(message: replica_pb2.ReplicatedResult, replica: Replica) -> None:
    """Fill an empty message with a result."""
    result = replica.result
    message.subject_key = result.subject_key
    message.key_version = replica.key_version
    message.content_hash = replica.content_hash
    message.sampling_hash = replica.sampling_hash
    message.other_subject_key = replica.other_key
    if len(result.name_hash) == NAME_HASH_LENGTH:
        message.name_hash = result.name_hash
    fill_stored_columns(message, result)


def fill_tubes(message: replica_pb2.ReplicatedTubes, tubes: ReplicaTubes) -> None:
    """Fill an empty message with tubes. Nearly all replicated results are sent in this form."""
    message.lab = format_lab(tubes.lab)
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
    """Return the tubes that a node sent.

    Raises:
        InvalidArgument: no node can have sent them: columns of different lengths, a missing time, key or number.
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
        from_timestamp(message.upload_time),
        sender,
        list(map(SharedColumns._make, zip(*(columns[name] for name in SharedColumns._fields), strict=True))),
        sizes,
        subject_keys,
        report_numbers,
        content_hashes,
        name_hashes,
        other_keys,
    )


_PLAIN_COLUMNS = ("tube_code", "pool_size", "specimen", "method", "outcome", "sample_region", "sample_site")
"""Columns of a tube that are sent unchanged."""
_TIME_COLUMNS = ("sample_time", "receive_time", "test_time", "report_time")
"""Columns of a tube that are sent in microseconds, with 0 for a missing time."""


def _split(joined: bytes, length: int) -> list[bytes]:
    """Divide a column of concatenated values. The last value may be cut short."""
    return [joined[start : start + length] for start in range(0, len(joined), length)]


_NO_NAME = bytes(NAME_HASH_LENGTH)
"""The entry of a person without a hash of the name in a column of such hashes."""


_NO_KEY = bytes(KEY_LENGTH)
"""The entry of a person without a key under the other key version."""


def _optional(joined: bytes, persons: int, none: bytes, what: str) -> list[bytes]:
    """Return a column in which `none` stands for a person without a value. If it is empty, no person has one."""
    if not joined:
        return [b""] * persons
    if len(joined) != persons * len(none):
        raise InvalidArgument.field("tubes", english("has not one {what} for each person", what=what))
    return [b"" if one == none else one for one in _split(joined, len(none))]


def replica_from_proto(message: replica_pb2.ReplicatedResult) -> Replica:
    """Return a replicated result. Raise InvalidArgument for a result that no node can have sent."""
    lab, source_node = message.lab.removeprefix(_LAB), message.source_node.removeprefix(_NODE)
    report_time = from_timestamp(message.report_time) if message.HasField("report_time") else None
    if len(message.subject_key) != KEY_LENGTH or message.key_version < 1:
        raise InvalidArgument.field(
            "subject_key", english("has not {key_length} bytes, or no version", key_length=KEY_LENGTH)
        )
    if (
        len(lab) != 18
        or len(source_node) != 6
        or not message.report_number
        or message.revision < 1
        or not message.state
    ):
        raise InvalidArgument.field(
            "result", english("has no laboratory, report number, revision, state or source_node")
        )
    if (report_time is None) != (message.outcome == PENDING) or not message.HasField("sample_time"):
        raise InvalidArgument.field("result", english("has not the times of its outcome"))
    if len(message.other_subject_key) not in (0, KEY_LENGTH):
        raise InvalidArgument.field(
            "result.other_subject_key", english("has not {key_length} bytes", key_length=KEY_LENGTH)
        )
    if len(message.name_hash) not in (0, NAME_HASH_LENGTH):
        raise InvalidArgument.field(
            "result.name_hash", english("has not {name_hash_length} bytes", name_hash_length=NAME_HASH_LENGTH)
        )
    sample_time = from_timestamp(message.sample_time)
    return Replica(
        StoredResult(
            message.subject_key,
            sample_time if report_time is None else report_time,
            lab,
            message.report_number,
            message.revision,
            message.state,
            "",
            "",
            message.tube_code,
            message.pool_size,
            message.specimen,
            message.method,
            message.outcome,
            message.sample_region,
            message.sample_site,
            sample_time,
            _instant(message, "receive_time"),
            _instant(message, "test_time"),
            report_time,
            parse_item(message.item, "result.item"),
            from_timestamp(message.upload_time),
            _instant(message, "national_receive_time"),
            source_node,
            message.name_hash,
        ),
        message.key_version,
        message.content_hash,
        message.sampling_hash,
        message.other_subject_key,
    )


def change_from_proto(message: replica_pb2.ReplicatedChange) -> Change:
    """Return a replicated change. Raise InvalidArgument for a change that no node can have sent."""
    kind = message.WhichOneof("change")
    if kind == "result":
        return replica_from_proto(message.result)
    if kind == "link":
        return link_from_proto(message.link)
    if kind == "lab":
        return _lab_from_proto(message.lab)
    if kind == "adverse_subject":
        if len(message.adverse_subject.subject_key) != KEY_LENGTH:
            raise InvalidArgument.field(
                "adverse_subject.subject_key", english("has not {key_length} bytes", key_length=KEY_LENGTH)
            )
        return AdverseSubject(message.adverse_subject.subject_key)
    if kind is None:
        raise InvalidArgument.field("change", english("is of no known kind"))
    return _missing_report_from_proto(message.missing_report)


def _instant(
    message: replica_pb2.ReplicatedResult
    | replica_pb2.ReplicatedLink
    | replica_pb2.ReplicatedLab
    | replica_pb2.ReplicatedLabStanding
    | replica_pb2.ReplicatedMissingReport,
    field: str,
) -> Instant | None:
    return from_timestamp(getattr(message, field)) if message.HasField(field) else None  # type: ignore[arg-type]


def fill_link(message: replica_pb2.ReplicatedLink, link: DocumentLink) -> None:
    """Fill an empty message with a link, without masks and reasons."""
    message.name = f"links/{link.link_id}"
    message.subject_key = link.document.subject_key
    message.type = cast("identity_pb2.DocumentType.ValueType", link.document.type)
    message.linked_subject_key = link.linked_document.subject_key
    message.linked_type = cast("identity_pb2.DocumentType.ValueType", link.linked_document.type)
    set_timestamp(message.create_time, link.create_time)
    if link.unlink_time is not None:
        set_timestamp(message.unlink_time, link.unlink_time)
    if link.source_node:
        message.source_node = format_node(link.source_node)
    if link.unlink_node:
        message.unlink_node = format_node(link.unlink_node)
    message.key_version = link.key_version
    message.other_subject_key = link.document.other_key or b""
    message.linked_other_subject_key = link.linked_document.other_key or b""


def link_from_proto(message: replica_pb2.ReplicatedLink) -> DocumentLink:
    """Return a link, without masks and reasons. Raise InvalidArgument for a link that no node can have sent."""
    if {len(message.subject_key), len(message.linked_subject_key)} != {KEY_LENGTH} or len(message.name) != LINK_LENGTH:
        raise InvalidArgument.field("link", english("has no name or no two subject keys"))
    others = message.other_subject_key, message.linked_other_subject_key
    if not {0, KEY_LENGTH}.issuperset(map(len, others)) or message.key_version < 0:
        raise InvalidArgument.field("link", english("has a malformed key under the other version, or no version"))
    return DocumentLink(
        message.name.removeprefix("links/"),
        LinkedDocument(message.subject_key, message.type, "", others[0] or None),
        LinkedDocument(message.linked_subject_key, message.linked_type, "", others[1] or None),
        "",
        from_timestamp(message.create_time),
        _instant(message, "unlink_time"),
        source_node=parse_node(message.source_node, "link.source_node") if message.source_node else "",
        unlink_node=parse_node(message.unlink_node, "link.unlink_node") if message.unlink_node else None,
        key_version=message.key_version or 1,
    )


def _fill_lab(message: replica_pb2.ReplicatedLab, lab: Lab) -> None:
    """Fill an empty message with a laboratory, without its contact, which only its own province needs."""
    message.name = format_lab(lab.uscc)
    message.display_name = lab.display_name
    message.region = lab.region
    if lab.authorize_time is not None:
        set_timestamp(message.authorize_time, lab.authorize_time)
    set_timestamp(message.create_time, lab.create_time)
    for change in lab.changes:
        standing = message.standings.add(standing=change.standing, reason=change.reason)
        if change.effective_time is not None:
            set_timestamp(standing.effective_time, change.effective_time)
        set_timestamp(standing.record_time, change.record_time)
    if lab.home:
        message.home_node = format_node(lab.home)
    message.signing_keys.extend(map(key_to_proto, lab.signing_keys))


def _lab_from_proto(message: replica_pb2.ReplicatedLab) -> Lab:
    return Lab(
        parse_lab(message.name, "lab.name"),
        message.display_name,
        message.region,
        "",
        _instant(message, "authorize_time"),
        from_timestamp(message.create_time),
        tuple(
            StandingChange(
                change.standing,
                _instant(change, "effective_time"),
                change.reason,
                from_timestamp(change.record_time),
            )
            for change in message.standings
        ),
        parse_node(message.home_node, "lab.home_node") if message.home_node else "",
        stated_keys(message.signing_keys),
    )


def _fill_missing_report(message: replica_pb2.ReplicatedMissingReport, report: MissingReport) -> None:
    message.lab = format_lab(report.lab)
    message.report_number = report.report_number
    message.raising_node = format_node(report.raising_node)
    set_timestamp(message.create_time, report.create_time)
    if report.close_time is not None:
        set_timestamp(message.close_time, report.close_time)


def _missing_report_from_proto(message: replica_pb2.ReplicatedMissingReport) -> MissingReport:
    return MissingReport(
        parse_lab(message.lab, "missing_report.lab"),
        message.report_number,
        from_timestamp(message.create_time),
        parse_node(message.raising_node, "missing_report.raising_node"),
        _instant(message, "close_time"),
    )


def position_to_proto(position: WriterPosition) -> node_pb2.WriterPosition:
    """Return the message for a writer's position."""
    time: Timestamp | None = None if position.commit_time is None else to_timestamp(position.commit_time)
    return node_pb2.WriterPosition(writer=position.writer, offset=position.offset, commit_time=time)


def position_from_proto(message: node_pb2.WriterPosition) -> WriterPosition:
    """Return a writer's position from its message."""
    time = from_timestamp(message.commit_time) if message.HasField("commit_time") else None
    return WriterPosition(message.writer, message.offset, time)
