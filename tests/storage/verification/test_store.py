"""Tests that hold for every store of decisions and refusals, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
)

from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound
from services.domain.instant import HOUR, Instant
from services.runtime.ids import uuid7
from services.storage.engine import Database, open_database
from services.verification.refusals.convert import refusal_to_proto
from services.verification.refusals.rules import NOT_UNLAWFUL, UNLAWFUL, Refusal
from services.verification.refusals.store import NewReport, RefusalFilter, RefusalStore
from services.verification.stored_decisions.store import DecisionStore, KeptAnswer, StoredDecision
from services.verification.stored_decisions.subject_tag import SubjectTag
from tests.support.databases import MakeUrl
from tests.support.verification.refusals import NOT_LOCAL, make_refusal

NOON: Instant = 1_660_190_400_000_000
NOT_FOUND_LOCALLY = refusal_ground_pb2.REFUSAL_GROUND_NOT_FOUND_IN_LOCAL_CODE
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
A_REQUEST_ID = "01890000-0000-4000-8000-000000000001"


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    """A fresh database of the service."""
    database = open_database(database_url("verification"))
    yield database
    database.close()


@pytest.fixture
def refusals(database: Database) -> RefusalStore:
    """A store of refusals on it."""
    return RefusalStore(database, [b"s" * 32])


def _decision(evaluate_time: Instant = NOON) -> StoredDecision:
    return StoredDecision(uuid7(), evaluate_time, b"decision\0\xff", b"inputs\0\xff")


def _refusal(
    region: str = "410105", grounds: tuple[int, ...] = (NOT_LOCAL,), hours: int = 0, assessment: int = UNLAWFUL
) -> Refusal:
    return make_refusal(
        NOON + hours * HOUR,
        region=region,
        grounds=grounds,
        assessment=assessment,
        assess_time=NOON,
        due_time=NOON,
    )


def _encode(refusal: Refusal) -> ReportRefusalResponse:
    return ReportRefusalResponse(refusal=refusal_to_proto(refusal, NOON))


def _encode_answer(refusal: Refusal) -> AnswerRefusalResponse:
    return AnswerRefusalResponse(refusal=refusal_to_proto(refusal, NOON))


def _new(refusal: Refusal, made: StoredDecision | None = None) -> NewReport:
    return NewReport(refusal, made)


async def _add(store: RefusalStore, refusal: Refusal) -> Refusal:
    await store.add_refusal(_new(refusal), ReportRefusalRequest(), _encode)
    return refusal


async def test_decisions_come_back_byte_for_byte(database: Database) -> None:
    """Several in one transaction, each as it was given, with whose it is where that is kept."""
    store = DecisionStore(database)
    kept = [_decision(), replace(_decision(NOON + 1), subject=SubjectTag(b"\0key of 16 bytes", 2))]
    await store.keep_answers([KeptAnswer(decision, None) for decision in kept])
    assert [await store.get_decision(one.uuid) for one in kept] == kept


async def test_unknown_decision_is_not_found(database: Database) -> None:
    """NotFound names the resource."""
    with pytest.raises(NotFound) as caught:
        await DecisionStore(database).get_decision("01890000-0000-7000-8000-000000000000")
    assert caught.value.metadata == {"resource": "decisions/01890000-0000-7000-8000-000000000000"}


async def test_refusal_comes_back_as_it_was(refusals: RefusalStore) -> None:
    """Every field, sets of grounds in order of their numbers."""
    refusal = await _add(refusals, _refusal(grounds=(NOT_FOUND_LOCALLY, NOT_LOCAL, EXPIRED)))
    assert await refusals.get_refusal(refusal.uuid) == refusal


async def test_decision_made_for_a_refusal_is_stored_with_it(database: Database, refusals: RefusalStore) -> None:
    """Decision and refusal are stored in one transaction: both or neither."""
    made = _decision()
    await refusals.add_refusal(_new(_refusal(), made), ReportRefusalRequest(), _encode)
    assert await DecisionStore(database).get_decision(made.uuid) == made


async def test_same_request_id_reports_once(database: Database, refusals: RefusalStore) -> None:
    """The first answer again for the same content; other content is INVALID_ARGUMENT."""
    request = ReportRefusalRequest(region="410105", request_id=A_REQUEST_ID)
    made = [_decision(), _decision()]
    first = await refusals.add_refusal(_new(_refusal(), made[0]), request, _encode)
    again = await refusals.add_refusal(_new(_refusal(), made[1]), request, _encode)
    assert again == first
    assert len(await refusals.list_refusals(RefusalFilter(), "", 10)) == 1
    with pytest.raises(NotFound):
        await DecisionStore(database).get_decision(made[1].uuid)
    other = ReportRefusalRequest(region="410106", request_id=A_REQUEST_ID)
    with pytest.raises(InvalidArgument, match="request_id"):
        await refusals.add_refusal(_new(_refusal()), other, _encode)


async def test_answer_once_and_only_once(refusals: RefusalStore) -> None:
    """The same answer again is fine, another is CONFLICT, an unknown report NotFound."""
    refusal = await _add(refusals, _refusal())
    request = AnswerRefusalRequest(answer="已整改")
    answered = await refusals.answer_refusal(refusal.uuid, NOON + HOUR, request, _encode_answer)
    assert answered.refusal.state == refusal_pb2.REFUSAL_STATE_ANSWERED
    assert await refusals.answer_refusal(refusal.uuid, NOON + 2 * HOUR, request, _encode_answer) == answered
    with pytest.raises(FailedPrecondition) as caught:
        await refusals.answer_refusal(refusal.uuid, NOON, AnswerRefusalRequest(answer="?"), _encode_answer)
    assert caught.value.reason == "CONFLICT"
    with pytest.raises(NotFound):
        await refusals.answer_refusal("01890000-0000-7000-8000-000000000000", NOON, request, _encode_answer)


async def test_of_two_answers_at_once_one_wins(refusals: RefusalStore) -> None:
    """Two officers answer at the same time: one of them gets CONFLICT."""
    refusal = await _add(refusals, _refusal())
    answers = [AnswerRefusalRequest(answer=text) for text in ("one", "two", "three", "four")]
    told = await asyncio.gather(
        *(refusals.answer_refusal(refusal.uuid, NOON, answer, _encode_answer) for answer in answers),
        return_exceptions=True,
    )
    assert sum(isinstance(one, FailedPrecondition) for one in told) == 3
    (won,) = [one for one in told if isinstance(one, AnswerRefusalResponse)]
    assert (await refusals.get_refusal(refusal.uuid)).answer == won.refusal.answer


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RefusalFilter(), [3, 2, 1, 0]),
        (RefusalFilter(region="000000"), [3, 2, 1, 0]),
        (RefusalFilter(region="410000"), [2, 1, 0]),
        (RefusalFilter(region="410100"), [1, 0]),
        (RefusalFilter(region="410105"), [0]),
        (RefusalFilter(grounds=(EXPIRED,)), [3, 1]),  # type: ignore[arg-type]
        (RefusalFilter(grounds=(EXPIRED, NOT_FOUND_LOCALLY)), [3, 2, 1]),  # type: ignore[arg-type]
        (RefusalFilter(assessments=(NOT_UNLAWFUL,)), [1]),
        (RefusalFilter(states=(refusal_pb2.REFUSAL_STATE_ANSWERED,)), [2]),
        (RefusalFilter(states=(refusal_pb2.REFUSAL_STATE_OPEN,)), [3, 1]),
        (RefusalFilter(states=(refusal_pb2.REFUSAL_STATE_PENDING, refusal_pb2.REFUSAL_STATE_ANSWERED)), [2, 0]),
        (RefusalFilter(overdue_at=NOON + 1), [3, 1, 0]),
        (RefusalFilter(overdue_at=NOON), []),
        (RefusalFilter(start_time=NOON + HOUR, end_time=NOON + 3 * HOUR), [2, 1]),
    ],
)
async def test_filters(refusals: RefusalStore, wanted: RefusalFilter, expected: list[int]) -> None:
    """Each filter narrows as it says, newest first."""
    added = [
        await _add(refusals, replace(_refusal("410105"), assess_time=None)),
        await _add(refusals, _refusal("410106", (NOT_LOCAL, EXPIRED), 1, NOT_UNLAWFUL)),
        await _add(refusals, _refusal("411000", (NOT_FOUND_LOCALLY,), 2)),
        await _add(refusals, _refusal("220502", (EXPIRED,), 3)),
    ]
    answer = AnswerRefusalRequest(answer="已整改")
    await refusals.answer_refusal(added[2].uuid, NOON + 4 * HOUR, answer, _encode_answer)
    found = await refusals.list_refusals(wanted, "", 10)
    assert [one.uuid for one in found] == [added[index].uuid for index in expected]


async def test_pages_meet_without_gap_or_overlap(refusals: RefusalStore) -> None:
    """The next page begins after the last report of a page."""
    added = [await _add(refusals, _refusal()) for _ in range(7)]
    seen: list[str] = []
    before = ""
    while page := await refusals.list_refusals(RefusalFilter(), before, 3):
        seen += [one.uuid for one in page]
        before = seen[-1]
    assert seen == [one.uuid for one in reversed(added)]
