"""Random stored inputs from a seed, on small grids, so that boundaries, ties and contradictions are frequent.

Fields that the contract gains are filled where they exist, so that a corpus made after the change has them too.
"""

from __future__ import annotations

from random import Random

from google.protobuf.duration_pb2 import Duration
from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lab_pb2, lookup_pb2, result_pb2
from hutong.verification.v1 import decision_pb2, evidence_pb2

from services.domain.instant import DAY, HOUR, MINUTE, SECOND, Instant, from_timestamp, set_timestamp
from tests.support.golden.messages import (
    ACTIVE,
    ANTIGEN,
    AUTHORIZED,
    AWAY,
    FOUND,
    INCONCLUSIVE,
    LABS,
    NEGATIVE,
    NOON,
    NOT_CONFIGURED,
    NOT_FOUND,
    OK,
    OTHER_ITEM,
    OTHER_PERSON,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    RECALLED,
    has_field,
    make_claim,
    make_floor,
    make_inputs,
    make_paper,
    make_policy,
    make_record,
    make_sources,
    make_window,
)

_OUTCOMES = (NEGATIVE,) * 6 + (POSITIVE, POOL_POSITIVE, PENDING, PENDING, INCONCLUSIVE)
_STATES = (ACTIVE,) * 6 + (RECALLED,)
_STANDINGS = (AUTHORIZED,) * 5 + tuple(lab_pb2.LabStanding.values())
_ITEMS = ("",) * 9 + (ANTIGEN,)
_NOT_COMPARABLE = 5
"""The state of a claim that names no report, in versions of the contract that have it."""
TO_FOLLOW = 2
_Shown = tuple[evidence_pb2.PresentedEvidence, decision_pb2.ClaimedRecord]


def random_inputs(random: Random) -> decision_pb2.DecisionInputs:
    """Return the stored inputs of one decision."""
    records = [_record(random, f"R{number}") for number in range(random.randint(0, 3))]
    records += [_revised(random, record) for record in records if random.random() < 0.2]
    results = OK if random.random() < 0.85 else AWAY
    known = records if results == OK else []
    shown = [_shown(random, records, known, results) for _ in range(random.choice((0, 0, 1, 1, 2)))]
    policy = None if random.random() < 0.03 else random_policy(random)
    return make_inputs(
        policy,
        [record for record in known if random.random() < 0.9],
        shown,
        sources=make_sources(
            results, random.choice((OK,) * 5 + (AWAY, NOT_CONFIGURED, None)), OK if policy is not None else AWAY
        ),
        use=NOON + random.choice((0, 0, 0, -DAY, 6 * HOUR)),
        elsewhere=random_policy(random) if random.random() < 0.3 else None,
        own_records_alone=random.random() < 0.1,
        history_cut=random.random() < 0.05,
    )


def random_policy(random: Random) -> policy_pb2.EffectivePolicy:
    """Return what applies; sometimes nothing is asked, or nothing is in force."""
    window = random.choice(
        (
            make_window(48 * HOUR, boundary=random.random() < 0.5),
            make_window(24 * HOUR, basis=2),
            make_window(days=random.randint(1, 3)),
            make_window(days=2, basis=2),
        )
    )
    floors = [
        make_floor(days * DAY, boundary=random.random() < 0.5) if random.random() < 0.6 else make_floor(days=days)
        for days in random.choices((1, 2, 3), k=random.choice((0, 0, 0, 1, 2)))
    ]
    policy = make_policy(
        None if random.random() < 0.05 else window,
        proof=random.choice((None, 24 * HOUR)),
        refuse=random.random() < 0.6,
        region=random.choice(("410100", "410000")),
        forbidden=(1, 2, *[ground for ground in (6, 7, 8, 9) if random.random() < 0.15]),
        floors=floors,
        lifted=random.random() < 0.04,
    )
    if policy.HasField("test_required"):
        _add_items(random, policy.test_required)
    if random.random() < 0.03:
        policy.ClearField("governing")
        policy.ClearField("test_required")
    return policy


