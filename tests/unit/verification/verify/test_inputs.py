"""A result that a look-up's limit may have left out is never a reason against the holder."""

from __future__ import annotations

import pytest
from hutong.results.v1 import result_pb2
from hutong.results.v1.lookup_pb2 import (
    CLAIMED_REPORT_MATCH_STATE_NOT_FOUND,
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    ClaimedReportMatch,
    DataSource,
)
from hutong.results.v1.results_service_pb2 import LookupLatestResponse
from hutong.type.v1.outcome_pb2 import OUTCOME_INCONCLUSIVE, OUTCOME_NEGATIVE, Outcome
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.instant import DAY, HOUR, SECOND, Instant, to_timestamp
from services.domain.names import describe_item, parse_item
from services.verification.decision.model import SOURCE_OK, SourceStatus
from services.verification.sources.lookup_answer import LookupAnswer, answer_from_message
from services.verification.verify.inputs import SourceAnswers, gather, inputs_from_proto, inputs_to_proto
from services.verification.verify.questions.question import Question, set_items
from tests.support.verification.node import paper, question
from tests.support.verification.questions import decode_question

ANTIGEN, HEPATITIS = "items/sars-cov-2-antigen", "items/hepatitis-b"
NOW: Instant = 1_660_190_400 * SECOND
THEN = NOW - 30 * DAY
POLICY = SourceStatus("nodes/410000/policy", SOURCE_OK, NOW)
LATER = [THEN + days * DAY for days in range(20, 0, -1)]


def _ask(use_time: Instant) -> Question:
    request: VerifyRequest = question("410105186001010019", use_time=to_timestamp(use_time))
    return decode_question(request, NOW)


def _result(
    report_time: Instant, outcome: Outcome.ValueType = OUTCOME_NEGATIVE, item: str = ""
) -> result_pb2.TestResult:
    return result_pb2.TestResult(
        item=item,
        name=f"labs/L/results/{report_time}",
        outcome=outcome,
        sample_time=to_timestamp(report_time - HOUR),
        report_time=to_timestamp(report_time),
    )


def _told(*in_region: result_pb2.TestResult, elsewhere: tuple[result_pb2.TestResult, ...] = ()) -> LookupAnswer:
    sources = [
        DataSource(node="nodes/410000", state=SOURCE_STATE_OK),
        DataSource(node="nodes/000000", state=SOURCE_STATE_NOT_CONFIGURED),
    ]
    return answer_from_message(LookupLatestResponse(in_region=in_region, out_of_region=elsewhere, sources=sources))


def _heard(question: Question, found: LookupAnswer) -> bool:
    """Whether nothing that counted then can be hidden; the sources are what they are either way."""
    inputs = gather(question, SourceAnswers(None, POLICY, found, None)).inputs
    assert [one.source for one in inputs.sources] == [
        "nodes/410000/policy",
        "nodes/410000/results",
        "nodes/000000/results",
    ]
    assert [one.state for one in inputs.sources] == [SOURCE_OK, SOURCE_OK, SOURCE_STATE_NOT_CONFIGURED]
    return not inputs.cut_items


@pytest.mark.parametrize(("ago", "limit"), [(0, 10), (23 * HOUR, 10), (DAY, 20), (30 * DAY, 20), (-DAY, 10)])
def test_more_is_looked_at_for_a_use_in_the_past(ago: int, limit: int) -> None:
    """Tests that followed would fill what is enough for now."""
    assert _ask(NOW - ago).look_up.limit == limit


def test_a_full_side_without_a_negative_of_then_was_not_heard_to_the_end() -> None:
    """Twenty negatives since: an earlier one may have been left out, on whichever side they stand."""
    later = tuple(_result(time) for time in LATER)
    assert not _heard(_ask(THEN), _told(*later))
    assert not _heard(_ask(THEN), _told(_result(THEN - 5 * DAY), elsewhere=later))
    unclear = _result(THEN - HOUR, OUTCOME_INCONCLUSIVE)
    assert not _heard(_ask(THEN), _told(*later[:-1], unclear))


def test_a_side_with_room_or_with_a_negative_of_then_was_heard() -> None:
    """Any other result was issued before the negative that is returned, or it would be returned too."""
    later = tuple(_result(time) for time in LATER)
    assert _heard(_ask(THEN), _told(*later[:-1]))
    assert _heard(_ask(THEN), _told(*later[:10], elsewhere=later[10:]))
    assert _heard(_ask(THEN), _told(*later[:-1], _result(THEN - 5 * DAY)))
    assert _heard(_ask(NOW), _told(*[_result(NOW + SECOND) for _ in range(10)]))


def test_each_item_has_its_own_sides() -> None:
    """Ten of each item fill no side. Twenty antigen tests since hide an antigen test alone, and are stored so."""
    nucleic, antigen = ([_result(time, item=item) for time in LATER] for item in ("", ANTIGEN))
    asked = _ask(THEN)
    assert _heard(asked, _told(*nucleic[:10], *antigen[:10]))
    before = _result(THEN - HOUR)
    for found, cut in (
        (_told(*nucleic[:19], before, *antigen), (parse_item(ANTIGEN),)),
        (_told(*nucleic, before, *antigen[:5]), ()),
        (_told(*antigen, elsewhere=tuple(nucleic)), ("", parse_item(ANTIGEN))),
        (_told(*nucleic), ("",)),
    ):
        answers = SourceAnswers(None, POLICY, found, None)
        gathered = gather(asked, answers)
        assert gathered.inputs.cut_items == cut
        stored = inputs_to_proto(asked, answers, gathered)
        assert stored.history_cut is bool(cut)
        assert list(stored.cut_items) == ([] if cut in ((), ("",)) else list(map(describe_item, cut)))
        assert inputs_from_proto(stored).cut_items == cut


def test_only_evidence_of_the_items_looked_up_is_claimed() -> None:
    """Before the policy is known, evidence of the default item is claimed.

    Each claim is paired with its own evidence.
    """
    shown = [paper(report, NOW - HOUR, item=item) for report, item in (("A", ANTIGEN), ("N", ""), ("H", HEPATITIS))]
    asked = decode_question(question("410105186001010019", evidence=shown), NOW)

    def pairs() -> list[tuple[list[str], list[bool]]]:
        numbers = [claim.report_number for claim in asked.look_up.claimed_reports]
        claims = [ClaimedReportMatch(state=CLAIMED_REPORT_MATCH_STATE_NOT_FOUND) for _ in numbers]
        gathered = gather(asked, SourceAnswers(None, POLICY, _told()._replace(claims=claims), None))
        return [(numbers, [claim is not None for claim in gathered.claims])]

    assert pairs() == [(["N"], [False, True, False])]
    for items, expected in (
        ([], (["N"], [False, True, False])),
        ([ANTIGEN], (["A"], [True, False, False])),
        ([ANTIGEN, describe_item("")], (["A", "N"], [True, True, False])),
    ):
        set_items(asked, items)
        assert list(asked.look_up.items) == items
        assert pairs() == [expected]
