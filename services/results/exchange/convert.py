"""Wire ↔ domain of the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import exchange_pb2, follow_up_pb2, lab_pb2, result_pb2
from hutong.type.v1 import identity_pb2

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, from_timestamp, set_timestamp, to_timestamp
from services.domain.names import format_lab, format_node, parse_lab, parse_node
from services.domain.subject import KEY_LENGTH
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.exchange.model import Change, Node, Replica, ReplicaTubes, SharedColumns, WriterPosition
from services.results.labs.convert import lab_to_proto
from services.results.labs.model import Lab, StandingChange
from services.results.missing_reports.model import MissingReport
from services.results.records.convert import fill_tube_columns
from services.results.records.model import PENDING, StoredResult

if TYPE_CHECKING:
    from services.results.labs.model import Standing

LINK_LENGTH = len("links/") + 36
_LAB = "labs/"
_NODE = "nodes/"


def fill_change(message: exchange_pb2.ReplicatedChange, change: Change, now: Instant) -> None:
    """A change into an empty message."""
    if isinstance(change, Replica):
        fill_replica(message.result, change)
    elif isinstance(change, DocumentLink):
        fill_link(message.link, change)
    elif isinstance(change, Lab):
        message.lab.CopyFrom(lab_to_proto(change, now))
        # Whom to call is the business of its own province.
        message.lab.ClearField("contact")
    else:
        _fill_reminder(message.follow_up.follow_up, change)


def fill_replica(
    message: exchange_pb2.ReplicatedResult, replica: Replica, lab_standing: Standing = lab_pb2.LAB_STANDING_UNSPECIFIED
) -> None:
    """A result into an empty message."""
    result = replica.result
    message.subject_key = result.subject_key
    message.key_version = replica.key_version
    message.content_hash = replica.content_hash
    message.sampling_hash = replica.sampling_hash
    told = message.test_result
    told.revision = result.revision
    told.state = result.state
    told.lab = format_lab(result.lab)
    told.report_number = result.report_number
    fill_tube_columns(told, result)
    set_timestamp(told.upload_time, result.upload_time)
    if result.nationwide_time is not None:
        set_timestamp(told.nationwide_time, result.nationwide_time)
    told.origin = format_node(result.origin)
    told.lab_standing = lab_standing


def fill_tubes(message: exchange_pb2.ReplicatedTubes, tubes: ReplicaTubes) -> None:
    """Tubes into an empty message: nearly every replicated person passes here."""
    message.lab = format_lab(tubes.lab)
    message.key_version = tubes.key_version
    set_timestamp(message.upload_time, tubes.upload_time)
    columns = dict(zip(SharedColumns._fields, zip(*tubes.tubes, strict=True), strict=True))
    for name in _ALIKE:
        getattr(message, name).extend(columns[name])
    for name in _TIMES:
        getattr(message, f"{name}_micros").extend([time or 0 for time in columns[name]])
    message.person_count.extend(tubes.sizes)
    message.subject_keys = b"".join(tubes.subject_keys)
    message.report_number.extend(tubes.report_numbers)
    message.content_hashes = b"".join(tubes.content_hashes)


def tubes_from_proto(message: exchange_pb2.ReplicatedTubes, sender: str) -> ReplicaTubes:
    """Replicated tubes of a node; InvalidArgument for what no node can have sent."""
    lab = message.lab.removeprefix(_LAB)
    if len(lab) != 18 or message.key_version < 1 or not message.HasField("upload_time"):
        raise InvalidArgument.field("tubes", "has no laboratory, upload time or version of its keys")
    columns = {name: list(getattr(message, name)) for name in _ALIKE}
    columns |= {name: list(getattr(message, f"{name}_micros")) for name in _TIMES}
    sizes = list(message.person_count)
    persons = sum(sizes)
    if {len(column) for column in columns.values()} != {len(sizes)} or min(sizes, default=0) < 1:
        raise InvalidArgument.field("tubes", "has columns of different lengths, or a tube without persons")
    if [not time for time in columns["report_time"]] != [outcome == PENDING for outcome in columns["outcome"]]:
        raise InvalidArgument.field("tubes", "has not the times of its outcomes")
    if min(columns["sample_time"]) < 1:
        raise InvalidArgument.field("tubes", "has a tube without a sampling time")
    report_numbers = list(message.report_number)
    subject_keys, content_hashes = _keys(message.subject_keys), _keys(message.content_hashes)
    lengths = {len(report_numbers), len(subject_keys), len(content_hashes)}
    # The last one of a column may be cut short.
    if lengths != {persons} or {len(subject_keys[-1]), len(content_hashes[-1])} != {KEY_LENGTH}:
        raise InvalidArgument.field("tubes", "has not one subject key, report number and content hash for each person")
    if not all(report_numbers):
        raise InvalidArgument.field("tubes", "has a person without a report number")
    for name in _TIMES[1:]:
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
    )


_ALIKE = ("tube_code", "pool_size", "specimen", "method", "outcome", "sample_region", "sample_site")
"""A tube's columns that cross as they are."""
_TIMES = ("sample_time", "receive_time", "test_time", "report_time")


def _keys(joined: bytes) -> list[bytes]:
    return [joined[start : start + KEY_LENGTH] for start in range(0, len(joined), KEY_LENGTH)]


