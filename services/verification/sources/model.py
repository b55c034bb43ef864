"""Questions to the sources, and Policy's answers, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.policy.v1 import policy_pb2
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE, ClaimedReport, LookupScope
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong.type.v1.identity_pb2 import IdentityDocument

from services.domain.document import Document
from services.domain.instant import Instant
from services.domain.subject import Pepper
from services.runtime.consistency import CommitPosition
from services.verification.decision.model import EffectivePolicy

if TYPE_CHECKING:
    from services.verification.decision.model import Ground

PolicyKey: TypeAlias = tuple[str, int, str]
"""The part of a question that selects policies: region, purpose and province of origin.

No policy distinguishes origins within a province.
"""


class LookUp:
    """A question to Results. What it asks for is set in place once the policy is known.

    Attributes:
        stated: the document as it was sent; None if a token was shown in its place.
        document: the same document in canonical form.
        name: the name that is compared; empty if none is.
        token_keys: the subject keys that the token contains under each key version. A key that it does not contain is
            empty.
        limit: LookupLatestRequest.limit, and so on.
        presenter: who shows the claimed reports (`presenter_of`); empty if none is claimed.
    """

    __slots__ = (
        "_keys",
        "at_least_as_fresh",
        "claimed_reports",
        "document",
        "items",
        "limit",
        "name",
        "presenter",
        "scope",
        "stated",
        "token_keys",
    )

    def __init__(
        self,
        stated: IdentityDocument | None,
        document: Document | None,
        name: str,
        limit: int,
        scope: LookupScope.ValueType,
        token_keys: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self.stated = stated
        self.document = document
        self.name = name
        self.limit = limit
        self.scope = scope
        self.token_keys = token_keys
        self.at_least_as_fresh = ""
        self.items: Sequence[str] = ()
        self.claimed_reports: Sequence[ClaimedReport] = ()
        self.presenter = ""
        self._keys: tuple[bytes, bytes | None] | None = None

    @property
    def needs_request(self) -> bool:
        """Whether the look-up needs a request of its own. Look-ups in Results' own records by document need none."""
        return (
            self.document is None
            or self.scope == LOOKUP_SCOPE_NATIONWIDE
            or bool(self.claimed_reports)
            or bool(self.at_least_as_fresh)
        )

    def keys(self, pepper: Pepper) -> tuple[bytes, bytes | None]:
        """Return the document's subject keys, as `Pepper.both_keys` does. They are made at the first call."""
        keys = self._keys
        if keys is None:
            assert self.document is not None
            keys = self._keys = pepper.both_keys(self.document)
        return keys

    def to_request(self) -> LookupLatestRequest:
        """Return the request, with the document as it was sent."""
        request = LookupLatestRequest(
            scope=self.scope,
            limit=self.limit,
            at_least_as_fresh=self.at_least_as_fresh,
            claimed_reports=self.claimed_reports,
            items=self.items,
        )
        if self.stated is not None:
            request.document.CopyFrom(self.stated)
            # Results compares every name that it gets, so a name that must not be compared is removed.
            request.document.name = self.name
        return request


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
