"""Policy's questions and answers as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.policy.v1 import policy_pb2

from services.domain.instant import Instant
from services.runtime.consistency import Freshness
from services.verification.decision.model import EffectivePolicy

if TYPE_CHECKING:
    from services.verification.decision.model import Ground

PolicyKey: TypeAlias = tuple[str, int, str]
"""The part of a question that selects policies: region, purpose and province of origin. No policy knows a finer one."""


class PolicyQuestion(NamedTuple):
    """Which policy applies: where, for what, to whom, when. `seen` is what its source must have seen too.

    `arriving_from` is empty if the origin is not known.
    """

    region: str
    purpose: int
    arriving_from: str
    use_time: Instant
    seen: Freshness | None

    @property
    def key(self) -> PolicyKey:
        """The part that selects policies. Questions that differ only in the instant share it."""
        return self.region, self.purpose, self.arriving_from[:2]


UNWATCHED = -1
"""The epoch of an answer that is out of date or may be."""


@dataclass(slots=True)
class PolicyAnswer:
    """An answer of Policy.

    Attributes:
        effective: what applies; to people of the same province, if `elsewhere` is there.
        elsewhere: what applies to people of another province, if the origin is not known and the policies differ.
        message: the answer as it came, for a stored decision's inputs.
        as_of_time: up to when the publications behind it are complete.
        nation_as_of_time: the same of the national node's, by its clock; 0 where that is not known.
        ask_time: when it was asked for, in the event loop's seconds.
        epoch: the watch that reports changes to this answer, or UNWATCHED once a change was reported that it may lack.
    """

    effective: EffectivePolicy
    elsewhere: EffectivePolicy | None
    message: policy_pb2.EffectivePolicy | policy_pb2.PoliciesByOrigin
    start_time: Instant | None
    end_time: Instant | None
    as_of_time: Instant
    nation_as_of_time: Instant
    ask_time: float
    epoch: int

    @property
    def needs_results(self) -> bool:
        """Whether results are looked up at all: not where the better rule asks nobody for one."""
        if self.effective.asks_nothing or (self.elsewhere is not None and self.elsewhere.asks_nothing):
            return False
        return self.effective.required is not None or (
            self.elsewhere is not None and self.elsewhere.required is not None
        )

    @property
    def forbidden_grounds(self) -> tuple[Ground, ...]:
        """Grounds on which nobody may be refused, whichever the origin is."""
        if self.elsewhere is None:
            return self.effective.forbidden_grounds
        return tuple({*self.effective.forbidden_grounds, *self.elsewhere.forbidden_grounds})

    def covers(self, instant: Instant) -> bool:
        """Return whether the answer also holds at an instant."""
        return (self.start_time is None or self.start_time <= instant) and (
            self.end_time is None or instant < self.end_time
        )
