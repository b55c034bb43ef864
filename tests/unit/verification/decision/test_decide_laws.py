"""The laws of a decision (docs/decision.md), as properties of every world."""

from __future__ import annotations

from random import Random

import pytest
from hutong.results.v1 import lab_pb2, lookup_pb2
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import HOUR, MINUTE, SECOND
from services.verification.decision.decide import decide
from services.verification.decision.favour import best_for_holder, favour
from services.verification.decision.model import (
    ACTIVE,
    CLOCK_SKEW,
    INCONCLUSIVE,
    NATIONAL_RESULTS,
    NEGATIVE,
    NOT_LOOKED_UP,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    REPORT_TIME,
    SOURCE_OK,
    SOURCE_UNAVAILABLE,
    Claim,
    Decision,
    EffectivePolicy,
    Evidence,
    Inputs,
    Record,
    Requirement,
    SourceStatus,
    Window,
)
from services.verification.decision.weigh import Weighed
from services.verification.verify.convert import decision_to_proto
from tests.support.verification.decision_inputs import (
    HEPATITIS,
    LABS,
    NOON,
    POLICY,
    RESULTS,
    random_inputs,
    random_record,
    random_shortest,
)

RECOGNIZED = pb.DECISION_OUTCOME_RECOGNIZED
NOT_RECOGNIZED = pb.DECISION_OUTCOME_NOT_RECOGNIZED
POSITIVE_REASONS = (pb.DECISION_REASON_POSITIVE_RESULT, pb.DECISION_REASON_PENDING_RECHECK)
worlds = st.integers(0, 2**32).map(lambda seed: random_inputs(Random(seed)))
RULE = Requirement(Window(48 * HOUR, None, REPORT_TIME, includes_boundary=False), None, refusal_permitted=True)
VENUE = EffectivePolicy("jurisdictions/410100/policies/venue@1", "", RULE, (1, 2), ())
ANSWERED = (
    SourceStatus(RESULTS, SOURCE_OK, NOON),
    SourceStatus(NATIONAL_RESULTS, SOURCE_OK, NOON),
    SourceStatus(POLICY, SOURCE_OK, NOON),
)
AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED


def _negative(name: str, report_time: int, **changes: object) -> Record:
    record = Record(
        f"{LABS[0]}/results/{name}",
        1,
        ACTIVE,
        LABS[0],
        name,
        NEGATIVE,
        report_time - HOUR,
        None,
        None,
        report_time,
        AUTHORIZED,
    )
    return record._replace(**changes)  # type: ignore[arg-type]


def _counts_at_all(record: Record) -> bool:
    return record.outcome == NEGATIVE and record.state == ACTIVE


_DECIDED_WHOEVER_IS_AWAY = frozenset(
    {
        pb.DECISION_REASON_VALID,
        pb.DECISION_REASON_NO_TEST_REQUIRED,
        pb.DECISION_REASON_NO_POLICY_IN_FORCE,
        pb.DECISION_REASON_HISTORY_CUT,
        pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE,
        pb.DECISION_REASON_CLEARANCE_NOT_RECORDED,
        *POSITIVE_REASONS,
    }
)


def _without_channels(decision: Decision) -> Decision:
    considered = tuple(
        one._replace(subject=one.subject._replace(channel=1)) if isinstance(one.subject, Evidence) else one
        for one in decision.considered
    )
    return decision._replace(considered=considered)


@given(worlds, st.lists(st.integers(1, 7), min_size=3, max_size=3))
def test_channel_never_changes_the_decision(inputs: Inputs, channels: list[int]) -> None:
    """Shown on paper, on a screen or by an app: all but the echoed channel is the same."""
    shown = tuple(one._replace(channel=channel) for one, channel in zip(inputs.evidence, channels, strict=False))
    assert _without_channels(decide(inputs._replace(evidence=shown))) == _without_channels(decide(inputs))


def test_no_place_of_sampling_can_enter_a_decision() -> None:
    """The place of testing cannot change the outcome, because it is no input of a decision."""
    fields = set(Record._fields) | set(Evidence._fields) | set(Inputs._fields)
    assert not {name for name in fields if "region" in name or "site" in name or "place" in name}