def replica_from_proto(message: exchange_pb2.ReplicatedResult) -> Replica:
    """A replicated result; InvalidArgument for one that no node can have sent."""
    told = message.test_result
    lab, origin = told.lab.removeprefix(_LAB), told.origin.removeprefix(_NODE)
    report_time = from_timestamp(told.report_time) if told.HasField("report_time") else None
    if len(message.subject_key) != KEY_LENGTH or message.key_version < 1:
        raise InvalidArgument.field("subject_key", f"has not {KEY_LENGTH} bytes, or no version")
    if len(lab) != 18 or len(origin) != 6 or not told.report_number or told.revision < 1 or not told.state:
        raise InvalidArgument.field("test_result", "has no laboratory, report number, revision, state or origin")
    if (report_time is None) != (told.outcome == PENDING) or not told.HasField("sample_time"):
        raise InvalidArgument.field("test_result", "has not the times of its outcome")
    sample_time = from_timestamp(told.sample_time)
    return Replica(
        StoredResult(
            message.subject_key,
            sample_time if report_time is None else report_time,
            lab,
            told.report_number,
            told.revision,
            told.state,
            "",
            "",
            told.tube_code,
            told.pool_size,
            told.specimen,
            told.method,
            told.outcome,
            told.sample_region,
            told.sample_site,
            sample_time,
            _instant(told, "receive_time"),
            _instant(told, "test_time"),
            report_time,
            from_timestamp(told.upload_time),
            _instant(told, "nationwide_time"),
            origin,
        ),
        message.key_version,
        message.content_hash,
        message.sampling_hash,
    )


def change_from_proto(message: exchange_pb2.ReplicatedChange) -> Change:
    """A change; InvalidArgument for one that no node can have sent."""
    kind = message.WhichOneof("change")
    if kind == "result":
        return replica_from_proto(message.result)
    if kind == "link":
        return link_from_proto(message.link)
    if kind == "lab":
        return _lab_from_proto(message.lab)
    if kind is None:
        raise InvalidArgument.field("change", "is of no known kind")
    return _reminder_from_proto(message.follow_up.follow_up)


def _instant(message: result_pb2.TestResult | exchange_pb2.ReplicatedLink | lab_pb2.Lab, field: str) -> Instant | None:
    return from_timestamp(getattr(message, field)) if message.HasField(field) else None  # type: ignore[arg-type]


def fill_link(message: exchange_pb2.ReplicatedLink, link: DocumentLink) -> None:
    """A link into an empty message."""
    message.name = f"links/{link.link_id}"
    message.subject_key = link.document.subject_key
    message.type = cast("identity_pb2.DocumentType.ValueType", link.document.type)
    message.linked_subject_key = link.linked_document.subject_key
    message.linked_type = cast("identity_pb2.DocumentType.ValueType", link.linked_document.type)
    set_timestamp(message.create_time, link.create_time)
    if link.remove_time is not None:
        set_timestamp(message.remove_time, link.remove_time)


def link_from_proto(message: exchange_pb2.ReplicatedLink) -> DocumentLink:
    """A link without masks and reasons."""
    if {len(message.subject_key), len(message.linked_subject_key)} != {KEY_LENGTH} or len(message.name) != LINK_LENGTH:
        raise InvalidArgument.field("link", "has no name or no two subject keys")
    return DocumentLink(
        message.name.removeprefix("links/"),
        LinkedDocument(message.subject_key, message.type, ""),
        LinkedDocument(message.linked_subject_key, message.linked_type, ""),
        "",
        from_timestamp(message.create_time),
        _instant(message, "remove_time"),
    )


def _lab_from_proto(message: lab_pb2.Lab) -> Lab:
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
                from_timestamp(change.effective_time) if change.HasField("effective_time") else None,
                change.reason,
                from_timestamp(change.record_time),
            )
            for change in message.standing_changes
        ),
    )


def _fill_reminder(message: follow_up_pb2.FollowUp, reminder: MissingReport) -> None:
    message.action = follow_up_pb2.FOLLOW_UP_ACTION_UPLOAD_REPORT
    message.lab = format_lab(reminder.lab)
    message.report_number = reminder.report_number
    message.raised_by = format_node(reminder.raised_by)
    set_timestamp(message.create_time, reminder.create_time)


def _reminder_from_proto(message: follow_up_pb2.FollowUp) -> MissingReport:
    return MissingReport(
        parse_lab(message.lab, "follow_up.lab"),
        message.report_number,
        from_timestamp(message.create_time),
        parse_node(message.raised_by, "follow_up.raised_by"),
    )


def position_to_proto(position: WriterPosition) -> exchange_pb2.WriterPosition:
    """How far a writer's commits are known."""
    time: Timestamp | None = None if position.commit_time is None else to_timestamp(position.commit_time)
    return exchange_pb2.WriterPosition(writer=position.writer, offset=position.offset, commit_time=time)


def position_from_proto(message: exchange_pb2.WriterPosition) -> WriterPosition:
    """How far a writer's commits are known."""
    time = from_timestamp(message.commit_time) if message.HasField("commit_time") else None
    return WriterPosition(message.writer, message.offset, time)


def node_to_proto(node: Node) -> exchange_pb2.Node:
    """A node as the nation knows it."""
    message = exchange_pb2.Node(
        name=format_node(node.region),
        contact_time=to_timestamp(node.contact_time),
        backlog=node.backlog,
        conflict_count=node.conflict_count,
    )
    if node.as_of_time is not None:
        set_timestamp(message.as_of_time, node.as_of_time)
    message.clock_skew.FromMicroseconds(node.clock_skew)
    return message
