"""Checks that a policy is unchanged since a change of it was proposed. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from hutong_texts import english

from services.domain.errors import FailedPrecondition
from services.domain.instant import Instant
from services.policy.model import Revision


def require_unchanged(members: Sequence[Revision], since: Instant) -> None:
    """Check that no revision of a series was published or withdrawn after an instant.

    Raises:
        FailedPrecondition: CHANGE_OVERTAKEN, with the name of such a revision.
    """
    for member in members:
        if max(member.publish_time, member.withdraw_time or 0) > since:
            raise FailedPrecondition(
                "CHANGE_OVERTAKEN",
                english(
                    "{name} was published or withdrawn after this change was proposed; propose it anew",
                    name=member.name,
                ),
                metadata={"resource": member.name},
            )