@given(worlds, st.randoms(use_true_random=False))
def test_order_of_inputs_is_without_effect(inputs: Inputs, random: Random) -> None:
    """Records, evidence and sources in any order: the same answer, bit for bit."""
    records, sources = list(inputs.records), list(inputs.sources)
    pairs = list(zip(inputs.evidence, inputs.claims, strict=True))
    for some in (records, sources, pairs):
        random.shuffle(some)
    other = inputs._replace(
        records=tuple(records),
        sources=tuple(sources),
        evidence=tuple(one for one, _ in pairs),
        claims=tuple(claim for _, claim in pairs),
    )
    said, said_again = decision_to_proto(decide(inputs), inputs), decision_to_proto(decide(other), other)
    assert said.SerializeToString(deterministic=True) == said_again.SerializeToString(deterministic=True)


@given(worlds)
def test_replayed_records_change_nothing(inputs: Inputs) -> None:
    """A record that is returned twice counts once."""
    assert decide(inputs._replace(records=inputs.records * 2)) == decide(inputs)


@given(worlds.filter(lambda inputs: decide(inputs).outcome == RECOGNIZED), st.integers(0, 15))
def test_one_more_valid_negative_never_harms(inputs: Inputs, hours: int) -> None:
    """If a further valid negative is recorded, a recognised holder stays recognised, and not for a shorter time."""
    before = decide(inputs)
    more = _negative("MORE", min(inputs.use_time, NOON) - hours * HOUR)
    after = decide(inputs._replace(records=(*inputs.records, more)))
    assert after.outcome == RECOGNIZED
    assert after.expire_time is not None
    assert before.expire_time is not None
    assert after.expire_time >= before.expire_time


@given(st.integers(0, 47), st.integers(0, 47), st.integers(0, 59))
def test_an_upload_never_lengthens_an_issued_report(hours: int, later: int, second: int) -> None:
    """A report recognised on paper and uploaded at any later time expires when it did before, to the second."""
    report_time = NOON - 47 * HOUR + second * SECOND
    shown = Evidence(7, LABS[0], "R1", NEGATIVE, report_time - HOUR, report_time)
    claim = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, AUTHORIZED)
    on_paper = decide(Inputs(NOON, NOON, VENUE, (), (shown,), (claim,), ANSWERED))
    record = _negative("R1", report_time)
    found = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, record, AUTHORIZED)
    uploaded = decide(Inputs(NOON, NOON, VENUE, (record,), (shown,), (found,), ANSWERED))
    assert on_paper.outcome == uploaded.outcome == RECOGNIZED
    assert on_paper.expire_time == uploaded.expire_time
    assert (on_paper.basis, uploaded.basis) == (pb.DECISION_BASIS_PRESENTED, pb.DECISION_BASIS_RECORD)


@given(
    worlds.filter(lambda inputs: any(_counts_at_all(one) for one in inputs.records)),
    st.randoms(use_true_random=False),
    st.sampled_from((1, 3)),
)
def test_a_correction_never_lengthens_an_issued_report(inputs: Inputs, random: Random, state: int) -> None:
    """A new revision that keeps the report time, whatever else it says, does not make that report count for longer."""
    old = random.choice([one for one in inputs.records if _counts_at_all(one)])
    inputs = inputs._replace(records=tuple(one for one in inputs.records if one.name != old.name or one == old))
    inputs = inputs._replace(evidence=(), claims=())
    corrected = old._replace(revision=old.revision + 1, state=state)  # type: ignore[arg-type]

    def end(decision: Decision) -> int | None:
        return next(
            one.expire_time
            for one in decision.considered
            if isinstance(one.subject, Record) and one.subject.name == old.name
        )

    before, after = decide(inputs), decide(inputs._replace(records=(*inputs.records, corrected)))
    assert end(after) in (end(before), None)


def _with_reports_to_come(inputs: Inputs, outcome: int) -> Inputs:
    """The same world when the reports of all its sampling records have arrived, issued after the time of use."""
    issued = inputs.issued_until + 1
    reported = [
        record._replace(revision=9, outcome=outcome, test_time=None, report_time=max(issued, record.sample_time))
        for record in inputs.records
        if record.outcome == PENDING and record.state == ACTIVE
    ]
    return inputs._replace(records=(*inputs.records, *reported))  # type: ignore[arg-type]


