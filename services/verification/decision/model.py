"""The inputs of a decision and the decision itself, independent of wire and storage.

Instants and spans are microseconds. Enumerations are the contract's numbers, such as
`hutong.verification.v1.EvidenceUse`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lab_pb2, lookup_pb2, missing_report_pb2, next_step_pb2, result_pb2
from hutong.type.v1 import outcome_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import MINUTE, Instant, Span
from services.domain.names import DEFAULT_ITEM, format_node
from services.domain.region import NATION

if TYPE_CHECKING:
    from hutong.type.v1 import channel_pb2, refusal_ground_pb2

    from services.verification.decision.actions import GateRow

    TravelerOrigin: TypeAlias = policy_pb2.TravelerOrigin.ValueType
    ValidityBasis: TypeAlias = policy_pb2.ValidityBasis.ValueType
    Answer: TypeAlias = missing_report_pb2.MissingReportAnswer.ValueType
    Channel: TypeAlias = channel_pb2.Channel.ValueType
    ClaimedReportMatchState: TypeAlias = lookup_pb2.ClaimedReportMatchState.ValueType
    DecisionBasis: TypeAlias = decision_pb2.DecisionBasis.ValueType
    DecisionOutcome: TypeAlias = decision_pb2.DecisionOutcome.ValueType
    NextStepAction: TypeAlias = next_step_pb2.NextStepAction.ValueType
    Ground: TypeAlias = refusal_ground_pb2.RefusalGround.ValueType
    Outcome: TypeAlias = outcome_pb2.Outcome.ValueType
    Reason: TypeAlias = decision_pb2.DecisionReason.ValueType
    SourceState: TypeAlias = lookup_pb2.SourceState.ValueType
    Standing: TypeAlias = lab_pb2.LabStanding.ValueType
    State: TypeAlias = result_pb2.ResultState.ValueType
    EvidenceUse: TypeAlias = decision_pb2.EvidenceUse.ValueType

PENDING = outcome_pb2.OUTCOME_PENDING
NEGATIVE = outcome_pb2.OUTCOME_NEGATIVE
POSITIVE = outcome_pb2.OUTCOME_POSITIVE
POOL_POSITIVE = outcome_pb2.OUTCOME_POOL_POSITIVE
INCONCLUSIVE = outcome_pb2.OUTCOME_INCONCLUSIVE

ACTIVE = result_pb2.RESULT_STATE_ACTIVE

NOT_AUTHORIZED = frozenset({lab_pb2.LAB_STANDING_SUSPENDED, lab_pb2.LAB_STANDING_REVOKED})
"""Standings under which a report does not count. A laboratory that this node does not know has none of these
standings."""

REPORT_TIME = policy_pb2.VALIDITY_BASIS_REPORT_TIME
SAMPLE_TIME = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME

CLAIM_UNKNOWN = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_UNSPECIFIED
OTHER_ITEM = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM
NOT_COMPARABLE = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_COMPARABLE
NOT_FOUND = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND
OTHER_PERSON = lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON

NOT_OURS = missing_report_pb2.MISSING_REPORT_ANSWER_NOT_OURS

SOURCE_OK = lookup_pb2.SOURCE_STATE_OK
SOURCE_UNAVAILABLE = lookup_pb2.SOURCE_STATE_UNAVAILABLE
SOURCE_NOT_CONFIGURED = lookup_pb2.SOURCE_STATE_NOT_CONFIGURED
UNANSWERED = frozenset({SOURCE_UNAVAILABLE, SOURCE_NOT_CONFIGURED})
"""States of a source that was to be asked and gave no answer: it did not reply, or its address is not configured."""
NATIONAL_RESULTS = f"{format_node(NATION)}/results"
"""The source that knows the results of all provinces."""


class Record(NamedTuple):
    """One revision of a recorded result. `name` is "labs/{uscc}/results/{report_number}" without the revision.

    `lab_standing` is the laboratory's standing at report time, or at sample time if the outcome is PENDING. `item` is
    the id of the test item.
    """

    name: str
    revision: int
    state: State
    lab: str
    report_number: str
    outcome: Outcome
    sample_time: Instant
    receive_time: Instant | None
    test_time: Instant | None
    report_time: Instant | None
    lab_standing: Standing
    item: str = DEFAULT_ITEM


class Evidence(NamedTuple):
    """A piece of evidence that the holder shows. Empty texts and None stand for what the evidence does not show.

    Attributes:
        lab_name: the laboratory's name as printed. It is not read if `lab` is set.
    """

    channel: Channel
    lab: str
    report_number: str
    outcome: Outcome
    sample_time: Instant | None
    report_time: Instant | None
    item: str = DEFAULT_ITEM
    lab_name: str = ""


class LabAnswer(NamedTuple):
    """What a laboratory has answered to a report of its own that is missing.

    `expected_time` is when it expects to upload the report; None if it has not said.
    """

    answer: Answer
    answer_time: Instant
    expected_time: Instant | None = None


class Claim(NamedTuple):
    """What Results found of the report that a piece of evidence names.

    Attributes:
        state: whether the report has a record, and whether the record is this person's.
        record: the report's record if it is this person's; otherwise None.
        lab_standing: the laboratory's standing at the report time that the evidence shows.
        retention_start_time: the instant before which results have been removed; set only if the shown report time lies
            before this instant.
        lab: the laboratory that the evidence names by code or by name, "labs/{uscc}"; empty if it is not known.
        possible: this person's records with the report number, if the laboratory is not known.
        answer: what the laboratory has answered, if the report has no record.
    """

    state: ClaimedReportMatchState
    record: Record | None
    lab_standing: Standing
    retention_start_time: Instant | None = None
    lab: str = ""
    possible: tuple[Record, ...] = ()
    answer: LabAnswer | None = None


NOT_LOOKED_UP = Claim(CLAIM_UNKNOWN, None, lab_pb2.LAB_STANDING_UNSPECIFIED)
"""The claim of evidence about which Results was not asked or did not answer."""


class SourceStatus(NamedTuple):
    """One source, whether it answered, and up to when its answer is complete.

    `retention_start_time` is the instant before which the source has removed results; None if it has removed none.
    """

    source: str
    state: SourceState
    as_of_time: Instant | None
    retention_start_time: Instant | None = None


class Window(NamedTuple):
    """How long a negative counts.

    Either `duration` or `calendar_days`, in days of Asia/Shanghai, is set; the other is None.
    """

    duration: Span | None
    calendar_days: int | None
    basis: ValidityBasis
    includes_boundary: bool


class ShortestWindow(NamedTuple):
    """The shortest time for which a floor lets a negative count.

    Either `duration` or `calendar_days` is set; the other is None. The time counts from the same basis as the window of
    the negative.
    """

    duration: Span | None
    calendar_days: int | None
    includes_boundary: bool


class AcceptedItem(NamedTuple):
    """An item whose negative satisfies a policy. If `window` is None, the policy's window applies."""

    item: str
    window: Window | None = None


