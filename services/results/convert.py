"""Wire ↔ domain of the Results service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import lab_pb2, result_pb2, upload_pb2, upload_service_pb2
from hutong.type.v1 import identity_pb2

from services.domain.document import BadDocument, Document, canonical_document
from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import Instant, from_timestamp, to_timestamp
from services.domain.names import format_lab, format_node, format_result, format_upload, parse_lab
from services.domain.region import is_region
from services.results.model import (
    Acknowledgement,
    Lab,
    Rejection,
    StandingChange,
    StoredResult,
    Tube,
    TubePerson,
    Upload,
)
from services.results.upload import WHOLE_TUBE, TubeFaults
from services.runtime.freshness import Freshness, encode_token

if TYPE_CHECKING:
    from services.results.model import Standing


def document_from_proto(document: identity_pb2.IdentityDocument, field: str = "document") -> Document:
    """The canonical document; InvalidArgument BAD_DOCUMENT_NUMBER when its number cannot be right."""
    try:
        return canonical_document(document.type, document.number, document.issuing_country)
    except BadDocument as error:
        raise InvalidArgument.field(f"{field}.{error.field}", error.expected, "BAD_DOCUMENT_NUMBER") from None


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
        tuple(_person_from_proto(person) for person in tube.persons),
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
    acknowledgement: Acknowledgement, node: str, *, durable: bool
) -> upload_service_pb2.UploadResultsResponse:
    """The answer to a batch."""
    token = encode_token(Freshness("results", node, acknowledgement.commit_time)) if durable else ""
    return upload_service_pb2.UploadResultsResponse(
        committed_offset=acknowledgement.committed_offset,
        accepted_count=acknowledgement.accepted_count,
        duplicate_count=acknowledgement.duplicate_count,
        rejected_count=acknowledgement.rejected_count,
        rejections=[_rejection_to_proto(rejection) for rejection in acknowledgement.rejections],
        consistency_token=token,
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
    if not is_region(lab.region):
        raise InvalidArgument.field("lab.region", "is not a region of GB/T 2260", "REGION_UNKNOWN")
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
    return result_pb2.TestResult(
        name=format_result(result.lab, result.report_number),
        revision=result.revision,
        state=result.state,
        masked_name=result.masked_name,
        masked_number=result.masked_number,
        lab=format_lab(result.lab),
        report_number=result.report_number,
        tube_code=result.tube_code,
        pool_size=result.pool_size,
        specimen=result.specimen,
        method=result.method,
        outcome=result.outcome,
        sample_region=result.sample_region,
        sample_site=result.sample_site,
        sample_time=to_timestamp(result.sample_time),
        receive_time=_timestamp(result.receive_time),
        test_time=_timestamp(result.test_time),
        report_time=_timestamp(result.report_time),
        upload_time=to_timestamp(result.upload_time),
        nationwide_time=_timestamp(result.nationwide_time),
        origin=format_node(result.origin),
        lab_standing=lab_standing,
    )


def _timestamp(instant: Instant | None) -> Timestamp | None:
    return None if instant is None else to_timestamp(instant)