def _with_sampling(inputs: Inputs, hours: int) -> Inputs:
    """The same world, not asked about a time to come, with one revision of each record and one more of a sampling."""
    sampled = _negative("SAMPLED", NOON - (hours - 1) * HOUR)._replace(outcome=PENDING, report_time=None)
    records = {record.name: record for record in (*inputs.records, sampled)}
    use_time = min(inputs.use_time, inputs.evaluate_time)
    return inputs._replace(use_time=use_time, records=tuple(records.values()), evidence=(), claims=())


sampled_worlds = st.builds(_with_sampling, worlds, st.integers(0, 50))


@given(sampled_worlds, st.sampled_from((NEGATIVE, INCONCLUSIVE)))
def test_a_report_to_come_takes_nothing_from_its_sampling_record(inputs: Inputs, outcome: int) -> None:
    """A report that is issued only after the time of use changes nothing of the decision for that time."""
    before, after = decide(inputs), decide(_with_reports_to_come(inputs, outcome))
    assert (before.outcome, before.reason, before.expire_time) == (after.outcome, after.reason, after.expire_time)
    assert before.refusal_permitted == after.refusal_permitted


@given(sampled_worlds, st.sampled_from((POSITIVE, POOL_POSITIVE)))
def test_a_future_positive_never_admits_the_holder(inputs: Inputs, outcome: int) -> None:
    """A sampling record whose positive has arrived is used for nothing, though the report is issued only later."""
    decision = decide(_with_reports_to_come(inputs, outcome))
    used = [one.subject for one in decision.considered if one.use == pb.EVIDENCE_USE_USED]
    assert not [one for one in used if isinstance(one, Record) and one.revision == 9]


@given(worlds)
def test_no_holder_is_refused_because_a_source_is_unavailable(inputs: Inputs) -> None:
    """If a source is unavailable, no decision is NOT_RECOGNIZED, except for a recorded positive."""
    away = inputs._replace(sources=(SourceStatus(RESULTS, lookup_pb2.SOURCE_STATE_UNAVAILABLE, None),))
    decision = decide(away)
    if decision.outcome == pb.DECISION_OUTCOME_NOT_RECOGNIZED:
        assert decision.reason in (pb.DECISION_REASON_POSITIVE_RESULT, pb.DECISION_REASON_PENDING_RECHECK)


@given(
    worlds,
    st.sampled_from((SOURCE_UNAVAILABLE, lookup_pb2.SOURCE_STATE_NOT_CONFIGURED)),
    st.sampled_from(("110000", "220000", "000000")),
)
def test_an_unavailable_province_is_no_reason_against_the_holder(inputs: Inputs, state: int, region: str) -> None:
    """With one more source without an answer (the nation, or a province behind it) there is no lack and no refusal."""
    away = SourceStatus(f"nodes/{region}/results", state, None)  # type: ignore[arg-type]
    others = tuple(source for source in inputs.sources if source.source != away.source)
    before, after = decide(inputs._replace(sources=others)), decide(inputs._replace(sources=(*others, away)))
    same = (after.outcome, after.reason) == (before.outcome, before.reason)
    if inputs.elsewhere is None and before.reason in _DECIDED_WHOEVER_IS_AWAY:
        assert same
    elif not (same and before.reason in _DECIDED_WHOEVER_IS_AWAY):
        # If the origin is unknown, the policy for the other one may now be the better one for the holder.
        assert after.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
        assert not after.refusal_permitted
        assert after.gate.action in (pb.GATE_ACTION_ASK_AGAIN, pb.GATE_ACTION_LET_IN)
        assert away.source in [next_step.source for next_step in after.next_steps]
    assert away in after.sources


@given(worlds)
def test_a_nation_that_is_named_as_not_asked_is_one_that_was_not_asked(inputs: Inputs) -> None:
    """The name of the nation among the sources changes nothing else."""
    others = tuple(source for source in inputs.sources if source.source != NATIONAL_RESULTS)
    named = (*others, SourceStatus(NATIONAL_RESULTS, lookup_pb2.SOURCE_STATE_NOT_ASKED, None))
    before, after = decide(inputs._replace(sources=others)), decide(inputs._replace(sources=named))
    assert after._replace(sources=()) == before._replace(sources=())


