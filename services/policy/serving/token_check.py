"""Checks whether this process's policy book has the change that a consistency token names."""

from __future__ import annotations

from hutong_texts import english

from services.domain.errors import Unavailable
from services.domain.instant import SECOND
from services.domain.names import format_node
from services.policy.rules.resolve import are_on_one_way
from services.policy.serving.book_cache import PolicyBookCache
from services.runtime.consistency import BEFORE_ANY, CommitPosition, decode_token


class TokenCheck:
    """Checks tokens of this node and of the nodes above and below it. Positions are compared, never clocks."""

    def __init__(self, cache: PolicyBookCache, jurisdiction: str) -> None:
        self._cache = cache
        self._jurisdiction = jurisdiction

    async def require(self, token: str) -> None:
        """Check that the policy book has the change that a token names. The empty token is always met.

        Raises:
            InvalidArgument: INVALID_CONSISTENCY_TOKEN.
            Unavailable: NOT_FRESH_ENOUGH, the book lacks the change. The metadata says whether the change can still
                arrive.
        """
        commit = decode_token(token)
        if commit is None or (commit.service == "policy" and commit.position.sequence == BEFORE_ANY.sequence):
            return
        if commit.service == "policy" and commit.region == self._jurisdiction:
            await self._require_own(commit)
        elif commit.service == "policy" and are_on_one_way(commit.region, self._jurisdiction):
            await self._require_of_other(commit)
        else:
            # Publications of other nodes and writes of other services never reach this book.
            raise self._not_fresh(lost=True)

    async def _require_own(self, commit: CommitPosition) -> None:
        life, _, sequence = commit.position
        if sequence > self._cache.sequence:
            # Another process on this database may have made the publication.
            await self._cache.refresh()
        if self._cache.life_of(sequence) != life:
            raise self._not_fresh(lost=True)

    async def _require_of_other(self, commit: CommitPosition) -> None:
        life, _, sequence = commit.position
        if self._cache.other_lives.get((commit.region, life), 0) < sequence:
            # Another process on this database may have received the change.
            await self._cache.refresh()
        reached = {of: at for (region, of), at in self._cache.other_lives.items() if region == commit.region}
        if reached.get(life, 0) < sequence:
            # Once a later life of that node is known, changes of an earlier life no longer arrive.
            raise self._not_fresh(lost=life in reached and life != max(reached, key=lambda one: reached[one]))

    def _not_fresh(self, *, lost: bool) -> Unavailable:
        return Unavailable(
            "NOT_FRESH_ENOUGH",
            english(
                "Policy has not seen what the token stands for{ending}",
                ending=english(", and never will") if lost else "",
            ),
            metadata={"node": f"{format_node(self._jurisdiction)}/policy", **({"lost": "true"} if lost else {})},
            retry_after=None if lost else SECOND,
        )
