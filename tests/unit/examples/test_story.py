"""The demo's story: its people, and that a differing decision is found."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import protovalidate
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import next_step_pb2
from hutong.verification.v1 import decision_pb2
from stdnum.cn import uscc

from clients.examples import demo
from clients.examples.story import ANTIGEN, LABS, Expected, Scene, build_scenes

UNTIL = datetime.fromisoformat("2022-08-11T09:00:00+08:00")
EXPECTED = Expected(
    "RECOGNIZED", "VALID", "410000/recognition-from-outside", UNTIL, "PRESENTED", "UPLOAD_REPORT", "SAME_AS_RECORD"
)


def as_expected() -> decision_pb2.Decision:
    """A decision that says all that EXPECTED asks for."""
    return decision_pb2.Decision(
        outcome=decision_pb2.DECISION_OUTCOME_RECOGNIZED,
        reason=decision_pb2.DECISION_REASON_VALID,
        basis=decision_pb2.DECISION_BASIS_PRESENTED,
        governing_policy="jurisdictions/410000/policies/recognition-from-outside@3",
        expire_time=Timestamp(seconds=int(UNTIL.timestamp())),
        next_steps=[next_step_pb2.NextStep(action=next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT)],
        considered=[decision_pb2.Considered(use=decision_pb2.EVIDENCE_USE_SAME_AS_RECORD)],
    )


@pytest.fixture(scope="module")
def story() -> list[Scene]:
    """The scenes, played by people of the committed day."""
    return build_scenes(demo.DAY)


def test_nothing_differs_if_everything_is_as_described() -> None:
    """A decision that says what is expected passes."""
    assert EXPECTED.differences(as_expected()) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"outcome": decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED}, "outcome"),
        ({"reason": decision_pb2.DECISION_REASON_EXPIRED}, "reason"),
        ({"basis": decision_pb2.DECISION_BASIS_RECORD}, "basis"),
        ({"governing_policy": "jurisdictions/410100/policies/venue@1"}, "rule"),
    ],
)
def test_what_differs_is_named(changes: dict[str, object], found: str) -> None:
    """Each field that the story checks is named if it differs."""
    decision = as_expected()
    for field, value in changes.items():
        setattr(decision, field, value)
    (difference,) = EXPECTED.differences(decision)
    assert difference.startswith(found)


@pytest.mark.parametrize("field", ["next_steps", "considered", "expire_time"])
def test_what_is_missing_is_named(field: Literal["next_steps", "considered", "expire_time"]) -> None:
    """A missing follow-up, consideration or end is named too."""
    decision = as_expected()
    decision.ClearField(field)
    assert len(EXPECTED.differences(decision)) == 1


def test_scenes_obey_the_contract(story: list[Scene]) -> None:
    """Each question is one that the service takes, and the laboratories' codes are right."""
    for scene in story:
        protovalidate.validate(scene.request)
    assert all(uscc.is_valid(lab.name.removeprefix("labs/")) for lab in LABS)


def test_story_tells_every_kind_of_answer(story: list[Scene]) -> None:
    """The answers: by record, by paper, expired, another's paper, a positive pool, no result, no rule, no need."""
    told = {(scene.expected.outcome, scene.expected.reason) for scene in story}
    assert told == {
        ("RECOGNIZED", "VALID"),
        ("NOT_RECOGNIZED", "EXPIRED"),
        ("NOT_RECOGNIZED", "EVIDENCE_CONTRADICTS_RECORD"),
        ("NOT_RECOGNIZED", "PENDING_RECHECK"),
        ("NOT_RECOGNIZED", "NO_RESULT"),
        ("UNDETERMINED", "NO_POLICY_IN_FORCE"),
        ("UNDETERMINED", "EVIDENCE_NOT_COMPARABLE"),
        ("NOT_REQUIRED", "NO_TEST_REQUIRED"),
    }
    assert {"PRESENTED", "RECORD"} <= {scene.expected.basis for scene in story}
    assert {scene.expected.item for scene in story} == {"", ANTIGEN}
    assert "OTHER_ITEM" in {scene.expected.use for scene in story}
