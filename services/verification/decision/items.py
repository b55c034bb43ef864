"""Rules of a policy about test items: which items' negatives satisfy the policy, and which items' positives stand.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from services.domain.names import DEFAULT_ITEM
from services.verification.decision.model import AcceptedItem, Requirement, Window


class ItemRules(NamedTuple):
    """A policy's rules about items, by the items' ids.

    Attributes:
        accepted: the items whose negatives satisfy the policy, each with its own window; None is the policy's window.
        ranks: the items whose positives stand against the holder. The weightiest has rank 0. A negative clears the
            positives of its own rank and of later ranks.
        weighed: all items of `accepted` and `ranks`. A result of any other item has no effect.
    """

    accepted: Mapping[str, Window | None]
    ranks: Mapping[str, int]
    weighed: frozenset[str]


def item_rules(required: Requirement) -> ItemRules:
    """Return a policy's rules about items. If the policy lists no items, only the default item has rules."""
    if not required.accepted and not required.adverse_items:
        return _DEFAULT
    return _rules(required.accepted, required.adverse_items)


@lru_cache(maxsize=256)
def _rules(accepted: tuple[AcceptedItem, ...], adverse_items: tuple[str, ...]) -> ItemRules:
    windows = {one.item: one.window for one in accepted} if accepted else {DEFAULT_ITEM: None}
    ranks = {item: rank for rank, item in enumerate(adverse_items or windows)}
    return ItemRules(windows, ranks, frozenset({*windows, *ranks}))


_DEFAULT = _rules((), ())
