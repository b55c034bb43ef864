"""Validates the revisions that the node above sends between two checkpoints, before they are stored."""

from __future__ import annotations

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, WithdrawPolicyRequest
from hutong_texts import english

from services.domain.errors import HutongError, InvalidArgument
from services.domain.names import parse_policy
from services.domain.region import ancestry
from services.policy.convert import bare_statement, content_hash, received_revision_from_proto
from services.policy.rules.resolve import PolicyBook
from services.policy.upstream.store import ReceivedRevision
from services.runtime.server.validation import check


class SnapshotUpdate:
    """The revisions received since the last checkpoint.

    Attributes:
        is_whole: whether the watch began without a cursor, so that the update holds everything that the node above has.
        received: revisions of the jurisdictions above this node, in order. Revisions that the node above has for other
            jurisdictions are dropped.
        left_out: the names of revisions that are not valid here. A newer node may send what this version does not know.
    """

    def __init__(self, jurisdiction: str, *, is_whole: bool) -> None:
        self._above = frozenset(ancestry(jurisdiction)[1:])
        self.is_whole = is_whole
        self.received: list[ReceivedRevision] = []
        self.left_out: list[str] = []

    def add(self, policy: policy_pb2.Policy) -> None:
        """Add one revision."""
        try:
            if parse_policy(policy.name)[0] in self._above:
                self.received.append(_validate(policy))
        except (HutongError, ValueError):
            self.left_out.append(policy.name)

    def missing(self, book: PolicyBook) -> list[str]:
        """Return the names of revisions of jurisdictions above in a book that this whole update does not name.

        The node above has lost them, for example by a restore. They stay in force here.
        """
        named = {one.revision.name for one in self.received} | set(self.left_out)
        known = (
            one.name
            for region in sorted(self._above)
            for policy_id in book.series_of(region)
            for one in book.series(region, policy_id)
        )
        return [name for name in known if name not in named]


def _validate(policy: policy_pb2.Policy) -> ReceivedRevision:
    """Check that a revision could have been published, and that its hash is the hash of its content.

    Raises:
        InvalidArgument: the revision could not have been published, or its hash differs.
        ValueError: the revision holds a time outside the range of timestamps, so that it has no hash.
    """
    statement = bare_statement(policy)
    check(statement.policy)
    check(PublishPolicyRequest(retroactive_reason=policy.retroactive_reason))
    if policy.HasField("withdraw_time"):
        check(WithdrawPolicyRequest(name=policy.name, reason=policy.withdraw_reason))
    if parse_policy(policy.name)[2] != policy.revision or not policy.HasField("publish_time"):
        raise InvalidArgument.field("name", english("is not that of a published revision"))
    revision = received_revision_from_proto(policy, statement)
    if content_hash(revision) != policy.content_hash:
        raise InvalidArgument.field("content_hash", english("is not that of the policy"))
    return ReceivedRevision(revision, statement)
