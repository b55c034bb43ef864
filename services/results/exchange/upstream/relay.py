"""Asks the node above on behalf of a node below."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.errors import Unavailable
from services.results.exchange.upstream.nation_client import NationClient
from services.results.lookup.model import SubjectAnswer, SubjectQuestion


class RelayedRecords:
    """Asks the node above for records. The node above has less time, because the question is relayed."""

    def __init__(self, client: NationClient) -> None:
        self._client = client

    @property
    def node(self) -> str:
        """The name of the node above."""
        return self._client.node

    async def ask_each(self, questions: Sequence[SubjectQuestion]) -> Sequence[SubjectAnswer | Unavailable | None]:
        """Ask the node above. The answers have the form that `NationClient.relay` returns."""
        return await self._client.relay(questions)