@given(worlds)
def test_refusal_is_permitted_only_by_a_rule_that_permits_it(inputs: Inputs) -> None:
    """refusal_permitted needs NOT_RECOGNIZED, and that the rule which was applied permits it."""
    decision = decide(inputs)
    if decision.refusal_permitted:
        assert decision.outcome == NOT_RECOGNIZED
        assert decision.policy is not None
        assert decision.policy.required is not None
        assert decision.policy.required.refusal_permitted
    assert (decision.gate.action == pb.GATE_ACTION_MAY_BE_REFUSED) == decision.refusal_permitted


@given(worlds)
def test_no_lack_without_the_answer_of_the_nation(inputs: Inputs) -> None:
    """Except for a recorded positive, NOT_RECOGNIZED needs the nation's answer and those of all other sources."""
    decision = decide(inputs)
    if decision.outcome == NOT_RECOGNIZED and decision.reason not in POSITIVE_REASONS:
        assert (NATIONAL_RESULTS, SOURCE_OK) in [one[:2] for one in inputs.sources]
        assert not {one.state for one in inputs.sources} & {2, 3}


@given(worlds)
def test_local_never_permits_refusal(inputs: Inputs) -> None:
    """If the nation was not asked, refusal is not permitted, not even for a positive."""
    local = tuple(one for one in inputs.sources if one.source != NATIONAL_RESULTS)
    assert not decide(inputs._replace(sources=local)).refusal_permitted


@given(worlds)
def test_no_refusal_on_a_ground_that_is_forbidden(inputs: Inputs) -> None:
    """A decision never permits a refusal that it forbids, for a positive or for a lack, whatever else is weighed."""
    decision = decide(inputs)
    if not decision.refusal_permitted or decision.policy is None:
        return
    uses = {one.use for one in decision.considered}
    grounds = {refusal_ground_pb2.REFUSAL_GROUND_POSITIVE_RESULT}
    if decision.reason not in POSITIVE_REASONS:
        grounds = {refusal_ground_pb2.REFUSAL_GROUND_NO_PROOF}
        if pb.EVIDENCE_USE_EXPIRED in uses:
            grounds.add(refusal_ground_pb2.REFUSAL_GROUND_EXPIRED)
        if uses & {pb.EVIDENCE_USE_CONTRADICTS_RECORD, pb.EVIDENCE_USE_DENIED_BY_LAB}:
            grounds.add(refusal_ground_pb2.REFUSAL_GROUND_SUSPECTED_FORGERY)
    assert not grounds & set(decision.policy.forbidden_grounds)
    if inputs.elsewhere is not None and inputs.policy is not None:
        assert not grounds & {*inputs.policy.forbidden_grounds, *inputs.elsewhere.forbidden_grounds}


@given(worlds.filter(lambda inputs: inputs.elsewhere is not None))
def test_not_knowing_the_origin_is_never_worse_than_knowing_it(inputs: Inputs) -> None:
    """Compared are outcome, expiry and refusal, for people of either class. The answer says whose rule was applied."""
    unknown = decide(inputs)
    same = decide(inputs._replace(elsewhere=None))
    other = decide(inputs._replace(policy=inputs.elsewhere, elsewhere=None))
    assert favour(unknown) <= min(favour(same), favour(other))
    assert unknown.policy is not None
    assert unknown.assumed_origin in (2, 3)
    applied = inputs.policy if unknown.assumed_origin == 2 else inputs.elsewhere
    assert applied is not None
    assert unknown.policy.governing == applied.governing
    assert inputs.policy is not None
    assert inputs.elsewhere is not None
    both = {*inputs.policy.forbidden_grounds, *inputs.elsewhere.forbidden_grounds}
    assert set(unknown.policy.forbidden_grounds) == both


def test_the_better_rule_is_known_only_with_the_records() -> None:
    """A longer window is better for one report, and a rule that takes sampling records for another."""
    longer = VENUE._replace(required=RULE._replace(window=RULE.window._replace(duration=72 * HOUR)))
    sampling = VENUE._replace(governing="s", required=RULE._replace(sampling_proof_window=24 * HOUR))
    old = _negative("OLD", NOON - 60 * HOUR)
    sampled = _negative("S", NOON - HOUR)._replace(outcome=PENDING, report_time=None)
    for record, origin in ((old, 2), (sampled, 3)):
        decision = decide(Inputs(NOON, NOON, longer, (record,), (), (), ANSWERED, sampling))
        assert (decision.reason, decision.assumed_origin) == (pb.DECISION_REASON_VALID, origin)


