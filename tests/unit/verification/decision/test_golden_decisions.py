"""Golden decisions: nothing changes what the rules decide of stored inputs, unless their version says so."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseError
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1.verification_service_pb2 import ReplayComparison

from services.domain.instant import from_timestamp
from services.domain.names import format_decision
from services.runtime.ids import uuid7
from services.storage.engine import open_database
from services.verification.decision.decide import RULES_VERSION
from services.verification.stored_decisions.store import DecisionStore, KeptAnswer, StoredDecision
from services.verification.verify.replay import replay
from tests.support.databases import MakeUrl
from tests.support.golden.corpus import SIZE, Case, features, make_decision, missing_values, read_corpus

WHAT_TO_DO = """
The rules decide other than before of {count} of {all} golden inputs, such as "{name}":
  before: {before}
  now:    {now}
If this is meant: raise RULES_VERSION in services/verification/decision/decide.py, run
  make golden
and explain in the commit what it prints. Otherwise the change is a mistake.
"""


@pytest.fixture(scope="module")
def corpus() -> tuple[dict[str, Any], list[Case]]:
    try:
        return read_corpus()
    except ParseError as error:
        pytest.fail(f"{error}\nA name has changed since the corpus was made: run make golden", pytrace=False)


def _in_short(decision: pb.Decision) -> str:
    return str(decision).replace("\n", " ")[:1500]


def test_golden_inputs_are_decided_as_before(corpus: tuple[dict[str, Any], list[Case]]) -> None:
    """Decisions are equal bit for bit, with everything that explains them."""
    about, cases = corpus
    changed = [case for case in cases if make_decision(case.inputs) != case.decision]
    if changed:
        first = changed[0]
        words = {"count": len(changed), "all": len(cases), "name": first.name}
        now = make_decision(first.inputs)
        pytest.fail(WHAT_TO_DO.format(**words, before=_in_short(first.decision), now=_in_short(now)), pytrace=False)
    assert about["rules_version"] == RULES_VERSION, "run make golden: the version was raised"


def test_the_corpus_covers_every_reason_and_use(corpus: tuple[dict[str, Any], list[Case]]) -> None:
    """The corpus itself names the reasons and uses that these rules never give."""
    about, cases = corpus
    assert len(cases) == about["cases"] >= SIZE
    assert len({case.name for case in cases}) == len(cases)
    covered = {name for case in cases for name in features(case.inputs, case.decision)}
    assert missing_values(covered) == about["not_covered"]
    assert {"lift", "floor by duration", "floor by calendar_days", "origin 2", "origin 3"} <= covered
    assert {case.inputs.history_cut for case in cases} == {False, True}


async def test_a_replay_of_the_corpus_is_identical_or_of_other_rules(
    corpus: tuple[dict[str, Any], list[Case]], sqlite_url: MakeUrl
) -> None:
    """Inputs of this version give the stored decision, bit for bit. Those of another version are not compared."""
    _, cases = corpus
    database = open_database(sqlite_url("verification"))
    store = DecisionStore(database)
    expected: dict[str, str] = {}
    rows: list[StoredDecision] = []
    for number, case in enumerate(cases):
        uuid, inputs = uuid7(), pb.DecisionInputs()
        inputs.CopyFrom(case.inputs)
        inputs.rules_version = RULES_VERSION if number % 4 else number % 8 // 4
        decision = make_decision(case.inputs, format_decision(uuid))
        rows.append(
            StoredDecision(
                uuid,
                from_timestamp(inputs.evaluate_time),
                decision.SerializeToString(deterministic=True),
                inputs.SerializeToString(),
            )
        )
        expected[uuid] = "IDENTICAL" if number % 4 else "OTHER_RULES"
    await store.keep_answers([KeptAnswer(row, None) for row in rows])
    for row in rows:
        replayed = await replay(store, row.uuid)
        name = ReplayComparison.Name(replayed.comparison).removeprefix("REPLAY_COMPARISON_")
        assert name == expected[row.uuid]
        assert replayed.decision.SerializeToString(deterministic=True) == row.decision
    database.close()
