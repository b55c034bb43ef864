"""The laws of what one more fact does (docs/decision.md §14): a record, evidence, an answer, a known origin."""

from __future__ import annotations

from random import Random

from hutong.results.v1 import lab_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.instant import HOUR, Instant
from services.verification.decision.decide import decide
from services.verification.decision.favour import favour
from services.verification.decision.model import (
    ACTIVE,
    NATIONAL_RESULTS,
    NEGATIVE,
    PENDING,
    SOURCE_OK,
    SOURCE_UNAVAILABLE,
    Decision,
    Inputs,
    Record,
    SourceStatus,
)
from tests.support.verification.decision_inputs import LABS, NOON, random_inputs

RECOGNIZED = pb.DECISION_OUTCOME_RECOGNIZED
NOT_REQUIRED = pb.DECISION_OUTCOME_NOT_REQUIRED
POSITIVE_REASONS = (pb.DECISION_REASON_POSITIVE_RESULT, pb.DECISION_REASON_PENDING_RECHECK)
worlds = st.integers(0, 2**32).map(lambda seed: random_inputs(Random(seed)))


def _valid(number: str, sampled: Instant, outcome: int) -> Record:
    """Return a record without any fault, reported an hour after sampling unless it is a sampling record."""
    name = f"{LABS[0]}/results/{number}"
    reported = None if outcome == PENDING else sampled + HOUR
    authorized = lab_pb2.LAB_STANDING_AUTHORIZED
    return Record(name, 1, ACTIVE, LABS[0], number, outcome, sampled, None, None, reported, authorized)  # type: ignore[arg-type]


def _counts(record: Record, inputs: Inputs) -> bool:
    """Return whether a record is valid, which means that it would count if it were the only one.

    An expired one may end what false paper of it made count. It may also clear a positive, for which a policy cannot
    refuse, and leave a lack, for which it can.
    """
    return decide(inputs._replace(records=(record,), evidence=(), claims=())).outcome == RECOGNIZED


def _brought_to_light(inputs: Inputs) -> list[Record]:
    """Return the records that evidence has led to, in whichever field of its claim they are."""
    fields: list[object] = [field for claim in inputs.claims for field in claim]
    tuples = [field for field in fields if isinstance(field, tuple) and not isinstance(field, Record)]
    return [one for one in (*fields, *[part for several in tuples for part in several]) if isinstance(one, Record)]


def _outcome_and_refusal(decision: Decision) -> int:
    return favour(decision)[0]


@given(worlds, st.integers(1, 100))
def test_one_more_valid_negative_is_never_worse(inputs: Inputs, hours: int) -> None:
    """The negative is of a report that no evidence names.

    It counts, and clears earlier positives. Expiry is compared too.
    """
    more = _valid("MORE", min(inputs.use_time, NOON) - hours * HOUR, NEGATIVE)
    if not _counts(more, inputs):
        return
    after = decide(inputs._replace(records=(*inputs.records, more)))
    assert favour(after) <= favour(decide(inputs))


@given(worlds.filter(lambda inputs: len(inputs.evidence) > 0), st.integers(1, 100), st.integers(0, 5))
def test_one_more_valid_negative_of_a_report_that_is_shown_is_never_worse_in_outcome(
    inputs: Inputs, hours: int, which: int
) -> None:
    """Shown evidence may then contradict the record, which makes no outcome worse."""
    shown = inputs.evidence[which % len(inputs.evidence)]
    if not shown.lab or not shown.report_number:
        return
    more = _valid(shown.report_number, min(inputs.use_time, NOON) - hours * HOUR, NEGATIVE)
    more = more._replace(lab=shown.lab, name=f"{shown.lab}/results/{shown.report_number}")
    recorded = (*inputs.records, *_brought_to_light(inputs))
    if more.name in {record.name for record in recorded} or not _counts(more, inputs):
        return
    before, after = decide(inputs), decide(inputs._replace(records=(*inputs.records, more)))
    order = (NOT_REQUIRED, RECOGNIZED, pb.DECISION_OUTCOME_UNDETERMINED, pb.DECISION_OUTCOME_NOT_RECOGNIZED)
    assert order.index(after.outcome) <= order.index(before.outcome)


