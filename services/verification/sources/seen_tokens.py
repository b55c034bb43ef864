"""Remembers which consistency tokens Policy has satisfied, so that cached answers can be used with them."""

from __future__ import annotations

from services.runtime.consistency import CommitPosition

MAX_TOKENS = 10_000
"""The most tokens that are remembered. A token that is forgotten only costs one question to Policy."""


class SeenTokens:
    """For each token, the first sequence from which the answers of this node's Policy include the token's commit.

    Sequences of different epochs of the watch are not compared, because a restore may lie between them.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._sequences: dict[CommitPosition, int] = {}

    def find(self, commit: CommitPosition, epoch: int) -> int | None:
        """Return the sequence from which every answer includes a commit; None if it is not known."""
        return self._sequences.get(commit) if epoch == self._epoch else None

    def keep(self, commit: CommitPosition, sequence: int, epoch: int) -> None:
        """Remember that an answer with this epoch and sequence includes a commit."""
        if epoch != self._epoch or len(self._sequences) >= MAX_TOKENS:
            self._epoch = epoch
            self._sequences.clear()
        self._sequences[commit] = min(sequence, self._sequences.get(commit, sequence))
