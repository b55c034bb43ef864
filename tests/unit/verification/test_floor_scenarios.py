"""Floors from publication to the decision (tests/scenarios/floors.yaml), by the pure rules of both services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lab_pb2
from hutong.type.v1 import outcome_pb2, purpose_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.errors import FailedPrecondition
from services.domain.instant import HOUR, SHANGHAI, Instant, from_datetime
from services.domain.names import parse_item
from services.policy.convert import answer_to_proto
from services.policy.model import (
    NOT_REQUIRED,
    SAME_PROVINCE,
    AcceptedItem,
    FloorOverride,
    Requirement,
    Revision,
    ShortestWindow,
    Window,
)
from services.policy.rules.guards import Publication, check_publication, find_overridden
from services.policy.rules.resolve import PolicyBook
from services.policy.rules.restored import find_restored
from services.verification.decision.decide import decide
from services.verification.decision.model import ACTIVE, NATIONAL_RESULTS, SOURCE_OK, Inputs, Record, SourceStatus
from services.verification.sources.convert import policy_from_proto
from tests.support.policy.factories import make_revision
from tests.support.policy.record import describe

STORIES = yaml.safe_load((Path(__file__).parents[2] / "scenarios/floors.yaml").read_text(encoding="utf-8"))["stories"]
DESCRIBED = ("rule", "window", "lifted", "least", "basis", "accepted", "adverse", "stands")
LAB = "labs/91410100MA0000001X"


def instant(text: str) -> Instant:
    """Return an instant of Asia/Shanghai."""
    return from_datetime(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI))


def length(text: str) -> ShortestWindow:
    """Return a length: "48h", "3d", or "48h!" with its last instant."""
    if text.endswith("d"):
        return ShortestWindow(None, int(text[:-1]))
    return ShortestWindow(int(text.rstrip("h!")) * HOUR, None, text.endswith("!"))


def requirement_of(policy: dict[str, Any]) -> Requirement:
    """Return what a policy of a story asks for."""
    if policy.get("window") == "none":
        return NOT_REQUIRED
    if policy.get("floor"):
        shortest = length(policy["least"]) if "least" in policy else None
        return Requirement(Window(int("basis" in policy)), shortest=shortest)
    return Requirement(
        window_of(policy["window"], policy.get("basis", "report")),
        accepted=tuple(
            AcceptedItem(item_of(item), None if text == "same" else window_of(*text.split()))
            for item, text in policy.get("accept", {}).items()
        ),
        adverse_items=tuple(item_of(item) for item in policy.get("adverse", ())),
        adverse_window=length(policy["stands"]).duration if "stands" in policy else None,
    )


def window_of(text: str, basis: str = "report") -> Window:
    """Return a window of a length, from the report or from the sampling."""
    window = length(text)
    return Window(2 if basis == "sampling" else 1, window.duration, window.calendar_days)


def item_of(word: str) -> str:
    """Return the id of an item: "antigen" is items/sars-cov-2-antigen."""
    return parse_item(f"items/sars-cov-2-{word}")


def revision_of(policy: dict[str, Any], book: PolicyBook) -> Revision:
    """Return a policy of a story, of the next number of its series."""
    return make_revision(
        policy["place"],
        policy["id"],
        len(book.series(policy["place"], policy["id"])) + 1,
        purposes=tuple(purpose_pb2.Purpose.Value(f"PURPOSE_{name}") for name in policy["for"]),
        requirement=requirement_of(policy),
        floor=policy.get("floor", False),
        start=instant(policy["from"]),
        end=instant(policy["end"]) if "end" in policy else None,
    )


def starts(overrides: Sequence[FloorOverride]) -> dict[str, Instant | None]:
    """Return when each field is overridden, or ceases to be; an accepted item's window as "antigen: …"."""
    return {
        f"{override.item.removeprefix('items/sars-cov-2-')}: {override.field}".removeprefix(": "): override.start
        for override in overrides
    }


def times(expected: dict[str, str]) -> dict[str, Instant]:
    """Return the expected instants by field."""
    return {field: instant(text) for field, text in expected.items()}


def publish(policy: dict[str, Any], book: PolicyBook) -> PolicyBook:
    """Publish or withdraw one policy of a story. The answer has what the story expects."""
    if "withdraw" in policy:
        name = "jurisdictions/" + policy["withdraw"].replace("/", "/policies/")
        found = next(it.revision for region in book.regions for it in book.segments(region) if it.revision.name == name)
        gone = replace(found, withdraw_time=instant(policy["now"]))
        after = book.with_revisions([gone])
        assert starts(find_restored(gone, book, after, gone.withdraw_time)) == times(policy["back"])
        return after
    revision = revision_of(policy, book)
    if "refused" in policy:
        with pytest.raises(FailedPrecondition) as caught:
            check_publication(Publication(revision, "000000", 0), book)
        assert [it.field for it in caught.value.violations] == [f"policy.{field}" for field in policy["refused"]]
        return book
    check_publication(Publication(revision, "000000", 0), book)
    assert starts(find_overridden(revision, book)) == times(policy.get("told", {}))
    after = book.with_revisions([revision])
    assert starts(find_restored(revision, book, after)) == times(policy.get("back", {}))
    return after


def record_of(reported: str, number: int = 0) -> Record:
    """Return the record of a result: a negative of nucleic acid, or as in "positive antigen 2022-12-08 12:00"."""
    *words, day, time = reported.split()
    outcome, item = words or ("negative", "nucleic-acid")
    at = instant(f"{day} {time}")
    return Record(
        f"{LAB}/results/R{number}",
        1,
        ACTIVE,
        LAB,
        f"R{number}",
        outcome_pb2.Outcome.Value(f"OUTCOME_{outcome.upper()}"),
        at - 4 * HOUR,
        None,
        None,
        at,
        lab_pb2.LAB_STANDING_AUTHORIZED,
        item_of(item),
    )


def ask(question: dict[str, Any], book: PolicyBook) -> None:
    """Resolve a question and, if the story gives a reason, decide by the answer; both are what the story says."""
    at = instant(question["when"])
    purpose = purpose_pb2.Purpose.Value(f"PURPOSE_{question['for']}")
    message: policy_pb2.EffectivePolicy = answer_to_proto(
        book.resolve_class(question["at"], purpose, SAME_PROVINCE, at)
    )
    described = describe(message)
    expected = {key: question[key] for key in DESCRIBED if key in question}
    assert {key: described[key] for key in expected} == expected
    if "reason" not in question:
        return
    reported = question.get("reported", [])
    texts = [reported] if isinstance(reported, str) else reported
    records = tuple(record_of(text, number) for number, text in enumerate(texts))
    sources = (SourceStatus(NATIONAL_RESULTS, SOURCE_OK, at),)
    decision = decide(Inputs(at, at, policy_from_proto(message), records, sources=sources))
    assert pb.DecisionReason.Name(decision.reason) == f"DECISION_REASON_{question['reason']}"
    assert decision.expire_time == (instant(question["until"]) if "until" in question else None)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story["story"])
def test_story(story: dict[str, Any]) -> None:
    """Everything is published in order, and then every question is asked."""
    book = PolicyBook()
    for policy in story["publish"]:
        book = publish(policy, book)
    for question in story["ask"]:
        ask(question, book)