@given(worlds)
def test_an_unavailable_source_is_never_worse(inputs: Inputs) -> None:
    """The records being the same, an answer that did not come changes the decision in the holder's favour alone."""
    heard = tuple(one._replace(state=SOURCE_OK) for one in inputs.sources)
    for index in range(len(heard)):
        lost = tuple(
            one._replace(state=SOURCE_UNAVAILABLE) if place == index else one for place, one in enumerate(heard)
        )
        before, after = decide(inputs._replace(sources=heard)), decide(inputs._replace(sources=lost))
        assert favour(after) <= favour(before)


@given(worlds, st.sets(st.integers(0, 5)))
def test_scope_unset_is_never_worse_than_nationwide_nor_than_own_records(inputs: Inputs, here: set[int]) -> None:
    """Compared with NATIONWIDE: outcome and refusal. Compared with own records that recognise: expiry too."""
    nationwide = inputs._replace(own_records_alone=False)
    own = tuple(record for index, record in enumerate(inputs.records) if index in here)
    local_sources = tuple(one for one in inputs.sources if one.source != NATIONAL_RESULTS)
    local = inputs._replace(records=own, sources=local_sources, own_records_alone=True)
    first = decide(local)
    enough = first.outcome in (RECOGNIZED, pb.DECISION_OUTCOME_NOT_REQUIRED)
    unset, whole = first if enough else decide(nationwide), decide(nationwide)
    assert favour(unset)[0] <= favour(whole)[0]
    assert not unset.refusal_permitted or whole.refusal_permitted
    alone = decide(local._replace(evidence=(), claims=(), own_records_alone=False))
    if alone.outcome == RECOGNIZED:
        assert favour(unset) <= favour(alone)


@given(worlds)
def test_evidence_beside_own_records_only_explains(inputs: Inputs) -> None:
    """If the node's own records are to suffice, evidence changes neither the outcome nor the expiry."""
    shown = decide(inputs._replace(own_records_alone=True))
    bare = decide(inputs._replace(own_records_alone=True, evidence=(), claims=()))
    if bare.outcome in (RECOGNIZED, pb.DECISION_OUTCOME_NOT_REQUIRED) or shown.outcome == RECOGNIZED:
        assert (shown.outcome, shown.expire_time, shown.result) == (bare.outcome, bare.expire_time, bare.result)


@given(worlds, worlds)
def test_favour_is_a_total_preorder(one: Inputs, other: Inputs) -> None:
    """For two decisions, one is at least as good as the other, in whatever order they are compared."""
    pair = decide(one), decide(other)
    best = best_for_holder(pair)
    assert favour(best) == favour(best_for_holder(pair[::-1])) == min(favour(pair[0]), favour(pair[1]))


@given(worlds)
def test_everything_weighed_is_explained(inputs: Inputs) -> None:
    """Each record once, each piece of evidence once, each with a use."""
    decision = decide(inputs)
    names = [one.subject.name for one in decision.considered if isinstance(one.subject, Record)]
    assert len(names) == len(set(names))
    assert len(decision.considered) == len(names) + len(inputs.evidence)
    assert all(one.use != pb.EVIDENCE_USE_UNSPECIFIED for one in decision.considered)
    used = [one for one in decision.considered if one.use == pb.EVIDENCE_USE_USED]
    assert len(used) == (decision.outcome == RECOGNIZED)


@given(worlds, st.integers(0, 2**32))
def test_what_is_of_another_item_changes_nothing(inputs: Inputs, seed: int) -> None:
    """A hepatitis test, recorded or shown, is explained and has no effect, whatever items the policies name."""
    random = Random(seed)
    more = [random_record(random, number)._replace(item=HEPATITIS) for number in (30, 31)]
    shown = Evidence(7, LABS[0], "X", random.choice((NEGATIVE, POSITIVE, PENDING)), NOON - HOUR, NOON, HEPATITIS)
    without = decide(inputs)
    with_others = decide(
        inputs._replace(
            records=(*inputs.records, *more),
            evidence=(*inputs.evidence, shown),
            claims=(*inputs.claims, NOT_LOOKED_UP),
        )
    )
    added = [one for one in with_others.considered if one.subject in (*more, shown)]
    assert {one.use for one in added} <= {pb.EVIDENCE_USE_OTHER_ITEM, pb.EVIDENCE_USE_NOT_NEEDED}
    assert with_others._replace(considered=()) == without._replace(considered=())


