"""A fake Policy for tests of the calendar. It answers from a policy book by the service's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from hutong.policy.v1.policy_service_pb2 import (
    BatchResolvePoliciesRequest,
    BatchResolvePoliciesResponse,
    ResolvePolicyItem,
)
from hutong.type.v1.purpose_pb2 import PURPOSE_CITY_TRANSPORT, PURPOSE_HOTEL, PURPOSE_PUBLIC_VENUE, PURPOSE_SCHOOL
from hutong_client.policies.calendar import Calendar, read_calendar

from services.domain.instant import from_timestamp
from services.policy.model import SAME_PROVINCE, Requirement, Revision, Window
from services.policy.rules.resolve import PolicyBook
from services.policy.serving.resolver import response_to_proto
from tests.support.policy.factories import HOUR, make_revision


class FakePolicy:
    """Answers batches from a policy book, by the service's own rules."""

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self._book = PolicyBook(revisions)
        self.rounds = 0

    def BatchResolvePolicies(
        self,
        request: BatchResolvePoliciesRequest,
        timeout: float,  # noqa: ARG002 - the stub's
    ) -> BatchResolvePoliciesResponse:
        self.rounds += 1
        answers = [
            response_to_proto(
                self._book.resolve(it.region, it.purpose, it.arriving_from, from_timestamp(it.effective_time))
            ).effective_policy
            for it in request.requests
        ]
        for answer in answers:
            answer.as_of_time.seconds = 1_700_000_000
        return BatchResolvePoliciesResponse(items=[ResolvePolicyItem(effective_policy=it) for it in answers])


def seconds(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+08:00").timestamp())


def instant(day: str) -> int:
    return seconds(day) * 1_000_000


YEAR = (seconds("2022-01-01"), seconds("2023-01-01"))
VENUE = make_revision(purposes=(PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT), start=instant("2022-06-01"))
REVISED = make_revision(
    revision=2,
    purposes=(PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT),
    requirement=Requirement(Window(1, 24 * HOUR)),
    start=instant("2022-10-12"),
    end=instant("2022-12-07"),
)
LOCAL = make_revision(policy_id="hotel", purposes=(PURPOSE_HOTEL,), origin=SAME_PROVINCE, start=instant("2021-05-01"))
ASKED = (PURPOSE_PUBLIC_VENUE, PURPOSE_CITY_TRANSPORT, PURPOSE_HOTEL, PURPOSE_SCHOOL)


def read_year(*revisions: Revision) -> tuple[Calendar, FakePolicy]:
    rules = FakePolicy(revisions)
    connection: Any = SimpleNamespace(policies=rules)
    return read_calendar(connection, "410105", ASKED, *YEAR), rules
