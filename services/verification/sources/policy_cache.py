"""Policy answers that are kept, each for the interval in which it cannot change by the clock alone."""

from __future__ import annotations

from dataclasses import dataclass

from hutong.policy.v1 import policy_pb2

from services.domain.instant import Instant, from_timestamp
from services.domain.region import within
from services.verification.decision.convert import policy_from_proto
from services.verification.decision.model import EffectivePolicy
from services.verification.verify.question import Place, PolicyQuestion

MAX_REGIONS = 4_000
"""More than GB/T 2260 has in force."""
MAX_ANSWERS_PER_REGION = 2_000
"""More than twelve purposes by 34 provinces of origin; each holds the answers of a few intervals."""
MAX_INTERVALS = 8
"""Answers for different times of use that are kept side by side."""


@dataclass(slots=True)
class KnownPolicy:
    """An answer of Policy.

    Attributes:
        effective: what applies.
        message: the answer as it came, for a stored decision's inputs.
        as_of_time: up to when the publications behind it are complete.
        nation_as_of_time: the same of the national node's, by its clock; 0 where that is not known.
        ask_time: when it was asked for, in the event loop's seconds.
        epoch: the watch under which changes to it are told; an older one's answers may be out of date unnoticed.
    """

    effective: EffectivePolicy
    message: policy_pb2.EffectivePolicy
    start_time: Instant | None
    end_time: Instant | None
    as_of_time: Instant
    nation_as_of_time: Instant
    ask_time: float
    epoch: int

    def covers(self, instant: Instant) -> bool:
        """Whether the answer is that for the instant too."""
        return (self.start_time is None or self.start_time <= instant) and (
            self.end_time is None or instant < self.end_time
        )


def known_policy(message: policy_pb2.EffectivePolicy, now: Instant, ask_time: float, epoch: int) -> KnownPolicy:
    """An answer that has just come; `now` stands in for an as_of_time it does not bear."""
    has = message.HasField
    return KnownPolicy(
        policy_from_proto(message),
        message,
        from_timestamp(message.start_time) if has("start_time") else None,
        from_timestamp(message.end_time) if has("end_time") else None,
        from_timestamp(message.as_of_time) if has("as_of_time") else now,
        from_timestamp(message.nation_as_of_time),
        ask_time,
        epoch,
    )


class PolicyCache:
    """Answers by region, purpose and province of origin: a policy knows no finer origin."""

    def __init__(self) -> None:
        self._regions: dict[str, dict[Place, list[KnownPolicy]]] = {}

    def find(self, question: PolicyQuestion) -> KnownPolicy | None:
        """The newest answer that covers the question's instant."""
        answers = self._regions.get(question.region)
        if answers is None:
            return None
        for known in answers.get(question.place, ()):
            if known.covers(question.use_time):
                return known
        return None

    def keep(self, question: PolicyQuestion, known: KnownPolicy) -> None:
        """Keep an answer in place of all that its interval covers in part. When there are too many, begin anew."""
        answers = self._regions.get(question.region)
        if answers is None:
            if len(self._regions) >= MAX_REGIONS:
                self._regions.clear()
            answers = self._regions[question.region] = {}
        elif len(answers) >= MAX_ANSWERS_PER_REGION:
            answers.clear()
        key = question.place
        others = [other for other in answers.get(key, ()) if not _overlap(known, other)]
        answers[key] = [known, *others[: MAX_INTERVALS - 1]]

    def drop(self, jurisdiction: str) -> None:
        """Forget every answer that a policy of the jurisdiction may have a part in: its own and all below it."""
        for region in [region for region in self._regions if within(region, jurisdiction)]:
            del self._regions[region]


def _overlap(one: KnownPolicy, other: KnownPolicy) -> bool:
    one_ends_first = one.end_time is not None and other.start_time is not None and one.end_time <= other.start_time
    other_ends_first = other.end_time is not None and one.start_time is not None and other.end_time <= one.start_time
    return not one_ends_first and not other_ends_first
