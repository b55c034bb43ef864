"""Revisions that another node has sent. Each is checked."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, WithdrawPolicyRequest
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import read_instant
from services.domain.instant import Instant
from services.domain.names import parse_policy
from services.policy.convert import Statement, bare_statement, content_hash, received_revision_from_proto
from services.policy.model import Revision
from services.policy.rules.faults import find_faults
from services.runtime.server.validation import check


class ReceivedRevision(NamedTuple):
    """A revision as another node has sent it, and the statement from which it was made."""

    revision: Revision
    statement: Statement


def read_received(policy: policy_pb2.Policy) -> ReceivedRevision:
    """Check that a revision could have been published, and that its hash fits its content. Return the revision.

    Raises:
        InvalidArgument: the revision could not have been published, or its hash does not fit.
        ValueError: the revision has a time outside the range of timestamps, so that its hash cannot be computed.
    """
    statement = bare_statement(policy)
    check(statement.policy)
    check(PublishPolicyRequest(retroactive_reason=policy.retroactive_reason))
    if policy.HasField("withdraw_time"):
        check(WithdrawPolicyRequest(name=policy.name, reason=policy.withdraw_reason))
    if parse_policy(policy.name)[2] != policy.revision or not policy.HasField("publish_time"):
        raise InvalidArgument.field("name", english("is not that of a published revision"))
    read_policy_instant(policy.publish_time, "publish_time")
    read_policy_instant(policy.withdraw_time, "withdraw_time")
    revision = received_revision_from_proto(policy, statement)
    if content_hash(revision) != policy.content_hash:
        raise InvalidArgument.field("content_hash", english("is not that of the policy"))
    if faults := find_faults(revision):
        raise InvalidArgument.of(faults)
    return ReceivedRevision(revision, statement)


def read_policy_instant(timestamp: Timestamp, field: str) -> Instant:
    """Return an instant of a policy or checkpoint, which must not be before 1970.

    Raises InvalidArgument as `read_instant`.
    """
    return read_instant(timestamp, field, from_seconds=0)