def test_evidence_of_a_report_of_another_item_has_its_items_use() -> None:
    """Shown as a nucleic-acid result while its record is an antigen test, it neither counts nor contradicts."""
    shown = Evidence(7, LABS[0], "R", NEGATIVE, NOON - HOUR, NOON)
    found = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM, None, AUTHORIZED)
    decision = decide(Inputs(NOON, NOON, VENUE, (), (shown,), (found,), ANSWERED))
    assert (decision.reason, decision.next_steps) == (pb.DECISION_REASON_NO_RESULT, ())
    assert [one.use for one in decision.considered] == [pb.EVIDENCE_USE_OTHER_ITEM]


@given(worlds)
def test_an_unknown_laboratory_is_no_reason_against_the_holder(inputs: Inputs) -> None:
    """A laboratory of no known standing counts as one that is authorised."""
    unknown, known = (
        inputs._replace(
            records=tuple(one._replace(lab_standing=standing) for one in inputs.records),
            claims=tuple(
                one._replace(
                    lab_standing=standing,
                    record=None if one.record is None else one.record._replace(lab_standing=standing),
                )
                for one in inputs.claims
            ),
        )
        for standing in (lab_pb2.LAB_STANDING_UNSPECIFIED, AUTHORIZED)
    )
    one, other = decide(unknown), decide(known)
    assert (one.outcome, one.reason, one.expire_time) == (other.outcome, other.reason, other.expire_time)


@given(worlds, st.integers(0, 2**32))
def test_a_floor_never_makes_a_decision_worse(inputs: Inputs, seed: int) -> None:
    """A further shortest window, lift or forbidden ground makes neither the decision nor its expiry worse."""
    if inputs.policy is None:
        return
    random = Random(seed)
    policy = inputs.policy
    better = [policy._replace(forbidden_grounds=(*policy.forbidden_grounds, random.choice((6, 7, 8, 9))))]
    better.append(policy._replace(is_lifted=True, required=None))
    if policy.required is not None:
        windows = [*policy.required.shortest_windows, random_shortest(random)]
        better.append(policy._replace(required=policy.required._replace(shortest_windows=tuple(windows))))
    for one in better:
        assert favour(decide(inputs._replace(policy=one))) <= favour(decide(inputs))


@given(worlds, st.integers(0, 2**32))
def test_a_floor_that_counts_from_the_report_never_makes_a_decision_worse(inputs: Inputs, seed: int) -> None:
    """The law is about records. Each has a report time, which is never before its sample time."""
    if inputs.policy is None or inputs.policy.required is None:
        return
    inputs = inputs._replace(evidence=(), claims=())
    required = inputs.policy.required
    replaced = required._replace(window=required.window._replace(basis=REPORT_TIME))
    bound = inputs.policy._replace(required=replaced)
    assert favour(decide(inputs._replace(policy=bound))) <= favour(decide(inputs))


@given(worlds.filter(lambda inputs: inputs.policy is not None), st.booleans())
def test_nothing_is_asked_where_a_floor_lifts(inputs: Inputs, governs: bool) -> None:
    """The floor lifts whether or not a policy governs, and the decision names the floor."""
    assert inputs.policy is not None
    lifted = inputs.policy._replace(is_lifted=True, required=None, governing="p" if governs else "", floor="lift")
    decision = decide(inputs._replace(policy=lifted, elsewhere=None))
    assert (decision.outcome, decision.gate.action) == (pb.DECISION_OUTCOME_NOT_REQUIRED, pb.GATE_ACTION_LET_IN)
    assert decision.policy is not None
    assert decision.policy.floor == "lift"


@given(worlds, st.randoms(use_true_random=False))
def test_order_of_shortest_windows_is_without_effect(inputs: Inputs, random: Random) -> None:
    """Two count as the later of both, in any order."""
    if inputs.policy is None or inputs.policy.required is None:
        return
    windows = [random_shortest(random), random_shortest(random)]
    one, other = (
        decide(
            inputs._replace(
                policy=inputs.policy._replace(required=inputs.policy.required._replace(shortest_windows=tuple(order)))
            )
        )
        for order in (windows, windows[::-1])
    )
    assert one._replace(policy=None) == other._replace(policy=None)


