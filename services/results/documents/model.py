"""Links between documents of one subject."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.instant import Instant


@dataclass(frozen=True, slots=True)
class LinkedDocument:
    """One side of a link. A keyed hash and a mask identify the document.

    `other_key` is the keyed hash under the other key version. None if the pepper does not rotate, or if the other key
    is not known.
    """

    subject_key: bytes
    type: int
    masked_number: str
    other_key: bytes | None = None

    @property
    def keys(self) -> list[bytes]:
        """Return the document's keys under each key version that is known."""
        return [self.subject_key] if self.other_key is None else [self.subject_key, self.other_key]


@dataclass(frozen=True, slots=True)
class DocumentLink:
    """Two documents of one subject. `unlink_time` is None while the link is active.

    Attributes:
        actor: the name of the caller that linked them; None if it is not known.
        unlink_actor: the name of the caller that ended the link; None if it is not known or the link is active.
        source_node: the region of the node that made the link; empty for this node.
        unlink_node: the region of the node where the link was removed, if another node made the link; None otherwise.
            While the link is active, the region of the node that asks for its end.
        key_version: the version of both subject keys.
    """

    link_id: str
    document: LinkedDocument
    linked_document: LinkedDocument
    reason: str
    create_time: Instant
    unlink_time: Instant | None = None
    unlink_reason: str = ""
    actor: str | None = None
    unlink_actor: str | None = None
    source_node: str = ""
    unlink_node: str | None = None
    key_version: int = 1
