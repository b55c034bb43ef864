"""Conversion of replicated links between documents."""

from __future__ import annotations

from typing import cast

from hutong.exchange.v1 import replica_pb2
from hutong.type.v1 import identity_pb2
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import read_instant
from services.domain.instant import set_timestamp
from services.domain.names import format_node, parse_node
from services.domain.subject import KEY_LENGTH
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.exchange.convert.fields import instant_of

LINK_LENGTH = len("links/") + 36


def fill_link(message: replica_pb2.ReplicatedLink, link: DocumentLink) -> None:
    """Fill an empty message with a link, without masks and reasons."""
    message.name = f"links/{link.link_id}"
    message.subject_key = link.document.subject_key
    message.type = cast("identity_pb2.DocumentType.ValueType", link.document.type)
    message.linked_subject_key = link.linked_document.subject_key
    message.linked_type = cast("identity_pb2.DocumentType.ValueType", link.linked_document.type)
    set_timestamp(message.create_time, link.create_time)
    if link.unlink_time is not None:
        set_timestamp(message.unlink_time, link.unlink_time)
    if link.source_node:
        message.source_node = format_node(link.source_node)
    if link.unlink_node:
        message.unlink_node = format_node(link.unlink_node)
    message.key_version = link.key_version
    message.other_subject_key = link.document.other_key or b""
    message.linked_other_subject_key = link.linked_document.other_key or b""


def link_from_proto(message: replica_pb2.ReplicatedLink) -> DocumentLink:
    """Return a link, without masks and reasons. Raise InvalidArgument for a link that no node can have sent."""
    if {len(message.subject_key), len(message.linked_subject_key)} != {KEY_LENGTH} or len(message.name) != LINK_LENGTH:
        raise InvalidArgument.field("link", english("has no name or no two subject keys"))
    others = message.other_subject_key, message.linked_other_subject_key
    if not {0, KEY_LENGTH}.issuperset(map(len, others)) or message.key_version < 0:
        raise InvalidArgument.field("link", english("has a malformed key under the other version, or no version"))
    return DocumentLink(
        message.name.removeprefix("links/"),
        LinkedDocument(message.subject_key, message.type, "", others[0] or None),
        LinkedDocument(message.linked_subject_key, message.linked_type, "", others[1] or None),
        "",
        read_instant(message.create_time, "link.create_time"),
        instant_of(message, "unlink_time"),
        source_node=parse_node(message.source_node, "link.source_node") if message.source_node else "",
        unlink_node=parse_node(message.unlink_node, "link.unlink_node") if message.unlink_node else None,
        key_version=message.key_version or 1,
    )
