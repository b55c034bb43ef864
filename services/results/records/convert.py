"""Wire ↔ domain of the Results service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import (
    lab_pb2,
    link_pb2,
    result_pb2,
    timeliness_pb2,
    upload_pb2,
    upload_service_pb2,
)
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong.results.v1.results_service_pb2 import LinkDocumentsRequest
from hutong.type.v1 import identity_pb2

from services.domain.document import BadDocument, Document, canonical_document
from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import Instant, from_timestamp, set_timestamp, to_duration, to_timestamp
from services.domain.names import format_lab, format_node, format_result, format_upload, parse_lab, parse_result
from services.domain.region import is_region
from services.domain.subject import Pepper, mask_number, mask_resident_numbers
from services.results.records.model import (
    Acknowledgement,
    Correction,
    DocumentLink,
    Lab,
    LinkedDocument,
    Recall,
    Rejection,
    StandingChange,
    StoredResult,
    Tube,
    TubePerson,
    Upload,
)
from services.results.store import Listing
from services.results.timeliness.delays import Quantiles, Timeliness
from services.results.upload.validation import WHOLE_TUBE, TubeFaults
from services.runtime.consistency import Freshness, encode_token

if TYPE_CHECKING:
    from services.results.records.model import Standing


def document_from_proto(document: identity_pb2.IdentityDocument, field: str = "document") -> Document:
    """The canonical document; InvalidArgument BAD_DOCUMENT_NUMBER when its number cannot be right."""
    try:
        return canonical_document(document.type, document.number, document.issuing_country)
    except BadDocument as error:
        raise InvalidArgument.field(f"{field}.{error.field}", error.expected, "BAD_DOCUMENT_NUMBER") from None


def known_region(region: str, field: str) -> str:
    """The region when it is one of GB/T 2260; InvalidArgument REGION_UNKNOWN when it is not."""
    if not is_region(region):
        raise InvalidArgument.field(field, "is not a region of GB/T 2260", "REGION_UNKNOWN")
    return region


def interval(start: Timestamp, end: Timestamp, end_field: str) -> tuple[Instant, Instant]:
    """Two instants in order; InvalidArgument when they are not."""
    first, last = from_timestamp(start), from_timestamp(end)
    if last <= first:
        raise InvalidArgument.field(end_field, "must be after the start")
    return first, last


def token(node: str, now: Instant) -> str:
    """The consistency token of what was committed at this node before now.

    To be made after the commit: by an earlier instant a reader elsewhere would believe to have seen what was still on
    its way into the store.
    """
    return encode_token(Freshness("results", node, now))


def tube_from_proto(tube: upload_pb2.Tube) -> Tube:
    """A tube as it was sent, whatever may be wrong with it."""
    has = tube.HasField
    return Tube(
        tube.tube_code,
        tube.pool_size,
        tube.specimen,
        tube.method,
        tube.outcome,
        tube.sample_region,
        tube.sample_site,
        from_timestamp(tube.sample_time) if has("sample_time") else None,
        from_timestamp(tube.receive_time) if has("receive_time") else None,
        from_timestamp(tube.test_time) if has("test_time") else None,
        from_timestamp(tube.report_time) if has("report_time") else None,
        tuple(map(_person_from_proto, tube.persons)),
    )


def _person_from_proto(person: upload_pb2.TubePerson) -> TubePerson:
    document = person.document
    return TubePerson(document.type, document.number, document.issuing_country, document.name, person.report_number)


def faults_from_violations(violations: Sequence[Violation]) -> TubeFaults:
    """Broken rules of a batch by tube and person: from "tubes[3].persons[0].document.number" to item (3, 0)."""
    faults: dict[int, list[tuple[int, Violation]]] = {}
    for violation in violations:
        head, _, path = violation.field.partition(".")
        tube = int(head[len("tubes[") : -1])
        person = WHOLE_TUBE
        if path.startswith("persons["):
            person = int(path[len("persons[") : path.index("]")])
        faults.setdefault(tube, []).append((person, Violation(path, violation.reason, violation.description)))
    return faults


def acknowledgement_to_proto(
    acknowledgement: Acknowledgement, consistency_token: str
) -> upload_service_pb2.UploadResultsResponse:
    """The answer to a batch."""
    return upload_service_pb2.UploadResultsResponse(
        committed_offset=acknowledgement.committed_offset,
        accepted_count=acknowledgement.accepted_count,
        duplicate_count=acknowledgement.duplicate_count,
        rejected_count=acknowledgement.rejected_count,
        rejections=[_rejection_to_proto(rejection) for rejection in acknowledgement.rejections],
        consistency_token=consistency_token,
    )


def _rejection_to_proto(rejection: Rejection) -> upload_pb2.Rejection:
    return upload_pb2.Rejection(
        tube_index=rejection.tube_index,
        person_index=rejection.person_index,
        retryable=rejection.retryable,
        violations=[
            upload_pb2.FieldViolation(field=fault.field, reason=fault.reason, description=fault.description)
            for fault in rejection.violations
        ],
    )


def upload_to_proto(upload: Upload) -> upload_pb2.Upload:
    """How far an upload has come."""
    return upload_pb2.Upload(
        name=format_upload(upload.lab, upload.upload_id),
        committed_offset=upload.committed_offset,
        accepted_count=upload.accepted_count,
        duplicate_count=upload.duplicate_count,
        rejected_count=upload.rejected_count,
        create_time=to_timestamp(upload.create_time),
        update_time=to_timestamp(upload.update_time),
    )


def lab_from_proto(lab: lab_pb2.Lab, now: Instant) -> Lab:
    """A laboratory to register now; InvalidArgument for a wrong check character or an unknown region."""
    uscc = parse_lab(lab.name, "lab.name")
    known_region(lab.region, "lab.region")
    authorize_time = from_timestamp(lab.authorize_time) if lab.HasField("authorize_time") else None
    return Lab(uscc, lab.display_name, lab.region, lab.contact, authorize_time, now, ())


def lab_to_proto(lab: Lab, now: Instant, *, with_history: bool = True) -> lab_pb2.Lab:
    """A laboratory with its standing now."""
    return lab_pb2.Lab(
        name=format_lab(lab.uscc),
        display_name=lab.display_name,
        region=lab.region,
        contact=lab.contact,
        authorize_time=_timestamp(lab.authorize_time),
        standing=lab.standing_at(now),
        standing_changes=[_change_to_proto(change) for change in lab.changes] if with_history else (),
        create_time=to_timestamp(lab.create_time),
    )


def _change_to_proto(change: StandingChange) -> lab_pb2.LabStandingChange:
    return lab_pb2.LabStandingChange(
        standing=change.standing,
        effective_time=_timestamp(change.effective_time),
        record_time=to_timestamp(change.record_time),
        reason=change.reason,
    )


def result_to_proto(result: StoredResult, lab_standing: Standing) -> result_pb2.TestResult:
    """A stored result as it is told, masks for the person."""
    message = result_pb2.TestResult()
    fill_result(message, result, lab_standing)
    return message


def fill_tube_columns(message: result_pb2.TestResult, columns: StoredResult) -> None:
    """What the persons of a tube have in common, into an empty message."""
    message.tube_code = columns.tube_code
    message.pool_size = columns.pool_size
    message.specimen = columns.specimen
    message.method = columns.method
    message.outcome = columns.outcome
    message.sample_region = columns.sample_region
    message.sample_site = columns.sample_site
    set_timestamp(message.sample_time, columns.sample_time)
    if columns.receive_time is not None:
        set_timestamp(message.receive_time, columns.receive_time)
    if columns.test_time is not None:
        set_timestamp(message.test_time, columns.test_time)
    if columns.report_time is not None:
        set_timestamp(message.report_time, columns.report_time)


def fill_result(message: result_pb2.TestResult, result: StoredResult, lab_standing: Standing) -> None:
    """As `result_to_proto`, into an empty message in its place: every look-up passes here, and copies cost most."""
    message.name = format_result(result.lab, result.report_number)
    message.revision = result.revision
    message.state = result.state
    message.masked_name = result.masked_name
    message.masked_number = result.masked_number
    message.lab = format_lab(result.lab)
    message.report_number = result.report_number
    fill_tube_columns(message, result)
    set_timestamp(message.upload_time, result.upload_time)
    if result.nationwide_time is not None:
        set_timestamp(message.nationwide_time, result.nationwide_time)
    message.origin = format_node(result.origin)
    message.lab_standing = lab_standing


def _timestamp(instant: Instant | None) -> Timestamp | None:
    return None if instant is None else to_timestamp(instant)


def listing_to_proto(listing: Listing) -> list[result_pb2.TestResult]:
    """Results as they are told, each with its laboratory's standing at its time."""
    return [result_to_proto(result, listing.standing_at(result.lab, result.file_time)) for result in listing.results]


