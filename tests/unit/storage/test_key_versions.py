"""Two nodes exchange if each reads what the other one writes, so that nodes change the pepper one after the other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hutong.exchange.v1.exchange_service_pb2 import ReplicateStart, WatchNotificationsRequest

from services.domain.errors import FailedPrecondition
from services.domain.subject import Pepper
from services.storage.pepper_marks import name_versions, newest_version, require_common_versions

OLD, NEW = Pepper(b"o" * 32), Pepper(b"n" * 32, 2)
FIRST, SECOND = Pepper(OLD.secret, 1, NEW), Pepper(NEW.secret, 2, OLD)
STEPS = (OLD, FIRST, SECOND, NEW)
"""The steps that a node takes in a rotation."""


def exchange(sender: Pepper, receiver: Pepper, message: ReplicateStart | WatchNotificationsRequest) -> bool:
    """Whether a node that names the sender's versions is accepted."""
    name_versions(message, sender)
    try:
        require_common_versions(message, receiver)
    except FailedPrecondition as error:
        return error.reason != "PEPPER_MISMATCH"
    return True


@pytest.mark.parametrize("message", [ReplicateStart, WatchNotificationsRequest])
def test_nodes_that_are_one_step_apart_exchange(
    message: type[ReplicateStart] | type[WatchNotificationsRequest],
) -> None:
    for one, other in [*zip(STEPS, STEPS, strict=True), *pairwise(STEPS)]:
        assert exchange(one, other, message())
        assert exchange(other, one, message())
    for one, other in [(OLD, SECOND), (OLD, NEW), (FIRST, NEW)]:
        assert not exchange(one, other, message())
        assert not exchange(other, one, message())


def test_another_pepper_is_never_accepted() -> None:
    """A pepper with the same version, or another one in place of the other version, is refused."""
    assert not exchange(Pepper(b"x" * 32), OLD, ReplicateStart())
    assert not exchange(Pepper(b"x" * 32), FIRST, ReplicateStart())
    assert not exchange(Pepper(OLD.secret, 1, Pepper(b"x" * 32, 2)), FIRST, ReplicateStart())
    assert not exchange(Pepper(NEW.secret, 2, Pepper(b"x" * 32)), SECOND, ReplicateStart())


def test_rows_of_both_versions_are_admitted() -> None:
    assert [newest_version(pepper) for pepper in STEPS] == [1, 2, 2, 2]
