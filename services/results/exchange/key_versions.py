"""The key versions that two nodes name to each other when they connect.

Each node names the version that it writes and, while the pepper rotates, the other one that it reads. Two nodes
exchange if each of them reads what the other one writes.
"""

from __future__ import annotations

from hutong.exchange.v1.exchange_service_pb2 import ReplicateStart, WatchNotificationsRequest
from hutong_texts import english

from services.domain.errors import FailedPrecondition
from services.domain.subject import Pepper
from services.storage.pepper_marks import pepper_mark

Named = ReplicateStart | WatchNotificationsRequest
"""A message in which a node names its versions."""


def name_versions(message: Named, pepper: Pepper) -> None:
    """Write this node's key versions, with their marks, into a message."""
    message.key_version, message.pepper_mark = pepper.version, pepper_mark(pepper)
    if pepper.other is not None:
        message.other_key_version, message.other_pepper_mark = pepper.other.version, pepper_mark(pepper.other)


def require_common_versions(message: Named, pepper: Pepper) -> None:
    """Check that this node and the sender of a message each read the key version that the other one writes.

    Raises:
        FailedPrecondition: PEPPER_MISMATCH, one of them does not, or one version is of different peppers at the two.
    """
    theirs = {message.key_version: message.pepper_mark}
    if message.other_key_version:
        theirs.setdefault(message.other_key_version, message.other_pepper_mark)
    ours = {one.version: pepper_mark(one) for one in pepper.versions}
    differ = any(theirs[version] != ours[version] for version in theirs.keys() & ours.keys())
    if differ or message.key_version not in ours or pepper.version not in theirs:
        raise FailedPrecondition(
            "PEPPER_MISMATCH",
            english(
                "the subject keys are made with another pepper, or with a version that one of the nodes does not read"
            ),
            metadata={"node": message.node},
        )


def newest_version(pepper: Pepper) -> int:
    """Return the greatest key version that this node knows. Rows of earlier versions may still be sent."""
    return max(one.version for one in pepper.versions)
