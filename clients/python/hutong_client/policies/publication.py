"""Bringing a set of policy files into force: what is published already, what would change, and what became of each."""

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
    """One file against what is published: `before` is what it follows or replaces, None when nothing is there."""

    file: PolicyFile
    before: Policy | None
    unchanged: bool

    def diff(self) -> list[str]:
        """What the file changes, as a unified diff."""
        return [] if self.unchanged else diff(self.before, self.file.policy, str(self.file.path))


def compare(connection: Connection, file: PolicyFile) -> Change:
    """Compare a file with the published revision that begins at the same instant, else with the one before it.

    A directory may hold several revisions of one series, each in its own file; a file is unchanged when the revision
    for its start says the same, however many begin later.
    """
    policy = file.policy
    start = policy.effective_start_time.ToNanoseconds()
    revisions = sorted(list_revisions(connection, policy.name), key=lambda it: it.revision, reverse=True)
    standing = [it for it in revisions if not it.HasField("withdraw_time")]
    same = next((it for it in standing if it.effective_start_time.ToNanoseconds() == start), None)
    if same:
        return Change(file, same, stated(same) == stated(policy))
    earlier = [it for it in standing if it.effective_start_time.ToNanoseconds() < start]
    before = max(earlier, key=lambda it: (it.effective_start_time.ToNanoseconds(), it.revision), default=None)
    return Change(file, before, unchanged=False)


def list_revisions(connection: Connection, name: str) -> Sequence[Policy]:
    """All revisions of a policy, newest first; none when it was never published."""
    request = ListPolicyRevisionsRequest(name=name)
    try:
        return [it for page in all_pages(connection.policies.ListPolicyRevisions, request) for it in page.policies]
    except NotFound:
        return []


def publish(connection: Connection, file: PolicyFile, *, validate_only: bool = False) -> PublishPolicyResponse:
    """Publish a file, or have it judged; its impacts are told for the instant of its start."""
    request = PublishPolicyRequest(
        policy=file.policy, retroactive_reason=file.retroactive_reason, validate_only=validate_only
    )
    if validate_only:
        request.impact_time.CopyFrom(file.policy.effective_start_time)
    return connection.policy_admin.PublishPolicy(request, timeout=CALL_SECONDS)


def preview(connection: Connection, file: PolicyFile) -> PublishPolicyResponse | HutongError:
    """What publication would answer now, with its impact; or what speaks against it.

    A file that another one of its set must come before cannot be judged yet.
    """
    try:
        return publish(connection, file, validate_only=True)
    except (FailedPrecondition, InvalidArgument, PermissionDenied) as error:
        return error
