"""Decides which documents count as one subject. Links of other nodes are only claims (docs/architecture.md §4.6).

A node can state false results of any person under its own laboratories. A false link must do no more harm than false
results. A link of another node therefore counts only if that node has results of the subject too. `find_documents` has
the exact rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from services.domain.region import NATION

MAX_LINKED = 16
"""The most documents that one subject may have: more than any person holds. The limit ends chains of wrong links."""

TRUSTED = frozenset({"", NATION})
"""The source nodes of links that always count: this node, and the nation."""


class Neighbour(NamedTuple):
    """A document at the other end of a link, and the node that made the link."""

    subject_key: bytes
    source_node: str


def find_documents(
    start: bytes, neighbours: Mapping[bytes, Sequence[Neighbour]], sources: Mapping[bytes, Collection[str]]
) -> list[bytes]:
    """Return the documents that count as one subject with `start`: `start` first, at most MAX_LINKED documents.

    A link of another node counts if that node has results of `start`. If no node has results of `start`, the link
    counts if its node has results of a document that can be reached from `start` by trusted links and that node's own
    links.

    Args:
        start: the document in question.
        neighbours: the active links of each document, in both directions.
        sources: the nodes from which results of each document came.
    """
    makers = {one.source_node for each in neighbours.values() for one in each} - TRUSTED
    if of_start := sources.get(start):
        counting = makers.intersection(of_start)
    else:
        counting = {
            node
            for node in makers
            if any(node in sources.get(key, ()) for key in _reach(start, neighbours, TRUSTED | {node}))
        }
    return _reach(start, neighbours, TRUSTED | counting)


def _reach(start: bytes, neighbours: Mapping[bytes, Sequence[Neighbour]], makers: Collection[str]) -> list[bytes]:
    found = [start]
    for key in found:
        for other in neighbours.get(key, ()):
            if other.source_node in makers and other.subject_key not in found and len(found) < MAX_LINKED:
                found.append(other.subject_key)
    return found
