"""An exception for each error reason of the contract. Made by protos/error_reasons.py.

A call that fails raises an exception that is of its reason's class and of its gRPC code's class, as CursorTooOld and
OutOfRange. The reasons NOT_FOUND, ALREADY_EXISTS, INTERNAL and NOT_SERVED have the class of their code alone.
"""

from __future__ import annotations

from hutong_client.errors.kinds import HutongError


class InvalidField(HutongError):
    """A field breaks its rule."""


class MalformedName(HutongError):
    """A resource name is not of its form."""


class RequestIdReused(HutongError):
    """A request_id was used before with other content or by another caller."""


class InvalidPageToken(HutongError):
    """A page token was not issued for this request."""


class InvalidConsistencyToken(HutongError):
    """A consistency token was not issued by any node."""


class UploadNotStarted(HutongError):
    """The first message of an upload was not "start", or a second "start" was sent."""


class UploadGap(HutongError):
    """A batch starts after the committed offset."""


class BatchTooLarge(HutongError):
    """A batch has over 1,000 tubes or over 1 MiB, or its responses would have over 4 MiB."""


class LabUnknown(HutongError):
    """The laboratory is not registered at this node."""


class PolicyBreach(HutongError):
    """A policy to publish breaks floors that are in force at its own start."""


class Ambiguous(HutongError):
    """A policy to publish applies as closely as another one for some purpose and origin."""


class Retroactive(HutongError):
    """A policy to publish begins in the past without retroactive_reason."""


class AlreadyWithdrawn(HutongError):
    """The policy revision is withdrawn already."""


class Conflict(HutongError):
    """A change contradicts what is stored, and another call exists for it."""


class CursorTooOld(HutongError):
    """A cursor is older than the change log, or belongs to another log."""


class NotFreshEnough(HutongError):
    """A consistency token stands for writes that this node did not see within the deadline."""


class DatabaseUnavailable(HutongError):
    """The database cannot be reached or took too long."""


class UpstreamUnavailable(HutongError):
    """Another service or node that the answer needs cannot be reached."""


class Overloaded(HutongError):
    """A limit of this process is reached."""


class QuotaExceeded(HutongError):
    """A laboratory sends more than its quota."""


class Deadline(HutongError):
    """The call's deadline passed before the work was done."""


class ShuttingDown(HutongError):
    """The server is draining."""


class NotPermitted(HutongError):
    """The caller is not permitted to do this."""


class TimesOutOfOrder(HutongError):
    """Only in a rejection: the times are out of order."""


class TimeInFuture(HutongError):
    """Only in a rejection: a time lies more than 5 minutes ahead of the server's clock."""


class RegionUnknown(HutongError):
    """In a rejection or INVALID_ARGUMENT: a region is not in GB/T 2260."""


class BadDocumentNumber(HutongError):
    """In a rejection or INVALID_ARGUMENT: a document number's form or check character is wrong for its type."""


class BadUscc(HutongError):
    """In a rejection or INVALID_ARGUMENT: a unified social credit code's check character is wrong."""


class LabNotAuthorized(HutongError):
    """Only in a rejection: the laboratory was not authorised at the report time."""


class PoolMismatch(HutongError):
    """Only in a rejection: a tube's outcome, pool size and number of persons do not fit together."""


class BeforeHorizon(HutongError):
    """The answer would depend on rows that retention has removed."""


class PepperMismatch(HutongError):
    """PEPPER_MISMATCH.

    A node sends subject keys made under another pepper or by another rule of document classes, so no subject would be
    found.
    """


class NotAnUpstream(HutongError):
    """The called node is not the national node, or the caller claims to be the national node."""


class NoUpstream(HutongError):
    """The question needs the national node, and this node has no upstream configured."""


class UploadIdReused(HutongError):
    """An upload_id was used before for other tubes."""


class TooManyLinked(HutongError):
    """TOO_MANY_LINKED.

    A link would give one person more linked documents than the limit, or one document more links than are kept, with
    those that have ended.
    """


class NotTheOrigin(HutongError):
    """Another node received the report, and only that node may correct it."""


class ItemNotAdmitted(HutongError):
    """A tube is of an item that its upload does not admit."""


class NotAuthenticated(HutongError):
    """NOT_AUTHENTICATED.

    The caller is not known: its certificate names no caller of this trust domain or has expired, or its token cannot be
    accepted.
    """


class BudgetExceeded(HutongError):
    """BUDGET_EXCEEDED.

    The caller has used up one of its budgets: distinct persons or misses an hour, calls or streams at once, work a
    second, or changes that wait for an approver.
    """


class AnotherNodePublishes(HutongError):
    """Another node publishes the policies of the jurisdiction, or has published the floor."""


