"""The capabilities of this release in the exchange between nodes. Every release knows the rest of the exchange."""

from __future__ import annotations

from hutong.type.v1.capability_pb2 import Capability

OWN = tuple(value for value in Capability.values() if value)
"""The capabilities that this release reports to other nodes: all those in its contract."""
