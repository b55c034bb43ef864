"""A purge of Verification removes what is beyond its age, and every copy of a removed result."""

from __future__ import annotations

from hutong.results.v1 import result_pb2
from hutong.verification.v1.decision_pb2 import ClaimedRecord, DecisionInputs
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest, ReportRefusalResponse
from sqlalchemy import select

from services.domain.instant import DAY, Instant, to_timestamp
from services.runtime.ids import uuid7
from services.storage.engine import open_database
from services.verification.refusals.convert import refusal_to_proto
from services.verification.refusals.store import NewReport, RefusalStore
from services.verification.refusals.tables import refusals, requests
from services.verification.retention import Purge, Removed, RetentionAges, purge_verification
from services.verification.stored_decisions.store import DecisionStore, KeptAnswer, StoredDecision
from services.verification.stored_decisions.tables import decisions
from tests.support.databases import MakeUrl
from tests.support.verification.refusals import make_refusal

NOW: Instant = 1_660_190_400_000_000
HORIZON = NOW - 10 * DAY
AGES = RetentionAges(decisions=30 * DAY, refusals=60 * DAY, requests=5 * DAY, shown_reports=20 * DAY)
BEFORE, AFTER = to_timestamp(HORIZON - 1), to_timestamp(HORIZON)


def stored(evaluated: Instant, **inputs: object) -> StoredDecision:
    """Return a decision with these inputs."""
    message = DecisionInputs(evaluate_time=to_timestamp(evaluated), **inputs)  # type: ignore[arg-type]
    return StoredDecision(uuid7(), evaluated, b"decision", message.SerializeToString())


async def test_a_purge_removes_each_kind_by_its_age_and_copies_by_the_horizon(database_url: MakeUrl) -> None:
    """Records, claimed records, sampling records and evidence from before the horizon take young decisions too."""
    database = open_database(database_url("verification"))
    gone = [
        stored(
            NOW,
            records=[
                result_pb2.TestResult(report_time=AFTER),
                result_pb2.TestResult(report_time=BEFORE, report_number="GONE-1"),
            ],
        ),
        stored(
            NOW, claims=[ClaimedRecord(test_result=result_pb2.TestResult(report_time=BEFORE, report_number="GONE-2"))]
        ),
        stored(NOW, records=[result_pb2.TestResult(sample_time=BEFORE, report_number="GONE-3")]),
        stored(NOW, evidence=[PresentedEvidence(report_time=BEFORE, report_number="GONE-4")]),
        stored(NOW - 31 * DAY),
    ]
    kept = [
        stored(NOW, records=[result_pb2.TestResult(sample_time=BEFORE, report_time=AFTER)]),
        stored(NOW, claims=[ClaimedRecord()]),
        stored(NOW - 30 * DAY + DAY * 25),
    ]
    await DecisionStore(database).keep_answers([KeptAnswer(decision, None) for decision in [*gone, *kept]])
    store = RefusalStore(database, [b"s" * 32])
    young = [make_refusal(NOW, create_time=NOW - age * DAY) for age in (0, 6, 59)]
    for number, one in enumerate([*young, make_refusal(NOW, create_time=NOW - 61 * DAY)]):
        await store.add_refusal(
            NewReport(one, None),
            ReportRefusalRequest(request_id=f"01890000-0000-4000-8000-00000000000{number}"),
            lambda it: ReportRefusalResponse(refusal=refusal_to_proto(it, NOW)),
        )
    assert purge_verification(database, AGES, Purge(HORIZON, NOW, uuid7())) == Removed(5, 1, 3, 0, 0, 0, 0)
    with database.engine.connect() as connection:
        assert set(connection.execute(select(decisions.c.uuid)).scalars()) == {one.uuid for one in kept}
        assert set(connection.execute(select(refusals.c.uuid)).scalars()) == {one.uuid for one in young}
        assert len(connection.execute(select(requests)).all()) == 1
        blobs = b"".join(bytes(it) for it in connection.execute(select(decisions.c.inputs)).scalars())
        assert b"GONE" not in blobs
    assert purge_verification(database, AGES, Purge(HORIZON, NOW, uuid7())) == Removed(0, 0, 0, 0, 0, 0, 0)
    database.close()


async def test_a_number_is_found_however_it_is_typed(sqlite_url: MakeUrl) -> None:
    """Full-width characters and spaces around a number are kept with the decision. No time shows that it is old."""
    database = open_database(sqlite_url("verification"))
    typed = [stored(NOW, evidence=[PresentedEvidence(report_number=number)]) for number in (" Ｒ１　", "R2")]
    await DecisionStore(database).keep_answers([KeptAnswer(decision, None) for decision in typed])
    purge = Purge(HORIZON, NOW, uuid7(), lambda names: names & {("", "R1")})  # type: ignore[operator]
    assert purge_verification(database, AGES, purge).decisions == 1
    with database.engine.connect() as connection:
        assert connection.execute(select(decisions.c.uuid)).scalars().all() == [typed[1].uuid]
    database.close()