class StreamReplaced(HutongError):
    """A batch belongs to a replication that its node has replaced by another one."""


class NodeNotSilent(HutongError):
    """The node to be retired has sent something in the last minute."""


class SameApprover(HutongError):
    """The caller proposed the change itself, by this or another certificate or token."""


class NotPending(HutongError):
    """The change is decided already or has lapsed."""


class ChangeGrew(HutongError):
    """The recall would recall more results than when it was proposed."""


class ChangeOvertaken(HutongError):
    """A revision of the policy was published or withdrawn after this publication was proposed."""


class ProposerDenied(HutongError):
    """The proposer of the change has been put on the deny-list of this node since."""


class GrantNotReviewed(HutongError):
    """Another caller has not yet reviewed the caller's last emergency grant."""


class HolderTokenInvalid(HutongError):
    """A holder's token is not one that a node of this nation has made, or it was cut."""


class HolderTokenExpired(HutongError):
    """A holder's token is over 90 seconds old, or from the future."""


class HolderTokenUsed(HutongError):
    """The holder's token was accepted before at this node, for another question."""


class HolderTokenOtherPurpose(HutongError):
    """The holder's token is for another purpose than the question."""


class NotResponsible(HutongError):
    """Another node answers the report of a refusal."""


BY_REASON: dict[str, type[HutongError]] = {
    "INVALID_FIELD": InvalidField,
    "MALFORMED_NAME": MalformedName,
    "REQUEST_ID_REUSED": RequestIdReused,
    "INVALID_PAGE_TOKEN": InvalidPageToken,
    "INVALID_CONSISTENCY_TOKEN": InvalidConsistencyToken,
    "UPLOAD_NOT_STARTED": UploadNotStarted,
    "UPLOAD_GAP": UploadGap,
    "BATCH_TOO_LARGE": BatchTooLarge,
    "LAB_UNKNOWN": LabUnknown,
    "POLICY_BREACH": PolicyBreach,
    "AMBIGUOUS": Ambiguous,
    "RETROACTIVE": Retroactive,
    "ALREADY_WITHDRAWN": AlreadyWithdrawn,
    "CONFLICT": Conflict,
    "CURSOR_TOO_OLD": CursorTooOld,
    "NOT_FRESH_ENOUGH": NotFreshEnough,
    "DATABASE_UNAVAILABLE": DatabaseUnavailable,
    "UPSTREAM_UNAVAILABLE": UpstreamUnavailable,
    "OVERLOADED": Overloaded,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "DEADLINE": Deadline,
    "SHUTTING_DOWN": ShuttingDown,
    "NOT_PERMITTED": NotPermitted,
    "TIMES_OUT_OF_ORDER": TimesOutOfOrder,
    "TIME_IN_FUTURE": TimeInFuture,
    "REGION_UNKNOWN": RegionUnknown,
    "BAD_DOCUMENT_NUMBER": BadDocumentNumber,
    "BAD_USCC": BadUscc,
    "LAB_NOT_AUTHORIZED": LabNotAuthorized,
    "POOL_MISMATCH": PoolMismatch,
    "BEFORE_HORIZON": BeforeHorizon,
    "PEPPER_MISMATCH": PepperMismatch,
    "NOT_AN_UPSTREAM": NotAnUpstream,
    "NO_UPSTREAM": NoUpstream,
    "UPLOAD_ID_REUSED": UploadIdReused,
    "TOO_MANY_LINKED": TooManyLinked,
    "NOT_THE_ORIGIN": NotTheOrigin,
    "ITEM_NOT_ADMITTED": ItemNotAdmitted,
    "NOT_AUTHENTICATED": NotAuthenticated,
    "BUDGET_EXCEEDED": BudgetExceeded,
    "ANOTHER_NODE_PUBLISHES": AnotherNodePublishes,
    "STREAM_REPLACED": StreamReplaced,
    "NODE_NOT_SILENT": NodeNotSilent,
    "SAME_APPROVER": SameApprover,
    "NOT_PENDING": NotPending,
    "CHANGE_GREW": ChangeGrew,
    "CHANGE_OVERTAKEN": ChangeOvertaken,
    "PROPOSER_DENIED": ProposerDenied,
    "GRANT_NOT_REVIEWED": GrantNotReviewed,
    "HOLDER_TOKEN_INVALID": HolderTokenInvalid,
    "HOLDER_TOKEN_EXPIRED": HolderTokenExpired,
    "HOLDER_TOKEN_USED": HolderTokenUsed,
    "HOLDER_TOKEN_OTHER_PURPOSE": HolderTokenOtherPurpose,
    "NOT_RESPONSIBLE": NotResponsible,
}
"""The exception of each reason."""
