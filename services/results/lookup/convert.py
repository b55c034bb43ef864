"""Conversion of listings and claimed reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest
from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.results.v1.next_step_pb2 import NEXT_STEP_ACTION_UPLOAD_REPORT, NextStep
from hutong.results.v1.results_service_pb2 import BatchLookupLatestRequest
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import Instant, from_timestamp, set_timestamp, to_timestamp
from services.domain.names import format_lab, format_node, parse_lab
from services.domain.region import NATION
from services.domain.subject import KEY_LENGTH
from services.results.labs.convert import key_to_proto
from services.results.lookup.claims import FoundClaim
from services.results.lookup.model import Listing, ReportClaim
from services.results.missing_reports.convert import fill_answer
from services.results.records.convert import fill_result, result_to_proto
from services.results.records.model import ReportName, StoredResult


def listing_to_proto(listing: Listing) -> list[result_pb2.TestResult]:
    """Return the messages of a listing's results, each with its laboratory's standing at the reference time."""
    return [
        result_to_proto(result, listing.standing_at(result.lab, result.reference_time)) for result in listing.results
    ]


def claims_from_proto(claimed: Iterable[lookup_pb2.ClaimedReport]) -> tuple[ReportClaim, ...]:
    """Return claimed reports. Raises InvalidArgument for a wrong code or a claim that states nothing."""
    return tuple([_claim_from_proto(claim, f"claimed_reports[{index}]") for index, claim in enumerate(claimed)])


def _claim_from_proto(message: lookup_pb2.ClaimedReport, field: str) -> ReportClaim:
    claim = ReportClaim(
        parse_lab(message.lab, f"{field}.lab") if message.lab else "",
        message.report_number,
        from_timestamp(message.report_time) if message.HasField("report_time") else None,
        message.lab_name,
        message.with_signing_keys,
    )
    if not (claim.lab or claim.normal_name or claim.report_number):
        raise InvalidArgument.field(f"{field}.lab", english("one of lab, lab_name and report_number is required"))
    return claim


def fill_claim(
    message: lookup_pb2.ClaimedReportMatch,
    found: FoundClaim,
    items: Collection[str],
    subject_keys: Collection[bytes | None],
    masked_number: str,
) -> bool:
    """Write what was found of a claim into an empty message. Return False if the report is missing.

    Args:
        message: the empty message.
        found: what was found.
        items: the items that are looked up. Records of other items are returned without content.
        subject_keys: the keys of the document that is looked up, under each key version.
        masked_number: the masked number of that document.
    """
    message.lab_standing = found.standing
    message.lab_region = found.region
    if found.lab:
        message.lab = format_lab(found.lab)
    message.signing_keys.extend(map(key_to_proto, found.signing_keys))
    if not found.is_comparable:
        message.state = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_COMPARABLE
        for result, standing in found.possible:
            if result.item in items:
                fill_result(message.possible_results.add(), with_mask(result, subject_keys, masked_number), standing)
    elif found.record is not None and found.record.result.item not in items:
        message.state = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM
    elif found.record is not None:
        message.state = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND
        result, standing = found.record
        fill_result(message.result, with_mask(result, subject_keys, masked_number), standing)
    elif found.is_others:
        message.state = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON
    else:
        message.state = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
        if found.answer is not None:
            fill_answer(message.lab_answer, found.answer)
        return False
    return True


def with_mask(result: StoredResult, subject_keys: Collection[bytes | None], masked_number: str) -> StoredResult:
    """Add the document's masked number to a result that came from another node without a masked number.

    `subject_keys` are the document's keys under each key version.
    """
    if result.masked_number or result.subject_key not in subject_keys:
        return result
    return result._replace(masked_number=masked_number)


def upload_report(name: ReportName, now: Instant) -> NextStep:
    """Return the next step that asks the laboratory to upload a missing report."""
    lab, report_number = name
    return NextStep(
        action=NEXT_STEP_ACTION_UPLOAD_REPORT,
        lab=format_lab(lab),
        report_number=report_number,
        description="its holder has this report in hand and no record of it is here: ask the laboratory to upload it",
        create_time=to_timestamp(now),
    )


def subject_keys_from_proto(
    batch: BatchLookupLatestRequest | BatchLookupColumnsRequest,
) -> Sequence[tuple[bytes, bytes]]:
    """Return a pair of subject keys for each request. Both keys are empty if the request has a document.

    A request without a document is about the subject of the first key. The second key is the key of the same document
    under the other key version; empty if there is none.
    """
    none = [b""] * len(batch.requests)
    if not isinstance(batch, BatchLookupColumnsRequest):
        return list(zip(none, none, strict=True))
    given = []
    for field in ("subject_keys", "other_subject_keys"):
        keys: Sequence[bytes] = getattr(batch, field) or none
        if len(keys) != len(none) or not {0, KEY_LENGTH}.issuperset(map(len, keys)):
            raise InvalidArgument.field(
                field, english("must have {key_length} bytes or none for each request", key_length=KEY_LENGTH)
            )
        given.append(keys)
    return list(zip(*given, strict=True))


def fill_source(source: lookup_pb2.DataSource, node: str, now: Instant, horizon: Instant | None) -> None:
    """Fill an empty message for a node that answered, with the horizon of its retention."""
    source.node = node
    source.state = lookup_pb2.SOURCE_STATE_OK
    set_timestamp(source.as_of_time, now)
    if horizon is not None:
        set_timestamp(source.retention_start_time, horizon)


def fill_not_asked(source: lookup_pb2.DataSource) -> None:
    """Fill an empty message for the nation, which was not asked."""
    source.node = format_node(NATION)
    source.state = lookup_pb2.SOURCE_STATE_NOT_ASKED
