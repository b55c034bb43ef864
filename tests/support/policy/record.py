"""The public record of 2022 as scenarios (tests/scenarios/policy_2022.yaml), and answers in the scenarios' terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem, ResolvePolicyRequest, ResolvePolicyResponse
from hutong.type.v1 import channel_pb2, purpose_pb2, refusal_ground_pb2
from hutong_client.formatting import item_name
from hutong_client.policies.files import find_policy_files

from clients.examples.demo import POLICIES
from services.domain.instant import SHANGHAI, from_datetime, to_timestamp
from services.domain.region import is_region

RECORD = yaml.safe_load((Path(__file__).parents[2] / "scenarios/policy_2022.yaml").read_text(encoding="utf-8"))
PROVINCES = [f"{number}0000" for number in range(11, 66) if is_region(f"{number}0000")]
BASES = {policy_pb2.VALIDITY_BASIS_REPORT_TIME: "report", policy_pb2.VALIDITY_BASIS_SAMPLE_TIME: "sampling"}
HOUR = 3600
VIRUS = "sars-cov-2-"
"""The beginning of the ids of items, which the scenarios leave out."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question of the record with the expected answer. Only fields that the scenario mentions are compared."""

    row: str
    question: ResolvePolicyRequest
    expected: dict[str, Any]


def publications() -> list[PublishPolicyRequest]:
    """Return the sample policies in the order of their files, as `hutong policy apply` publishes them."""
    return [*_published()]


@cache
def _published() -> tuple[PublishPolicyRequest, ...]:
    return tuple(
        PublishPolicyRequest(policy=file.policy, retroactive_reason=file.retroactive_reason)
        for file in find_policy_files(POLICIES)
    )


def cases() -> Iterator[Case]:
    """Yield every question of every row. "everywhere" becomes one question for each region and origin."""
    for row in RECORD["rows"]:
        for answer in row["answers"]:
            expected = {key: value for key, value in answer.items() if key not in ("at", "for", "from", "when")}
            for region, origin in _questioned_regions(answer):
                question = ResolvePolicyRequest(
                    region=region,
                    purpose=purpose_pb2.Purpose.Value(f"PURPOSE_{answer['for']}"),
                    arriving_from=origin,
                    effective_time=_timestamp(answer["when"]),
                )
                yield Case(row["row"], question, expected)


def _questioned_regions(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if answer["at"] != "everywhere":
        origin = answer.get("from", answer["at"])
        yield answer["at"], "" if origin == "unknown" else origin
        return
    jurisdictions = {request.policy.name.split("/")[1] for request in _published()} - {"000000"}
    for region in sorted({*PROVINCES, *jurisdictions}):
        yield region, region
        yield region, "410100" if not region.startswith("41") else "220500"


def _timestamp(civil: str) -> Timestamp:
    return to_timestamp(from_datetime(datetime.strptime(civil, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)))


def describe(effective: policy_pb2.EffectivePolicy | policy_pb2.PoliciesByOrigin) -> dict[str, Any]:
    """Return an answer in the terms of the scenarios."""
    if isinstance(effective, policy_pb2.PoliciesByOrigin):
        both = {
            "within": _short(effective.same_province.governing),
            "outside": _short(effective.other_province.governing),
            "forbidden": _grounds(effective.forbidden_grounds),
        }
        return both | _until(effective)
    asked = effective.test_required
    proof = f"{asked.sampling_proof_window.seconds // HOUR}h" if asked.HasField("sampling_proof_window") else "none"
    stated = [one.basis.stated for one in effective.overrides if one.WhichOneof("replaced") == "basis"]
    stands = f"{asked.adverse_window.seconds // HOUR}h" if asked.HasField("adverse_window") else "none"
    described = {
        "rule": _short(effective.governing),
        "floor": _short(effective.floor),
        "lifted": _short(effective.lifting_floor),
        "least": [_length(one.shortest_window) for one in effective.shortest_windows],
        "window": _window(effective),
        "basis": BASES.get(asked.window.basis),
        "stated": "sampling" if stated == [policy_pb2.VALIDITY_BASIS_SAMPLE_TIME] else None,
        "accepted": {item_name(one.item).removeprefix(VIRUS): _counted(one, asked.window) for one in asked.accepted},
        "adverse": [item_name(item).removeprefix(VIRUS) for item in asked.adverse_items],
        "stands": stands,
        "proof": proof,
        "refuse": asked.refusal_permitted,
        "advice": "; ".join(effective.advice),
        "channels": [channel_pb2.Channel.Name(one).removeprefix("CHANNEL_") for one in effective.channels],
        "forbidden": _grounds(effective.forbidden_grounds),
        "document": effective.governing_source.document_number,
        "floor_document": effective.floor_source.document_number,
    }
    return described | _until(effective)


def describe_expected(
    effective: policy_pb2.EffectivePolicy | policy_pb2.PoliciesByOrigin, expected: dict[str, Any]
) -> dict[str, Any]:
    """Return the fields of an answer that a scenario mentions, and always the basis that a floor replaced."""
    described = describe(effective)
    return {
        key: described.get(key) for key in (*expected, "stated") if key in expected or described.get(key) is not None
    }


def policy_of(answer: ResolvePolicyItem | ResolvePolicyResponse) -> Any:
    """Return the one policy of an answer, or the policies by origin."""
    return answer.by_origin if answer.HasField("by_origin") else answer.effective_policy


def _grounds(numbers: Iterable[refusal_ground_pb2.RefusalGround.ValueType]) -> list[str]:
    return [refusal_ground_pb2.RefusalGround.Name(one).removeprefix("REFUSAL_GROUND_") for one in numbers]


def _until(answer: policy_pb2.EffectivePolicy | policy_pb2.PoliciesByOrigin) -> dict[str, str]:
    if not answer.HasField("end_time"):
        return {}
    return {"until": answer.end_time.ToDatetime(SHANGHAI).strftime("%Y-%m-%d %H:%M")}


def _short(name: str) -> str:
    return name.removeprefix("jurisdictions/").replace("/policies/", "/") or "none"


def _window(effective: policy_pb2.EffectivePolicy) -> str | None:
    requirement = effective.WhichOneof("requirement")
    if requirement != "test_required":
        return "none" if requirement else None
    return _length(effective.test_required.window)


def _counted(one: policy_pb2.AcceptedItem, others: policy_pb2.ValidityWindow) -> str:
    window = one.window if one.HasField("window") else others
    return f"{_length(window)} {BASES[window.basis]}"


def _length(window: policy_pb2.ValidityWindow | policy_pb2.ShortestWindow) -> str:
    return f"{window.calendar_days}d" if window.calendar_days else f"{window.duration.seconds // HOUR}h"