def linked_from_proto(document: identity_pb2.IdentityDocument, pepper: Pepper, field: str) -> LinkedDocument:
    """One side of a link."""
    canonical = document_from_proto(document, field)
    return LinkedDocument(pepper.subject_key(canonical), canonical.type, mask_number(canonical.number))


def link_from_proto(request: LinkDocumentsRequest, pepper: Pepper, link_id: str, now: Instant) -> DocumentLink:
    """A link to make now; InvalidArgument for a document tied to itself."""
    document = linked_from_proto(request.document, pepper, "document")
    linked = linked_from_proto(request.linked_document, pepper, "linked_document")
    if document.subject_key == linked.subject_key:
        raise InvalidArgument.field("linked_document", "is the same document")
    return DocumentLink(link_id, document, linked, mask_resident_numbers(request.reason), now)


def link_to_proto(link: DocumentLink) -> link_pb2.DocumentLink:
    """A link with masks for the documents."""
    return link_pb2.DocumentLink(
        name=f"links/{link.link_id}",
        type=cast("identity_pb2.DocumentType.ValueType", link.document.type),
        masked_number=link.document.masked_number,
        linked_type=cast("identity_pb2.DocumentType.ValueType", link.linked_document.type),
        linked_masked_number=link.linked_document.masked_number,
        reason=link.reason,
        create_time=to_timestamp(link.create_time),
        remove_time=_timestamp(link.remove_time),
        remove_reason=link.remove_reason,
    )