@given(worlds, st.integers(0, 60))
def test_one_more_valid_sampling_record_is_never_worse(inputs: Inputs, hours: int) -> None:
    """Whether the policy takes sampling records or not."""
    more = _valid("MORE", min(inputs.use_time, NOON) - hours * HOUR, PENDING)
    after = decide(inputs._replace(records=(*inputs.records, more)))
    assert favour(after) <= favour(decide(inputs))


@given(worlds.filter(lambda inputs: len(inputs.evidence) > 0))
@settings(max_examples=300)
def test_evidence_is_never_worse_than_none(inputs: Inputs) -> None:
    """The records being the same: a record that evidence brings to light counts as any record."""
    inputs = inputs._replace(own_records_alone=False)
    without = inputs._replace(records=(*inputs.records, *_brought_to_light(inputs)), evidence=(), claims=())
    assert favour(decide(inputs)) <= favour(decide(without))


@given(worlds, st.sets(st.integers(0, 5)))
def test_an_unavailable_nation_refuses_only_for_a_positive_that_is_known_here(inputs: Inputs, here: set[int]) -> None:
    """Only some of the records are here. A holder whom the full answer would not refuse is refused for nothing else."""
    inputs = inputs._replace(own_records_alone=False)
    full = inputs._replace(sources=(*_others(inputs), SourceStatus(NATIONAL_RESULTS, SOURCE_OK, NOON)))
    lost = inputs._replace(
        records=tuple(record for index, record in enumerate(inputs.records) if index in here),
        sources=(*_others(inputs), SourceStatus(NATIONAL_RESULTS, SOURCE_UNAVAILABLE, None)),
    )
    decision = decide(lost)
    if decision.refusal_permitted and not decide(full).refusal_permitted:
        assert decision.reason in POSITIVE_REASONS
        known = {(record.name, record.revision) for record in (*lost.records, *_brought_to_light(lost))}
        name, _, revision = decision.result.rpartition("@")
        assert (name, int(revision)) in known
        # Otherwise a record that is only elsewhere clears it, or replaces it as a later revision.
        weighed = [one.subject for one in decide(full).considered if isinstance(one.subject, Record)]
        assert [one for one in weighed if (one.name, one.revision) not in known]


def _others(inputs: Inputs) -> tuple[SourceStatus, ...]:
    return tuple(one for one in inputs.sources if one.source != NATIONAL_RESULTS)


def _unset(inputs: Inputs, here: set[int]) -> Decision:
    """Decide with the scope unset: by the node's own records if they suffice, otherwise as NATIONWIDE."""
    own = tuple(record for index, record in enumerate(inputs.records) if index in here)
    first = decide(inputs._replace(records=own, sources=_others(inputs), own_records_alone=True))
    enough = first.outcome in (RECOGNIZED, NOT_REQUIRED)
    return first if enough else decide(inputs._replace(own_records_alone=False))


@given(worlds.filter(lambda inputs: inputs.elsewhere is not None), st.sets(st.integers(0, 5)))
def test_not_knowing_the_origin_with_scope_unset_is_never_worse(inputs: Inputs, here: set[int]) -> None:
    """Compared are outcome and refusal. The expiry may be earlier, because own records may suffice by one rule only."""
    unknown = _unset(inputs, here)
    known = (
        _unset(inputs._replace(elsewhere=None), here),
        _unset(inputs._replace(policy=inputs.elsewhere, elsewhere=None), here),
    )
    assert _outcome_and_refusal(unknown) <= min(map(_outcome_and_refusal, known))


@given(worlds)
def test_every_decision_has_one_row_of_actions(inputs: Inputs) -> None:
    """The table is total: whoever answered, and whatever was weighed."""
    for sources in (inputs.sources, _others(inputs), ()):
        decision = decide(inputs._replace(sources=sources))
        assert decision.gate.action != pb.GATE_ACTION_UNSPECIFIED
        assert (decision.gate.outcome, decision.gate.reason) == (decision.outcome, decision.reason)
