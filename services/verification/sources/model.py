"""Questions to the sources, and Policy's answers, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.policy.v1 import policy_pb2
from hutong.results.v1.results_service_pb2 import LookupLatestRequest

from services.domain.instant import Instant
from services.runtime.consistency import CommitPosition
from services.verification.decision.model import EffectivePolicy

if TYPE_CHECKING:
    from services.verification.decision.model import Ground

PolicyKey: TypeAlias = tuple[str, int, str]
"""The part of a question that selects policies: region, purpose and province of origin.

No policy distinguishes origins within a province.
"""


class LookUp(NamedTuple):
    """A question to Results.

    Attributes:
        request: the request. It has a document, or none if a token was shown in place of the document.
        subject_key: the subject key that the token contains; empty if the request has a document.
        other_key: the key of the same document under the other key version; empty if the token contains none.
        presenter: who shows the reports that the request claims (`presenter_of`); empty if it claims none.
    """

    request: LookupLatestRequest
    subject_key: bytes = b""
    other_key: bytes = b""
    presenter: str = ""


class PolicyQuestion(NamedTuple):
    """A question: which policy applies to a region, a purpose and an origin at a time.

    Attributes:
        arriving_from: the region that the person comes from; empty if it is not known.
        seen: the write that Policy must have seen before it answers; None if any answer will do.
    """

    region: str
    purpose: int
    arriving_from: str
    use_time: Instant
    seen: CommitPosition | None

    @property
    def key(self) -> PolicyKey:
        """The part of the question that selects policies. Questions that differ only in the instant share this part."""
        return self.region, self.purpose, self.arriving_from[:2]


UNWATCHED = -1
"""The epoch of an answer that may be out of date, because it may lack a change that was reported."""


@dataclass(slots=True)
class PolicyAnswer:
    """An answer of Policy.

    Attributes:
        effective: what applies; if `elsewhere` is set, what applies to people of the same province.
        elsewhere: what applies to people of another province, if the origin is not known and the policies differ.
        message: the answer as it was received, for the inputs of a stored decision.
        start_time: the first instant of the interval in which only a change of the policies can change the answer; None
            is unbounded.
        end_time: the end of that interval, exclusive; None is unbounded.
        as_of_time: up to when the publications behind the answer are complete.
        ask_time: when the question was sent, in seconds of the event loop's clock.
        epoch: the epoch of the watch at that time, or UNWATCHED. The watch reports changes only to answers of its
            current epoch.
        sequence: how many publications and withdrawals Policy knew when it answered.
        items: the names of the items to look up, which are all items that one of the policies weighs; empty for the
            default item alone.
        is_settled_by_own_records: whether the node's own records can settle a question without the nation. They can if
            the nation makes the positives of every adverse item known to the nodes.
    """

    effective: EffectivePolicy
    elsewhere: EffectivePolicy | None
    message: policy_pb2.EffectivePolicy | policy_pb2.PoliciesByOrigin
    start_time: Instant | None
    end_time: Instant | None
    as_of_time: Instant
    ask_time: float
    epoch: int
    sequence: int = 0
    items: tuple[str, ...] = ()
    is_settled_by_own_records: bool = True

    @property
    def by_origin(self) -> tuple[EffectivePolicy, ...]:
        """What applies for each origin that the person may have. One value if both origins have the same answer."""
        return (self.effective,) if self.elsewhere is None else (self.effective, self.elsewhere)

    @property
    def is_lifted(self) -> bool:
        """Whether a floor lifts what is asked, for at least one of the origins that the person may have."""
        return any(one.is_lifted for one in self.by_origin)

    @property
    def asks_nothing(self) -> bool:
        """Whether the person needs no result.

        If the origin is not known, it is enough that one of the two policies asks for none.
        """
        return any(one.asks_nothing for one in self.by_origin)

    @property
    def refuses_nobody(self) -> bool:
        """Whether nobody may be refused, whatever the results.

        If the origin is not known, it is enough that one of the two policies permits no refusal.
        """
        return self.asks_nothing or any(
            one.required is not None and not one.required.refusal_permitted for one in self.by_origin
        )

    @property
    def needs_results(self) -> bool:
        """Whether results have to be looked up.

        If the origin is not known, the better policy for the person applies. No results are needed if at least one of
        the two policies asks for none, or if no policy governs.
        """
        return not self.asks_nothing and any(one.required is not None for one in self.by_origin)

    @property
    def forbidden_grounds(self) -> tuple[Ground, ...]:
        """The grounds on which refusal is forbidden; if the origin is not known, the grounds of both policies."""
        return tuple({ground for one in self.by_origin for ground in one.forbidden_grounds})

    def covers(self, instant: Instant) -> bool:
        """Return whether the answer also holds at an instant."""
        return (self.start_time is None or self.start_time <= instant) and (
            self.end_time is None or instant < self.end_time
        )
