"""Named cases: one for each reason, use and kind of rule, as they happen at a gate."""

from __future__ import annotations

from hutong.policy.v1 import policy_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import DAY, HOUR, MINUTE
from tests.support.golden.messages import (
    ANTIGEN,
    AWAY,
    FOUND,
    HOURS_48,
    INCONCLUSIVE,
    LABS,
    NOON,
    NOT_FOUND,
    OTHER_ITEM,
    OTHER_PERSON,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    RECALLED,
    SUSPENDED,
    make_claim,
    make_floor,
    make_inputs,
    make_paper,
    make_policy,
    make_record,
    make_sources,
    make_window,
)

RULE = make_policy(HOURS_48)
WITH_PROOF = make_policy(HOURS_48, proof=24 * HOUR)
FRESH = make_record("FRESH", NOON - 7 * HOUR, NOON - 3 * HOUR)
STALE = make_record("STALE", NOON - 60 * HOUR, NOON - 50 * HOUR)
POSITIVE_RECORD = make_record("POS", NOON - 30 * HOUR, NOON - 26 * HOUR, POSITIVE)
LOCAL = make_sources(nation=None)
RESULTS_AWAY = make_sources(results=AWAY, nation=None)


def _stories() -> dict[str, decision_pb2.DecisionInputs]:
    at_the_end = make_record("EDGE", NOON - 50 * HOUR, NOON - 48 * HOUR)
    sampled = make_record("SAMPLED", NOON - 5 * HOUR, None, PENDING)
    elsewhere = make_record("FAR", NOON - 9 * HOUR, NOON - 4 * HOUR, lab=LABS[1])
    paper = make_paper("PAPER", NOON - 7 * HOUR, NOON - 3 * HOUR)
    edited = make_paper("STALE", NOON - 60 * HOUR, NOON - 3 * HOUR)
    longer = make_policy(make_window(72 * HOUR), region="410000")
    return {
        "a recorded negative inside 48 hours": make_inputs(RULE, [FRESH]),
        "the newer of two negatives expires last": make_inputs(RULE, [FRESH, STALE, elsewhere]),
        "the end of the window is not inside it": make_inputs(RULE, [at_the_end]),
        "the end of the window with its boundary": make_inputs(
            make_policy(make_window(48 * HOUR, boundary=True)), [at_the_end]
        ),
        "three calendar days from sampling": make_inputs(make_policy(make_window(days=3, basis=2)), [STALE]),
        "an expired negative": make_inputs(RULE, [STALE]),
        "an expired negative where EXPIRED is forbidden": make_inputs(
            make_policy(HOURS_48, forbidden=(1, 2, 6)), [STALE]
        ),
        "nothing at all": make_inputs(RULE),
        "nothing at all where NO_PROOF is forbidden": make_inputs(make_policy(HOURS_48, forbidden=(1, 2, 9))),
        "nothing at all where nobody may be refused": make_inputs(make_policy(HOURS_48, refuse=False)),
        "a positive that a later negative has cleared": make_inputs(RULE, [FRESH, POSITIVE_RECORD]),
        "a positive that no later negative has cleared": make_inputs(RULE, [STALE, POSITIVE_RECORD]),
        "a positive at a node that was asked alone": make_inputs(RULE, [POSITIVE_RECORD], sources=LOCAL),
        "a positive pool": make_inputs(RULE, [make_record("POOL", NOON - 9 * HOUR, NOON - 5 * HOUR, POOL_POSITIVE)]),
        "a later negative on paper against a recorded positive": make_inputs(
            RULE, [POSITIVE_RECORD], [(paper, make_claim(NOT_FOUND))]
        ),
        "a positive that is only shown": make_inputs(
            RULE, [FRESH], [(make_paper("SHOWN", NOON - 7 * HOUR, NOON - HOUR, POSITIVE), make_claim(NOT_FOUND))]
        ),
        "a recalled negative": make_inputs(RULE, [make_record("GONE", NOON - 9 * HOUR, NOON - HOUR, state=RECALLED)]),
        "a laboratory that was suspended": make_inputs(
            RULE, [make_record("RED", NOON - 9 * HOUR, NOON - HOUR, lab_standing=SUSPENDED)]
        ),
        "an inconclusive result": make_inputs(RULE, [make_record("INC", NOON - 9 * HOUR, NOON - HOUR, INCONCLUSIVE)]),
        "a sampling record where none is accepted": make_inputs(RULE, [sampled]),
        "a sampling record inside 24 hours": make_inputs(WITH_PROOF, [sampled]),
        "a report that is issued after the time of use": make_inputs(
            RULE, [make_record("LATER", NOON - 30 * HOUR, NOON - HOUR)], use=NOON - DAY
        ),
        "times out of order": make_inputs(RULE, [make_record("ORDER", NOON - HOUR, NOON - 2 * HOUR)]),
        "a report time six minutes ahead": make_inputs(RULE, [make_record("AHEAD", NOON - HOUR, NOON + 6 * MINUTE)]),
        "paper without a record": make_inputs(RULE, [], [(paper, make_claim(NOT_FOUND))]),
        "paper that equals its record": make_inputs(
            RULE, [FRESH], [(make_paper("FRESH", NOON - 7 * HOUR, NOON - 3 * HOUR), make_claim(FOUND, FRESH))]
        ),
        "paper with an edited time": make_inputs(RULE, [STALE], [(edited, make_claim(FOUND, STALE))]),
        "paper of another person": make_inputs(RULE, [], [(paper, make_claim(OTHER_PERSON))]),
        "paper with an edited time where forgery is no ground": make_inputs(
            make_policy(HOURS_48, forbidden=(1, 2, 8)), [STALE], [(edited, make_claim(FOUND, STALE))]
        ),
        "paper that brings a record to light": make_inputs(
            RULE, [], [(make_paper("FRESH", NOON - 7 * HOUR, None), make_claim(FOUND, FRESH))]
        ),
        "paper without a laboratory": make_inputs(
            RULE, [], [(make_paper("PAPER", NOON - 7 * HOUR, NOON - HOUR, lab=""), make_claim(0))]
        ),
        "paper without any time": make_inputs(RULE, [], [(make_paper("PAPER", None, None), make_claim(NOT_FOUND))]),
        "an antigen test among records": make_inputs(
            RULE, [make_record("AG", NOON - 2 * HOUR, NOON - HOUR, item=ANTIGEN)]
        ),
        "an antigen test on paper": make_inputs(
            RULE, [], [(make_paper("AG", NOON - 2 * HOUR, NOON - HOUR, item=ANTIGEN), make_claim(OTHER_ITEM))]
        ),
        "nothing is asked": make_inputs(make_policy(), [FRESH]),
        "a floor lifts what is asked": make_inputs(make_policy(HOURS_48, lifted=True), [STALE]),
        "a floor of 72 hours": make_inputs(make_policy(HOURS_48, floors=[make_floor(72 * HOUR)]), [STALE]),
        "a floor of three calendar days": make_inputs(make_policy(HOURS_48, floors=[make_floor(days=3)]), [STALE]),
        "the later of two floors": make_inputs(
            make_policy(HOURS_48, floors=[make_floor(50 * HOUR, boundary=True), make_floor(49 * HOUR)]), [STALE]
        ),
        "no policy in force": make_inputs(_without_policy(), [FRESH]),
        "Policy does not answer": make_inputs(None, [FRESH], sources=make_sources(policy=AWAY)),
        "Results does not answer": make_inputs(RULE, sources=RESULTS_AWAY),
        "Results does not answer and paper is shown": make_inputs(
            RULE, [], [(paper, make_claim(0))], sources=RESULTS_AWAY
        ),
        "the nation does not answer": make_inputs(RULE, [STALE], sources=make_sources(nation=AWAY)),
        "the nation was not asked": make_inputs(RULE, [STALE], sources=LOCAL),
        "the history was cut": make_inputs(RULE, [STALE], use=NOON - DAY, history_cut=True),
        "own records alone": make_inputs(
            RULE, [FRESH], [(paper, make_claim(NOT_FOUND))], sources=LOCAL, own_records_alone=True
        ),
        "own records alone do not suffice": make_inputs(
            RULE, [STALE], [(paper, make_claim(NOT_FOUND))], sources=LOCAL, own_records_alone=True
        ),
        "an unknown origin and the longer window elsewhere": make_inputs(RULE, [STALE], elsewhere=longer),
        "an unknown origin and sampling records here": make_inputs(WITH_PROOF, [sampled], elsewhere=longer),
        "an unknown origin and nothing at all": make_inputs(
            make_policy(HOURS_48, refuse=False), elsewhere=make_policy(HOURS_48, region="410000", forbidden=(9,))
        ),
    }


def _without_policy() -> policy_pb2.EffectivePolicy:
    policy = make_policy(HOURS_48)
    policy.ClearField("governing")
    policy.ClearField("requirement")
    return policy


STORIES = _stories()
