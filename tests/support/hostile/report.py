"""The outcome of random requests: the messages sent, the answers, and the answers that mean a fault of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc

FAULTS_AT_MOST = 20
"""After so many faults a run stops, because further ones would say the same."""
_OF_CLIENT = {
    grpc.StatusCode.CANCELLED.name,
    grpc.StatusCode.DEADLINE_EXCEEDED.name,
    grpc.StatusCode.UNAVAILABLE.name,
}
"""Codes with which a client may end a call that has not reached the service."""


@dataclass
class Report:
    """The figures of a run. It can be sent between processes.

    Attributes:
        messages: how many messages were sent to each RPC.
        codes: how often the calls of each RPC ended with each code.
        answered: how many answers without an error came from each RPC.
        faults: a line for each answer that means a fault of the server.
        seconds: how long the run took.
    """

    messages: Counter[str] = field(default_factory=Counter)
    codes: dict[str, Counter[str]] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """How many messages were sent."""
        return self.messages.total()

    def count_code(self, rpc: str, code: str) -> None:
        """Count a call that has ended."""
        self.codes.setdefault(rpc, Counter())[code] += 1

    def add(self, other: Report) -> None:
        """Add the figures of another process."""
        self.messages += other.messages
        self.answered += other.answered
        self.faults += other.faults
        self.seconds = max(self.seconds, other.seconds)
        for rpc, codes in other.codes.items():
            self.codes.setdefault(rpc, Counter()).update(codes)

    def all_codes(self) -> Counter[str]:
        """Return how often the calls of all RPCs ended with each code."""
        return sum(self.codes.values(), Counter())

    def not_reached(self, rpcs: Iterable[str]) -> list[str]:
        """Return the RPCs that have neither answered nor ended a call with a code that only the server gives."""
        silent = [rpc for rpc in rpcs if not self.answered[rpc]]
        return [rpc for rpc in silent if not self.codes.get(rpc, Counter()).keys() - _OF_CLIENT]

    def lines(self) -> list[str]:
        """Return a line for each RPC: messages, answers without an error, and codes."""
        return [
            f"{rpc}: {count:,} messages, {self.answered[rpc]:,} answers, {dict(self.codes.get(rpc, ()))}"
            for rpc, count in sorted(self.messages.items())
        ]