def test_evidence_alone_does_not_clear_a_recorded_positive() -> None:
    """A later negative on paper leaves a recorded positive standing, as a case; recorded, it clears it."""
    positive = _negative("P", NOON - 30 * HOUR, outcome=POSITIVE)
    shown = Evidence(7, LABS[1], "N", NEGATIVE, NOON - 6 * HOUR, NOON - 2 * HOUR)
    claim = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, AUTHORIZED)
    on_paper = decide(Inputs(NOON, NOON, VENUE, (positive,), (shown,), (claim,), ANSWERED))
    assert on_paper.reason == pb.DECISION_REASON_CLEARANCE_NOT_RECORDED
    recorded = decide(Inputs(NOON, NOON, VENUE, (positive, _negative("N", NOON - 2 * HOUR)), (), (), ANSWERED))
    assert recorded.reason == pb.DECISION_REASON_VALID


@pytest.mark.parametrize("retention_start_time", [None, NOON - HOUR])
def test_no_laboratory_is_asked_to_upload_what_retention_has_removed(retention_start_time: int | None) -> None:
    """Evidence from before the horizon counts as any other, but its laboratory would be refused."""
    shown = Evidence(7, LABS[1], "N", NEGATIVE, NOON - 6 * HOUR, NOON - 2 * HOUR)
    claim = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, AUTHORIZED, retention_start_time)
    decision = decide(Inputs(NOON, NOON, VENUE, (), (shown,), (claim,), ANSWERED))
    assert decision.reason == pb.DECISION_REASON_VALID
    assert [next_step.report_number for next_step in decision.next_steps] == ([] if retention_start_time else ["N"])


@pytest.mark.parametrize(
    ("ahead", "asked_before", "reason"),
    [
        (CLOCK_SKEW, 0, pb.DECISION_REASON_VALID),
        (CLOCK_SKEW + 1, 0, pb.DECISION_REASON_NOT_YET_REPORTED),
        (1, 1, pb.DECISION_REASON_NOT_YET_REPORTED),
    ],
)
def test_a_clock_a_minute_ahead_turns_no_decision_about_now(
    ahead: int, asked_before: int, reason: pb.DecisionReason.ValueType
) -> None:
    """A report that is here was issued, though by another clock only in a minute; of another time it is exact."""
    record = _negative("R", NOON + ahead, sample_time=NOON - HOUR)
    assert decide(Inputs(NOON - asked_before, NOON, VENUE, (record,), (), (), ANSWERED)).reason == reason


@pytest.mark.parametrize("outcome", [NEGATIVE, INCONCLUSIVE])
@pytest.mark.parametrize("proof_window", [24 * HOUR, None])
def test_a_sampling_proof_in_hand_outlives_its_report_to_come(outcome: int, proof_window: int | None) -> None:
    """Shown again after the report came four minutes ahead of our clock, it counts as before through its record."""
    policy = VENUE._replace(required=RULE._replace(sampling_proof_window=proof_window))
    record = _negative("R", NOON + 4 * MINUTE, sample_time=NOON - 5 * HOUR, outcome=outcome)
    shown = Evidence(7, LABS[0], "R", PENDING, NOON - 5 * HOUR, None)
    claim = Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, record, AUTHORIZED)
    decision = decide(Inputs(NOON, NOON, policy, (record,), (shown,), (claim,), ANSWERED))
    if proof_window is None:
        assert decision.reason == pb.DECISION_REASON_NOT_YET_REPORTED
        return
    assert (decision.reason, decision.basis) == (pb.DECISION_REASON_VALID, pb.DECISION_BASIS_RECORD)
    assert decision.expire_time == NOON + 19 * HOUR
    assert [one.use for one in decision.considered] == [pb.EVIDENCE_USE_USED, pb.EVIDENCE_USE_SAME_AS_RECORD]


def test_items_begin_usable() -> None:
    """An item without a verdict is one that may still count."""
    assert Weighed(_negative("R", NOON), pb.EVIDENCE_USE_UNSPECIFIED).sample_time == NOON - HOUR
