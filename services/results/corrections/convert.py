"""Conversion of requests to corrections and recalls."""

from __future__ import annotations

from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, RecallResultsRequest
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import from_timestamp
from services.domain.names import parse_item, parse_items, parse_lab, parse_result
from services.domain.subject import mask_free_text
from services.results.corrections.model import Correction, Recall
from services.results.fields import closed_interval
from services.runtime.call import current_actor, current_approver


def correction_from_proto(request: CorrectResultRequest) -> Correction:
    """Return the correction of a request. Raises InvalidArgument if the report's name contains a revision."""
    lab, report_number, revision = parse_result(request.name)
    if revision is not None:
        raise InvalidArgument.field(
            "name", english("names a revision; a correction concerns the newest"), "MALFORMED_NAME"
        )
    return Correction(
        lab,
        report_number,
        request.outcome,
        from_timestamp(request.sample_time) if request.HasField("sample_time") else None,
        from_timestamp(request.reissue_time) if request.HasField("reissue_time") else None,
        mask_free_text(request.reason),
        parse_item(request.item) if request.item else None,
        current_actor(),
    )


def recall_from_proto(request: RecallResultsRequest) -> Recall:
    """Return the recall of a request. Raises InvalidArgument for a wrong laboratory or an empty interval."""
    lab = parse_lab(request.lab, "lab")
    start, end = closed_interval(request.report_interval, "report_interval")
    items = parse_items(request.items, "items")
    return Recall(
        lab,
        start,
        end,
        tuple(request.outcomes),
        mask_free_text(request.reason),
        items,
        current_actor(),
        current_approver(),
    )