class Requirement(NamedTuple):
    """A policy's request for a negative result. If `sampling_proof_window` is None, a sampling record does not count.

    A negative counts until the later of its window and each of `shortest_windows`, which floors set.

    Attributes:
        accepted: the items whose negatives satisfy the policy; empty for the default item alone.
        adverse_items: the items whose positives stand against the holder, the weightiest first; empty if they are the
            accepted items in the same order.
        adverse_window: how long after its sample time a positive stands; None if a positive stands until it is cleared.
    """

    window: Window
    sampling_proof_window: Span | None
    refusal_permitted: bool
    shortest_windows: tuple[ShortestWindow, ...] = ()
    accepted: tuple[AcceptedItem, ...] = ()
    adverse_items: tuple[str, ...] = ()
    adverse_window: Span | None = None


class PolicyDocument(NamedTuple):
    """The document behind a policy; empty texts for what is not known."""

    document_number: str = ""
    title: str = ""
    url: str = ""
    issue_date: str = ""


NO_DOCUMENT = PolicyDocument()


class EffectivePolicy(NamedTuple):
    """What applies at the place for the purpose.

    `governing` is empty if no policy is in force. A policy in force asks for no result if `required` is None. If
    `is_lifted` is set, the floor named by `floor` is a lift. No result is then asked for, whether or not a policy is in
    force.
    """

    governing: str
    floor: str
    required: Requirement | None
    forbidden_grounds: tuple[Ground, ...]
    advice: tuple[str, ...]
    governing_document: PolicyDocument = NO_DOCUMENT
    floor_document: PolicyDocument = NO_DOCUMENT
    is_lifted: bool = False

    @property
    def asks_nothing(self) -> bool:
        """Whether no result is asked for, because the policy in force asks for none or a floor lifts."""
        return self.is_lifted or (bool(self.governing) and self.required is None)


CLOCK_SKEW: Span = MINUTE
"""The difference between the clocks of two nodes that decisions about now tolerate."""


class Inputs(NamedTuple):
    """Everything that a decision is made from. Each claim belongs to the evidence at the same index.

    Attributes:
        policy: what applies; None if Policy did not answer.
        elsewhere: the policy for people of another province, if the origin is not known and the policies differ;
            `policy` is then the policy for people of the same province.
        own_records_alone: whether only the node's own records may count. Evidence then only explains the decision.
        cut_items: items whose results may be incomplete: the limit of the look-up, or the nation's retention, may hide
            a result that counted at the use time.
    """

    use_time: Instant
    evaluate_time: Instant
    policy: EffectivePolicy | None
    records: tuple[Record, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    claims: tuple[Claim, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    elsewhere: EffectivePolicy | None = None
    own_records_alone: bool = False
    cut_items: tuple[str, ...] = ()

    @property
    def issued_until(self) -> Instant:
        """The latest report time or sample time that counts as past at the use time.

        For a question about now this is up to CLOCK_SKEW ahead, because the clock of the node that received the report
        may be ahead. For a question about another time it is the use time itself.
        """
        return self.use_time + CLOCK_SKEW if self.use_time == self.evaluate_time else self.use_time


class Considered(NamedTuple):
    """A record or piece of evidence that was weighed, and how it was used."""

    subject: Record | Evidence
    use: EvidenceUse
    expire_time: Instant | None = None
    differing_fields: tuple[str, ...] = ()
    lab_answer: LabAnswer | None = None


class NextStep(NamedTuple):
    """An advised action on a report or a source."""

    action: NextStepAction
    lab: str = ""
    report_number: str = ""
    source: str = ""


class Decision(NamedTuple):
    """A decision with its explanation.

    Attributes:
        result: the name of the record's revision that the decision rests on; empty if it rests on none.
        policy: the policy that was applied.
        item: the id of the test item of the result that the decision rests on.
        assumed_origin: the origin that the applied policy is for, if the person's origin was not known and the policies
            differ.
    """

    outcome: DecisionOutcome
    reason: Reason
    basis: DecisionBasis
    result: str
    basis_time: Instant | None
    expire_time: Instant | None
    considered: tuple[Considered, ...]
    sources: tuple[SourceStatus, ...]
    next_steps: tuple[NextStep, ...]
    refusal_permitted: bool
    gate: GateRow
    policy: EffectivePolicy | None
    item: str = DEFAULT_ITEM
    assumed_origin: TravelerOrigin = policy_pb2.TRAVELER_ORIGIN_UNSPECIFIED