def _add_items(random: Random, required: policy_pb2.TestRequired) -> None:
    """Accept an antigen test too, or list adverse items, where the contract knows items of a policy."""
    if has_field(policy_pb2.TestRequired, "accepted") and random.random() < 0.3:
        required.accepted.add(item="")  # type: ignore[attr-defined]
        antigen = required.accepted.add(item=ANTIGEN)  # type: ignore[attr-defined]
        antigen.window.CopyFrom(make_window(24 * HOUR))
    if has_field(policy_pb2.TestRequired, "adverse_items") and random.random() < 0.3:
        required.adverse_items.extend(random.choice((["", ANTIGEN], [ANTIGEN, ""], [""])))  # type: ignore[attr-defined]
    if has_field(policy_pb2.TestRequired, "adverse_window") and random.random() < 0.3:
        required.adverse_window.CopyFrom(Duration(seconds=24 * HOUR // SECOND))  # type: ignore[attr-defined]


def _record(random: Random, number: str, **fields: object) -> result_pb2.TestResult:
    outcome = random.choice(_OUTCOMES)
    sampled = NOON - random.choice((1, 6, 23, 24, 25, 30, 47, 48, 49, 72, 96)) * HOUR
    sampled += random.choice((0, 0, -SECOND, SECOND, 17 * SECOND))
    reported = sampled + random.choice((0, 1, 4, 6, 24)) * HOUR + random.choice((0, 0, SECOND, 42 * SECOND))
    if random.random() < 0.05:
        reported = random.choice((sampled - HOUR, NOON + MINUTE, NOON + 6 * MINUTE, NOON + HOUR))
    lab = random.choice(LABS)
    return make_record(
        number,
        sampled,
        None if outcome == PENDING else reported,
        outcome,
        **{
            "lab": lab,
            "state": random.choice(_STATES),
            "lab_standing": random.choice(_STANDINGS),
            "item": random.choice(_ITEMS),
        }
        | fields,  # type: ignore[arg-type]
    )


def _revised(random: Random, record: result_pb2.TestResult) -> result_pb2.TestResult:
    return _record(random, record.report_number, lab=record.lab, revision=2)


def _shown(
    random: Random, records: list[result_pb2.TestResult], known: list[result_pb2.TestResult], results: int
) -> _Shown:
    """Return evidence of a report, true or altered, and what was found of it."""
    source = random.choice(records) if records and random.random() < 0.6 else _record(random, "X")
    paper = make_paper(
        source.report_number if random.random() < 0.95 else "",
        _altered(random, from_timestamp(source.sample_time)),
        _altered(random, from_timestamp(source.report_time) if source.HasField("report_time") else None),
        source.outcome if random.random() < 0.85 else random.choice(_OUTCOMES),
        channel=random.randint(1, 7),
        lab=source.lab if random.random() < 0.9 else "",
        item=source.item,
    )
    if not paper.lab and has_field(evidence_pb2.PresentedEvidence, "lab_name"):
        paper.lab_name = "郑州检验所"  # type: ignore[attr-defined]
    return paper, _claim(random, paper, known, results)


def _altered(random: Random, instant: Instant | None) -> Instant | None:
    if instant is None or random.random() < 0.15:
        return None
    return instant + random.choice((0, 0, 0, -(instant % MINUTE), 300_000, HOUR, -2 * SECOND))


def _claim(
    random: Random, paper: evidence_pb2.PresentedEvidence, known: list[result_pb2.TestResult], results: int
) -> decision_pb2.ClaimedRecord:
    if results != OK:
        return make_claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_UNSPECIFIED, standing=0)
    standing = random.choice(_STANDINGS)
    of_number = [record for record in known if record.report_number == paper.report_number]
    if not paper.lab or not paper.report_number:
        named = _NOT_COMPARABLE in lookup_pb2.ClaimedReportMatchState.values()
        claim = make_claim(_NOT_COMPARABLE if named else 0, standing=standing)  # type: ignore[arg-type]
        if named and has_field(decision_pb2.ClaimedRecord, "possible_results"):
            claim.possible_results.extend(of_number)  # type: ignore[attr-defined]
        return claim
    mine = [record for record in of_number if record.lab == paper.lab]
    if mine:
        newest = max(mine, key=lambda record: record.revision)
        return make_claim(OTHER_ITEM if newest.item else FOUND, None if newest.item else newest, standing)
    claim = make_claim(random.choice((NOT_FOUND, NOT_FOUND, OTHER_PERSON)), standing=standing)
    if claim.state == NOT_FOUND:
        _add_answer(claim, paper)
    return claim


def _add_answer(claim: decision_pb2.ClaimedRecord, paper: evidence_pb2.PresentedEvidence) -> None:
    """Answer for the laboratory, always the same for one report. The other random numbers stay as they are."""
    random = Random(f"{paper.lab}/{paper.report_number}/{paper.sample_time.seconds}")
    answer = random.choice((0, 0, 1, 2))
    if answer:
        claim.lab_answer.answer = answer  # type: ignore[assignment]
        set_timestamp(claim.lab_answer.answer_time, NOON - HOUR)
    if answer == TO_FOLLOW:
        set_timestamp(claim.lab_answer.expected_time, NOON + 8 * HOUR)
