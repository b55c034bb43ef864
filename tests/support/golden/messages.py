"""Parts of stored inputs as messages: times around one noon, two laboratories, and small grids of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.verification.v1 import decision_pb2, evidence_pb2

from services.domain.instant import HOUR, SECOND, Instant, Span, to_timestamp

NOON: Instant = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00."""
LABS = ("labs/91410100MA0000001X", "labs/91220500MA00000029")
ANTIGEN = "items/sars-cov-2-antigen"
PENDING, NEGATIVE, POSITIVE, POOL_POSITIVE, INCONCLUSIVE = 1, 2, 3, 4, 5
ACTIVE, RECALLED = 1, 3
AUTHORIZED, SUSPENDED = 1, 3
NOT_FOUND = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
FOUND = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND
OTHER_PERSON = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON
OTHER_ITEM = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM
OK, AWAY, NOT_CONFIGURED, NOT_ASKED = 1, 2, 3, 4


def has_field(message: type[Message], name: str) -> bool:
    """Return whether this version of the contract has a field. The corpus is made anew as the contract grows."""
    return name in message.DESCRIPTOR.fields_by_name


def make_record(
    number: str,
    sampled: Instant,
    reported: Instant | None,
    outcome: int = NEGATIVE,
    *,
    lab: str = LABS[0],
    revision: int = 1,
    **fields: Any,
) -> result_pb2.TestResult:
    """Return a record as Results sends it to be stored, without masks."""
    record = result_pb2.TestResult(
        name=f"{lab}/results/{number}",
        revision=revision,
        lab=lab,
        report_number=number,
        outcome=outcome,  # type: ignore[arg-type]
        sample_time=to_timestamp(sampled),
        **{"state": ACTIVE, "lab_standing": AUTHORIZED} | fields,  # type: ignore[arg-type]
    )
    if reported is not None:
        record.report_time.CopyFrom(to_timestamp(reported))
    return record


def make_paper(
    number: str, sampled: Instant | None, reported: Instant | None, outcome: int = NEGATIVE, **fields: Any
) -> evidence_pb2.PresentedEvidence:
    """Return a report on paper."""
    shown = evidence_pb2.PresentedEvidence(
        report_number=number,
        outcome=outcome,  # type: ignore[arg-type]
        **{"channel": 7, "lab": LABS[0]} | fields,  # type: ignore[arg-type]
    )
    if sampled is not None:
        shown.sample_time.CopyFrom(to_timestamp(sampled))
    if reported is not None:
        shown.report_time.CopyFrom(to_timestamp(reported))
    return shown


def make_claim(
    state: lookup_pb2.ClaimedReportMatchState.ValueType,
    record: result_pb2.TestResult | None = None,
    standing: int = AUTHORIZED,
) -> decision_pb2.ClaimedRecord:
    """Return what Results found of a report that was shown."""
    return decision_pb2.ClaimedRecord(state=state, test_result=record, lab_standing=standing)  # type: ignore[arg-type]


def make_window(span: Span | None = None, days: int = 0, *, basis: int = 1, boundary: bool = False) -> Any:
    """Return a window of a policy: a duration, or calendar days of Asia/Shanghai."""
    window = policy_pb2.ValidityWindow(basis=basis, includes_boundary=boundary)  # type: ignore[arg-type]
    set_length(window, span, days)
    return window


def make_floor(span: Span | None = None, days: int = 0, *, boundary: bool = False) -> policy_pb2.FloorWindow:
    """Return the shortest window that a floor allows."""
    floor = policy_pb2.FloorWindow(floor="jurisdictions/000000/policies/floor@1")
    floor.shortest_window.includes_boundary = boundary
    set_length(floor.shortest_window, span, days)
    return floor


def set_length(window: policy_pb2.ValidityWindow | policy_pb2.ShortestWindow, span: Span | None, days: int) -> None:
    """Set the length of a window in one of its two kinds."""
    if span is None:
        window.calendar_days = days
    else:
        window.duration.CopyFrom(Duration(seconds=span // SECOND))


def make_policy(
    window: policy_pb2.ValidityWindow | None = None,
    *,
    proof: Span | None = None,
    refuse: bool = True,
    region: str = "410100",
    forbidden: Sequence[int] = (1, 2),
    floors: Sequence[policy_pb2.FloorWindow] = (),
    lifted: bool = False,
) -> policy_pb2.EffectivePolicy:
    """Return what applies. Without a window nothing is asked."""
    policy = policy_pb2.EffectivePolicy(
        governing=f"jurisdictions/{region}/policies/venue@1",
        floor="jurisdictions/000000/policies/floor@1",
        forbidden_grounds=forbidden,  # type: ignore[arg-type]
        advice=["a negative result is asked for"],
        shortest_windows=floors,
    )
    if lifted:
        policy.lifting_floor = "jurisdictions/000000/policies/lift@1"
    if window is None or lifted:
        policy.not_required.SetInParent()
    else:
        policy.test_required.window.CopyFrom(window)
        policy.test_required.refusal_permitted = refuse
        if proof is not None:
            policy.test_required.sampling_proof_window.CopyFrom(Duration(seconds=proof // SECOND))
    return policy


def make_sources(results: int = OK, nation: int | None = OK, policy: int = OK) -> list[lookup_pb2.DataSource]:
    """Return the states of the node's Results and Policy, and of the nation's Results unless None."""
    sources = [
        lookup_pb2.DataSource(policy_service="nodes/410000", state=policy),  # type: ignore[arg-type]
        lookup_pb2.DataSource(results_service="nodes/410000", state=results),  # type: ignore[arg-type]
    ]
    if nation is not None:
        sources.append(lookup_pb2.DataSource(results_service="nodes/000000", state=nation))  # type: ignore[arg-type]
    for source in sources:
        if source.state == OK:
            source.as_of_time.CopyFrom(to_timestamp(NOON))
    return sources


def make_inputs(
    policy: policy_pb2.EffectivePolicy | None,
    records: Sequence[result_pb2.TestResult] = (),
    shown: Sequence[tuple[evidence_pb2.PresentedEvidence, decision_pb2.ClaimedRecord]] = (),
    *,
    sources: Sequence[lookup_pb2.DataSource] | None = None,
    use: Instant = NOON,
    elsewhere: policy_pb2.EffectivePolicy | None = None,
    **fields: Any,
) -> decision_pb2.DecisionInputs:
    """Return stored inputs of a question at a hotel in Zhengzhou."""
    inputs = decision_pb2.DecisionInputs(
        use_time=to_timestamp(use),
        evaluate_time=to_timestamp(NOON),
        records=records,
        evidence=[evidence for evidence, _ in shown],
        claims=[claim for _, claim in shown],
        sources=make_sources() if sources is None else sources,
        region="410105",
        purpose=4,  # type: ignore[arg-type]
        **fields,
    )
    if policy is not None and elsewhere is not None:
        inputs.by_origin.same_province.CopyFrom(policy)
        inputs.by_origin.other_province.CopyFrom(elsewhere)
    elif policy is not None:
        inputs.effective_policy.CopyFrom(policy)
    return inputs


HOURS_48 = make_window(48 * HOUR)
