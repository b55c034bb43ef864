"""Converts uploads between messages and domain objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hutong.results.v1 import upload_pb2, upload_service_pb2
from hutong.type.v1 import identity_pb2
from hutong_texts import ENGLISH, translate

from services.domain.errors import InvalidArgument, Violation
from services.domain.instant import from_timestamp, to_timestamp
from services.domain.names import DEFAULT_ITEM, format_upload, parse_item
from services.results.upload.model import Acknowledgement, Rejection, Tube, TubePersons, Upload
from services.results.upload.validation import WHOLE_TUBE, TubeFaults
from services.runtime.server.column_rules import ColumnRules
from services.runtime.server.status import asked_language

_BATCH_RULES = ColumnRules(upload_pb2.TubeBatch.DESCRIPTOR, {"tubes"})
_TUBE_RULES = ColumnRules(upload_pb2.Tube.DESCRIPTOR)
# A document with a type is present, and `_DOCUMENT_RULES` requires a type.
_PERSON_RULES = ColumnRules(upload_pb2.TubePerson.DESCRIPTOR, {"document"})
_DOCUMENT_RULES = ColumnRules(identity_pb2.IdentityDocument.DESCRIPTOR)


def tube_from_proto(tube: upload_pb2.Tube) -> Tube:
    """Return a tube as it was sent, with all its faults, but without its persons."""
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
        len(tube.persons),
        _parse_item(tube.item),
    )


def _parse_item(name: str) -> str:
    """Return the id of a tube's item.

    If the name is malformed, return the default item's id, because the contract's rules reject the tube.
    """
    try:
        return parse_item(name)
    except InvalidArgument:
        return DEFAULT_ITEM


def persons_from_proto(tubes: Iterable[upload_pb2.Tube]) -> TubePersons:
    """Return the persons of all tubes of a batch."""
    persons = TubePersons([], [], [], [], [])
    types, numbers, countries, names, report_numbers = persons
    for tube in tubes:
        for person in tube.persons:
            document = person.document
            types.append(document.type)
            numbers.append(document.number)
            countries.append(document.issuing_country)
            names.append(document.name)
            report_numbers.append(person.report_number)
    return persons


def keeps_every_rule(batch: upload_pb2.TubeBatch, tubes: Sequence[Tube], persons: TubePersons) -> bool:
    """Return whether a batch surely keeps the contract's rules, given its tubes and persons.

    If not, `find_violations` finds out.
    """
    columns: dict[str, Collection[object]] = dict(zip(Tube._fields, zip(*tubes, strict=True), strict=True))
    columns |= {"persons": columns["person_count"], "item": tuple({tube.item for tube in batch.tubes})}
    documents: dict[str, Collection[object]] = {
        "type": persons.document_types,
        "number": persons.numbers,
        "issuing_country": persons.issuing_countries,
        "name": persons.names,
    }
    return (
        _BATCH_RULES.are_kept({"offset": (batch.offset,)})
        and _TUBE_RULES.are_kept(columns)
        and _PERSON_RULES.are_kept({"report_number": persons.report_numbers})
        and _DOCUMENT_RULES.are_kept(documents)
    )


def faults_from_violations(violations: Sequence[Violation]) -> TubeFaults:
    """Group the contract's violations by tube and person: "tubes[3].persons[0].document.number" is item (3, 0)."""
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
    """Return the response to a batch, with its faults also in the caller's language."""
    language = asked_language() if acknowledgement.rejections else ENGLISH
    return upload_service_pb2.UploadResultsResponse(
        committed_offset=acknowledgement.committed_offset,
        accepted_count=acknowledgement.accepted_count,
        duplicate_count=acknowledgement.duplicate_count,
        rejected_count=acknowledgement.rejected_count,
        rejections=[_rejection_to_proto(rejection, language) for rejection in acknowledgement.rejections],
        consistency_token=consistency_token,
    )


def _rejection_to_proto(rejection: Rejection, language: str) -> upload_pb2.Rejection:
    return upload_pb2.Rejection(
        tube_index=rejection.tube_index,
        person_index=rejection.person_index,
        retryable=rejection.retryable,
        violations=[
            upload_pb2.FieldViolation(
                field=fault.field,
                reason=fault.reason,
                description=fault.description,
                localized_description="" if language == ENGLISH else translate(fault.description, language),
            )
            for fault in rejection.violations
        ],
    )


def upload_to_proto(upload: Upload) -> upload_pb2.Upload:
    """Return the message of an upload."""
    return upload_pb2.Upload(
        name=format_upload(upload.lab, upload.upload_id),
        committed_offset=upload.committed_offset,
        accepted_count=upload.accepted_count,
        duplicate_count=upload.duplicate_count,
        rejected_count=upload.rejected_count,
        create_time=to_timestamp(upload.create_time),
        update_time=to_timestamp(upload.update_time),
    )