def correction_from_proto(request: CorrectResultRequest) -> Correction:
    """What is to be put right; a correction always concerns the newest revision."""
    lab, report_number, revision = parse_result(request.name)
    if revision is not None:
        raise InvalidArgument.field("name", "names a revision; a correction concerns the newest", "MALFORMED_NAME")
    return Correction(
        lab,
        report_number,
        request.outcome,
        from_timestamp(request.sample_time) if request.HasField("sample_time") else None,
        from_timestamp(request.new_report_time) if request.HasField("new_report_time") else None,
        mask_resident_numbers(request.reason),
    )


def recall_from_proto(request: RecallResultsRequest) -> Recall:
    """Which reports are to be taken back."""
    lab = parse_lab(request.lab, "lab")
    start, end = interval(request.report_start_time, request.report_end_time, "report_end_time")
    return Recall(lab, start, end, tuple(request.outcomes), mask_resident_numbers(request.reason))


def timeliness_to_proto(found: Mapping[str, Timeliness], lab: str, region: str) -> list[timeliness_pb2.Timeliness]:
    """The asked subject first, for a region its laboratories after it."""
    if lab:
        return [_timeliness_to_proto(format_lab(lab), found[lab])]
    return [_timeliness_to_proto(format_lab(name) if name else region, one) for name, one in sorted(found.items())]


def _timeliness_to_proto(subject: str, timeliness: Timeliness) -> timeliness_pb2.Timeliness:
    told = timeliness_pb2.Timeliness(
        subject=subject,
        result_count=timeliness.result_count,
        late_count=timeliness.late_count,
        last_upload_time=_timestamp(timeliness.last_upload_time),
    )
    if timeliness.to_upload is not None:
        told.report_to_upload.CopyFrom(_quantiles_to_proto(timeliness.to_upload))
    if timeliness.to_nation is not None:
        told.upload_to_nationwide.CopyFrom(_quantiles_to_proto(timeliness.to_nation))
    return told


def _quantiles_to_proto(quantiles: Quantiles) -> timeliness_pb2.DelayQuantiles:
    p50, p95, p99 = map(to_duration, quantiles)
    return timeliness_pb2.DelayQuantiles(p50=p50, p95=p95, p99=p99)
