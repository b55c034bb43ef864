"""Caches Policy's answers, each for the interval in which only a change of the policies can change the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.domain.region import NATION, within
from services.verification.sources.model import UNWATCHED, PolicyAnswer, PolicyKey, PolicyQuestion

MAX_REGIONS = 4_000
"""The most regions in the cache. GB/T 2260 has fewer regions in force."""
MAX_ANSWERS_PER_REGION = 2_000
"""The most keys of one region in the cache. Twelve purposes by 34 provinces of origin are 408."""
MAX_INTERVALS = 8
"""The most answers of one key in the cache, for different use times."""


class PolicyCache:
    """Answers by region, purpose and province of origin."""

    def __init__(self) -> None:
        self._regions: dict[str, dict[PolicyKey, list[PolicyAnswer]]] = {}

    def find(self, question: PolicyQuestion) -> PolicyAnswer | None:
        """Return the newest answer that covers the question's instant."""
        answers = self._regions.get(question.region)
        if answers is None:
            return None
        for known in answers.get(question.key, ()):
            if known.covers(question.use_time):
                return known
        return None

    def keep(self, question: PolicyQuestion, known: PolicyAnswer) -> None:
        """Add an answer. It replaces all answers of its key whose intervals overlap with its own.

        If a limit is reached, all answers of the region, or all regions, are dropped first.
        """
        answers = self._regions.get(question.region)
        if answers is None:
            if len(self._regions) >= MAX_REGIONS:
                self.drop(NATION)
            answers = self._regions[question.region] = {}
        elif len(answers) >= MAX_ANSWERS_PER_REGION:
            _end_watch(answers)
            answers.clear()
        key = question.key
        before = answers.get(key, [])
        others = [other for other in before if not _overlap(known, other)]
        answers[key] = [known, *others[: MAX_INTERVALS - 1]]
        _end_watch({key: [one for one in before if all(one is not other for other in answers[key])]})

    def drop(self, jurisdiction: str) -> None:
        """Drop every answer that a policy of the jurisdiction may have affected.

        These are the answers for the jurisdiction and for all regions below it.

        A decision that is being made with such an answer no longer claims that the answer is current.
        """
        for region in [region for region in self._regions if within(region, jurisdiction)]:
            _end_watch(self._regions.pop(region))


def _end_watch(answers: Mapping[PolicyKey, Sequence[PolicyAnswer]]) -> None:
    """Mark answers that leave the cache, because later changes are no longer applied to them."""
    for of_key in answers.values():
        for known in of_key:
            known.epoch = UNWATCHED


def _overlap(one: PolicyAnswer, other: PolicyAnswer) -> bool:
    one_ends_first = one.end_time is not None and other.start_time is not None and one.end_time <= other.start_time
    other_ends_first = other.end_time is not None and one.start_time is not None and other.end_time <= one.start_time
    return not one_ends_first and not other_ends_first
