"""Policies in words."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.json_format import ParseDict
from hutong.policy.v1.policy_pb2 import EffectivePolicy, FloorOverride, Policy
from hutong_client.policies.files import read_policy_file
from hutong_client.policies.rules import describe_length, describe_override, describe_requirement

from tests.support.client.policy_files import GOOD, ITEMS


def read(tmp_path: Path, items: str) -> Policy:
    """Return a policy of 48 hours from a file, with items."""
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD.replace("test_required:\n", f"test_required:\n{items}"), encoding="utf-8")
    return read_policy_file(path).policy


def test_accepted_and_adverse_items_are_named_with_their_windows(tmp_path: Path) -> None:
    """The names are in a policy and in what applies."""
    words = (
        "a negative of 48 h from report time (sars-cov-2-nucleic-acid) or of 24 h from report time"
        " (sars-cov-2-antigen), and no uncleared positive of sars-cov-2-nucleic-acid, then of sars-cov-2-antigen,"
        " sampled within 240 h"
    )
    policy = read(tmp_path, ITEMS)
    assert describe_requirement(policy) == words
    effective = EffectivePolicy(test_required=policy.test_required)
    effective.shortest_windows.add().shortest_window.duration.seconds = 36 * 3600
    assert describe_requirement(effective) == f"{words}, at least 36 h"
    assert describe_length(effective) == "48 h or 24 h"


def test_policy_without_items_names_none(tmp_path: Path) -> None:
    """Items of one window stand together."""
    assert describe_requirement(read(tmp_path, "")) == "a negative of 48 h from report time"
    same = "  accepted: [{item: items/a}, {item: items/b}]\n"
    assert describe_requirement(read(tmp_path, same)) == "a negative of 48 h from report time (a, b)"
    assert describe_length(read(tmp_path, same)) == "48 h"


def test_override_names_the_item_of_the_window() -> None:
    """For the window of the policy, no item is named."""
    basis = {"stated": "VALIDITY_BASIS_SAMPLE_TIME", "applied": "VALIDITY_BASIS_REPORT_TIME"}
    window = {"stated": {"duration": "86400s"}, "applied": {"calendar_days": 2}}
    told = [
        describe_override(ParseDict({kind: stated | item}, FloorOverride()))
        for kind, stated in (("basis", basis), ("window", window))
        for item in ({}, {"item": "items/sars-cov-2-antigen"})
    ]
    assert told == [
        "basis: sample time → report time",
        "basis of sars-cov-2-antigen: sample time → report time",
        "window: 24 h → at least 2 calendar days",
        "window of sars-cov-2-antigen: 24 h → at least 2 calendar days",
    ]
