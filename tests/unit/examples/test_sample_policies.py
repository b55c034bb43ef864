"""The sample policies: each can be read, obeys the contract, and no two govern the same question."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import protovalidate
import pytest
import yaml
from google.protobuf import json_format
from hutong.policy.v1 import policy_pb2
from hutong.type.v1.purpose_pb2 import PURPOSE_MEDICAL_INSTITUTION

from clients.examples import generate_day
from services.domain.region import is_region

FILES = sorted((Path(generate_day.__file__).parent / "policies").glob("*.yaml"))
# The jurisdictions of the published record that the set has to cover.
JURISDICTIONS = {
    "000000",
    "110000",
    "310000",
    "410000",
    "410100",
    "370000",
    "370200",
    "370100",
    "220500",
    "450400",
    "450300",
    "440300",
    "330100",
    "510100",
}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def policy(path: Path) -> policy_pb2.Policy:
    content = read(path)
    content.pop("retroactive_reason")
    return json_format.ParseDict(content, policy_pb2.Policy())


def region(one: policy_pb2.Policy) -> str:
    return one.name.split("/")[1]


def spans() -> list[tuple[policy_pb2.Policy, int, float]]:
    """Each policy that governs with the seconds in which it is its series' revision in force."""
    series: dict[str, list[policy_pb2.Policy]] = {}
    for path in FILES:
        one = policy(path)
        if not one.floor:
            series.setdefault(one.name, []).append(one)
    found = []
    for revisions in series.values():
        for one, successor in zip(revisions, [*revisions[1:], None], strict=True):
            ends = [one.effective_end_time.seconds] if one.HasField("effective_end_time") else []
            ends += [successor.effective_start_time.seconds] if successor else []
            found.append((one, one.effective_start_time.seconds, min(ends, default=float("inf"))))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_policy_obeys_the_contract(path: Path) -> None:
    """The file is a valid Policy with a real place and its source, and it states why it is published late."""
    assert read(path)["retroactive_reason"]
    one = policy(path)
    protovalidate.validate(one)
    assert is_region(region(one))
    assert one.source.title
    assert one.WhichOneof("requirement")
    has_length = bool(one.test_required.window.WhichOneof("length"))
    assert has_length == (one.HasField("test_required") and not one.floor)


def test_set_covers_the_record() -> None:
    """Every jurisdiction of the published record has its policies, and the nation has its floor."""
    policies = [policy(path) for path in FILES]
    assert {region(one) for one in policies} == JURISDICTIONS
    assert [one.name.split("/")[-1] for one in policies if one.floor] == ["notice-81", "no-result-asked"]
    assert len(policies) >= 21


def test_files_are_numbered_in_the_order_of_their_dates() -> None:
    """Each policy is therefore published after all that were in force before it, and revisions in their order."""
    assert [path.name[:2] for path in FILES] == [f"{number:02}" for number in range(1, len(FILES) + 1)]
    starts = [policy(path).effective_start_time.seconds for path in FILES]
    assert starts == sorted(starts)


def test_no_two_policies_govern_one_question() -> None:
    """Two of one jurisdiction that live at one instant differ in purposes or in origin."""
    for (one, start, end), (other, other_start, other_end) in combinations(spans(), 2):
        if region(one) != region(other) or one.name == other.name or start >= other_end or other_start >= end:
            continue
        same_purposes = set(one.purposes) & set(other.purposes) or (not one.purposes and not other.purposes)
        assert not (same_purposes and one.origin == other.origin), (one.name, other.name)


def test_only_published_ends_are_stated() -> None:
    """An end that was never published would hide that the nation's floor of 7 December ends what places ask."""
    ended = [path.name[:2] for path in FILES if policy(path).HasField("effective_end_time")]
    assert ended == ["17", "18", "19", "20", "21"]


def test_medical_institutions_are_advised_to_care_for_everybody() -> None:
    """A policy cannot tell an emergency from a visit, so no answer is a reason to withhold care."""
    asking = [policy(path) for path in FILES if PURPOSE_MEDICAL_INSTITUTION in policy(path).purposes]
    advised = [region(one) for one in asking if any("every patient" in line for line in one.advice)]
    assert advised == [region(one) for one in asking if one.HasField("test_required")] == ["310000", "510100", "110000"]


def test_made_up_windows_say_so() -> None:
    """If no hours were published, the title calls the window an example."""
    for name in ("henan", "wuzhou"):
        for path in FILES:
            if name in path.name:
                assert "example window" in policy(path).title
