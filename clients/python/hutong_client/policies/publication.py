"""Compare policy files with the published policies, preview their publication and publish them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, PublishPolicyResponse
from hutong.policy.v1.policy_pb2 import Policy
from hutong.policy.v1.policy_service_pb2 import ListPolicyRevisionsRequest

from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.errors import FailedPrecondition, HutongError, InvalidArgument, NotFound, PermissionDenied
from hutong_client.paging import all_pages
from hutong_client.policies.files import PolicyFile, diff, stated


@dataclass(frozen=True, slots=True)
class Change:
    """A file compared with the published policies.

    Attributes:
        file: the file.
        before: the published revision that the file replaces or follows; None if there is none.
        unchanged: whether the published revision has the same content.
    """

    file: PolicyFile
    before: Policy | None
    unchanged: bool

    def diff(self) -> list[str]:
        """Return the file's changes as a unified diff."""
        return [] if self.unchanged else diff(self.before, self.file.policy, str(self.file.path))


def compare(connection: Connection, file: PolicyFile) -> Change:
    """Compare a file with the published revision of the same start, else with the revision in force before that start.

    A directory may have several revisions of one series, each in its own file. A file is unchanged if the revision of
    the same start has the same content, whatever revisions begin later.
    """
    policy = file.policy
    start = policy.effective_start_time.ToNanoseconds()
    revisions = sorted(list_revisions(connection, policy.name), key=lambda it: it.revision, reverse=True)
    in_force = [it for it in revisions if not it.HasField("withdraw_time")]
    same = next((it for it in in_force if it.effective_start_time.ToNanoseconds() == start), None)
    if same:
        return Change(file, same, stated(same) == stated(policy))
    earlier = [it for it in in_force if it.effective_start_time.ToNanoseconds() < start]
    before = max(earlier, key=lambda it: (it.effective_start_time.ToNanoseconds(), it.revision), default=None)
    return Change(file, before, unchanged=False)


def list_revisions(connection: Connection, name: str) -> Sequence[Policy]:
    """Return all revisions of a policy, newest first; none if the policy was never published."""
    request = ListPolicyRevisionsRequest(name=name)
    try:
        return [it for page in all_pages(connection.policies.ListPolicyRevisions, request) for it in page.policies]
    except NotFound:
        return []


def publish(connection: Connection, file: PolicyFile, *, validate_only: bool = False) -> PublishPolicyResponse:
    """Publish a file, or validate it in a dry run.

    A dry run also returns the policy's impacts at the instant of its start.
    """
    request = PublishPolicyRequest(
        policy=file.policy, retroactive_reason=file.retroactive_reason, validate_only=validate_only
    )
    if validate_only:
        request.impact_time.CopyFrom(file.policy.effective_start_time)
    return connection.policy_admin.PublishPolicy(request, timeout=CALL_SECONDS)


def preview(connection: Connection, file: PolicyFile) -> PublishPolicyResponse | HutongError:
    """Return the answer of a dry run with the impacts, or the error with which publication would fail now.

    A file that depends on an unpublished file of the same set fails here, although it can be published after that file.
    """
    try:
        return publish(connection, file, validate_only=True)
    except (FailedPrecondition, InvalidArgument, PermissionDenied) as error:
        return error
